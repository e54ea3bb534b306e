"""The reference of Istio's resources and the models say the same; and together they know all of Istio's fields."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

from clover.mesh.istio import kinds, parse, resources
from clover.mesh.istio.kinds.part import Metadata, Part, Resource

ROOT = Path(__file__).parents[2]
TEXT = "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/reference").glob("istio*.md")))
NAMED = set(re.findall(r"`([A-Za-z0-9_]+)`", TEXT))
PARTS = {
    part
    for module in pkgutil.iter_modules(kinds.__path__, f"{kinds.__name__}.")
    for name, part in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
    if issubclass(part, Part) and not issubclass(part, Resource) and part not in (Part, Metadata)
}


def _group(kind):
    return resources.KINDS[kind].api_versions[0].partition("/")[0]


CRDS = ROOT.parent / "shared" / "conformance" / "istio" / "customresourcedefinitions.yaml"


@pytest.mark.parametrize("part", sorted(PARTS, key=lambda part: part.__name__), ids=lambda part: part.__name__)
def test_every_field_is_in_the_reference(part):
    supported = {info.alias for info in part.model_fields.values()}

    assert supported | part.unsupported <= NAMED


@pytest.mark.skipif(not CRDS.exists(), reason="shared/conformance/istio/customresourcedefinitions.yaml is not there")
@pytest.mark.parametrize("kind", [kind for kind in resources.KINDS if _group(kind).endswith("istio.io")])
def test_every_field_of_istios_schema_is_supported_or_refused_by_name(kind):
    (schema,) = (
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for crd in yaml.load_all(CRDS.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        if crd and (crd["spec"]["names"]["kind"], crd["spec"]["group"]) == (kind, _group(kind))
    )

    assert set(_unknown(schema, resources.KINDS[kind], ("spec",))) <= {"spec.http.mirror_percent"}


def _unknown(schema, model, path):
    """Yield the fields that neither the models nor their lists of refused fields know."""
    here = parse.part_at(model, path)
    for name, inner in schema.get("properties", {}).items():
        known = {info.alias for info in here.model_fields.values()} if here else set()
        if here and name in here.unsupported:
            continue
        if here and name not in known:
            yield ".".join((*(step for step in path if step != 0), name))
            continue
        yield from _unknown(inner, model, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from _unknown(schema["items"], model, (*path, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _unknown(schema["additionalProperties"], model, (*path, "*"))
