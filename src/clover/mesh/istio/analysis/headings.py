"""What a document says it is, before anybody looks into it."""

from __future__ import annotations

from clover.kit.documents import Document


def group_and_kind(document: Document) -> tuple[str, str] | None:
    """Return the API group and kind that a document names; None: it is no object of Kubernetes."""
    version, kind = document.data.get("apiVersion"), document.data.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str) or not version or not kind:
        return None
    return version.rpartition("/")[0], kind
