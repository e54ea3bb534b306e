"""Whatever Clover accepts, Kubernetes would admit, by the schema and the CEL rules of Istio's own definitions."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.errors import DocumentError, errors_only
from clover.kit import documents
from clover.mesh.istio import from_chain, parse, render, validate
from clover.mesh.istio.analysis import inventory
from clover.spec import load
from harness import admission, random_policies

ROOT = Path(__file__).parents[2]
VALIDATION = admission.DEFINITIONS.parent / "validation"
NEWER = "unknown field 'presence'"
"""A field that Istio's documents have and the definitions, which are a little older, have not."""
ODD: list[Any] = [
    *(None, "", 0, -1, 1, 65536, 2**32, 0.5, True, "*", "a*", "x" * 300, "a b", "1us", "0s", "1s", "-1s", "1.5h", "@"),
    *("http://", "unix:///a/", "1.2.3.4/33", "a..b", "UNSPECIFIED", [], {}, [""], ["*"], [None], {"": ""}, {"a": "*"}),
]
pytestmark = pytest.mark.skipif(
    not admission.DEFINITIONS.exists(), reason="the folder shared/conformance/istio is not beside the repository"
)


def is_accepted(document: dict[str, Any]) -> bool:
    """Tell whether Clover takes a document by itself, with nobody to say what else exists."""
    try:
        parsed, problems = parse.inspect(documents.parse(json.dumps(document), "case.json"))
    except DocumentError:
        return False
    registry = inventory.registry_from((), parsed.resources)
    return not errors_only((*problems, *validate.check(registry, parsed.resources, origins=parsed.origins)))


def documents_in(*files: Path) -> list[dict[str, Any]]:
    """Return the documents of Istio's kinds in files; what is no YAML is about something else."""
    found: list[dict[str, Any]] = []
    for file in files:
        for text in re.split(r"^---$", re.sub(r"(?m)^_err: .*$", "", file.read_text("utf-8")), flags=re.MULTILINE):
            try:
                found += [document.data for document in documents.parse(text, file.name)]
            except DocumentError:
                continue
    return [document for document in found if admission.schema_of(document)]


def rendered() -> list[dict[str, Any]]:
    """Return what `clover render` prints for every example."""
    chains = [load.load(file) for file in sorted(ROOT.glob("examples/*/chain.yaml"))]
    return [render.render(resource) for chain in chains for resource in from_chain.resources_from(chain)]


FILES = [*ROOT.glob("tests/**/*.yaml"), *VALIDATION.glob("*.yaml")] if admission.DEFINITIONS.exists() else []
ACCEPTED = [document for document in documents_in(*FILES) if is_accepted(document)]


def test_what_is_accepted_in_tests_and_conformance_documents_is_admitted():
    told = {json.dumps(document): admission.refusals(document) for document in ACCEPTED}

    assert len(told) > 40
    assert {text: found for text, found in told.items() if found and NEWER not in found[0]} == {}


def test_what_clover_renders_is_admitted():
    assert [found for document in rendered() if (found := admission.refusals(document))] == []


@given(st.one_of(random_policies.SOUND, random_policies.ODD))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_accepted_of_random_policies_is_admitted(policies):
    for document in policies:
        if is_accepted(document):
            assert admission.refusals(document) == []


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_still_accepted_after_one_change_is_admitted(data):
    document = copy.deepcopy(data.draw(st.sampled_from(ACCEPTED)))
    path = data.draw(st.sampled_from([path for path in paths_of(document) if path]))
    place = document
    for step in path[:-1]:
        place = place[step]
    match data.draw(st.sampled_from(["replace", "replace", "remove", "repeat"])):
        case "replace":
            place[path[-1]] = data.draw(st.sampled_from(ODD))
        case "repeat" if isinstance(place, list):
            place.append(copy.deepcopy(place[path[-1]]))
        case _:
            del place[path[-1]]

    if admission.schema_of(document) and is_accepted(document):
        assert [found for found in admission.refusals(document) if NEWER not in found] == []


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for step, item in inner for found in paths_of(item, (*path, step)))]


def test_the_rules_in_cel_are_carried_out():
    entry = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "x"}}
    spec = {
        "hosts": ["a.com"],
        "addresses": ["10.0.0.0/8"],
        "resolution": "DNS",
        "ports": [{"number": 80, "name": "h"}],
    }

    assert admission.refusals({**entry, "spec": {**spec, "addresses": []}}) == []
    assert "CIDR" in admission.refusals({**entry, "spec": spec})[0]
    assert "unknown field 'host'" in admission.refusals({**entry, "spec": {**spec, "host": "x"}})[0]
    assert "metadata.name" in admission.refusals({**entry, "metadata": {"name": "A"}, "spec": spec})[0]
