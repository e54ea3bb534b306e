"""What a document says it is, before anybody looks into it."""

from __future__ import annotations

from collections.abc import Iterator

from clover.errors import Problem
from clover.kit.documents import Document, kind_of


def group_and_kind(document: Document) -> tuple[str, str] | None:
    """Return the API group and kind that a document names; None: it is no object of Kubernetes."""
    version, kind = document.data.get("apiVersion"), document.data.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str) or not version or not kind:
        return None
    return version.rpartition("/")[0], kind


def items_of(document: Document) -> tuple[Document, ...]:
    """Return the documents in a `List`, as `kubectl get -o yaml` prints one; any other document by itself."""
    items = _items(document)
    if items is None:
        return (document,)
    return tuple(document.part(("items", index)) for index, item in enumerate(items) if isinstance(item, dict))


def wrong_items(document: Document) -> Iterator[Problem]:
    """Yield what stands in a `List` and is no document."""
    for index, item in enumerate(_items(document) or ()):
        if not isinstance(item, dict):
            yield Problem(
                code="CLV1010",
                where=str(document.mark(("items", index))),
                what=f"item {index + 1} of the List is {kind_of(item)}, expected a mapping of names to values",
            )


def _items(document: Document) -> list[object] | None:
    items = document.data.get("items") if group_and_kind(document) == ("", "List") else None
    return items if isinstance(items, list) else None
