"""What a document says it is, before anybody looks into it."""

from __future__ import annotations

from clover.kit.documents import Document


def group_and_kind(document: Document) -> tuple[str, str] | None:
    """Return the API group and kind that a document names; None: it is no object of Kubernetes."""
    version, kind = document.data.get("apiVersion"), document.data.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str) or not version or not kind:
        return None
    return version.rpartition("/")[0], kind


def items_of(document: Document) -> tuple[Document, ...]:
    """Return the documents in a `List`, as `kubectl get -o yaml` prints one; any other document by itself."""
    if group_and_kind(document) != ("", "List") or not isinstance(items := document.data.get("items"), list):
        return (document,)
    return tuple(document.part(("items", index)) for index, item in enumerate(items) if isinstance(item, dict))
