"""Resources back into documents: what `render` prints is what `parse` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clover.kit import yaml_text
from clover.mesh.istio.resources import Resource


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
    return "---\n".join(yaml_text.dump(dict(document)) for document in documents)
