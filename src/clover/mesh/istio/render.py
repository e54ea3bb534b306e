"""Resources back into documents: what `render` prints is what `parse` reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from clover.mesh.istio.resources import Resource

_NUMBER_LIKE = re.compile(r"[-+.0-9][-+.0-9_eExXoObBa-fA-F]*")


def render(resource: Resource) -> dict[str, Any]:
    """Return the document that `parse` reads back as an equal resource."""
    document = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        **resource.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
    document["metadata"] = {
        "name": resource.metadata.name,
        "namespace": resource.metadata.namespace,
        **document["metadata"],
    }
    return {name: document[name] for name in ("apiVersion", "kind", "metadata", "spec")}


def render_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return documents as one YAML stream."""
    return "---\n".join(
        yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for document in documents
    )


class _Dumper(yaml.SafeDumper):
    """Writes YAML as people write it: lists indented, no anchors, text in quotes where YAML 1.1 would misread it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Kubernetes reads `1e3` as a number, which YAML 1.1 and so the dumper do not; U+0085 would be read as a new line.
    style = '"' if not text.isprintable() else "'" if _NUMBER_LIKE.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
