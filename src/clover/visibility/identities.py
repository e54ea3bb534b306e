"""Which resources a document is about, whatever else it says: what it takes to delete them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.controller import Named
from clover.mesh.istio.resources import full_kind, model_of


def named_in(documents: Iterable[Document], *, namespace: str) -> tuple[list[Named], list[Problem]]:
    """Return kind, namespace and name of every document, and which documents do not say theirs."""
    found: list[Named] = []
    problems: list[Problem] = []
    for document in documents:
        kind, version = (str(document.data.get(key, "")) for key in ("kind", "apiVersion"))
        said = document.data.get("metadata")
        metadata = said if isinstance(said, Mapping) else {}
        model, name = model_of(kind, version), metadata.get("name")
        if model is None or not isinstance(name, str):
            problems.append(
                Problem(
                    code="CLV1081",
                    where=str(document.mark(("kind",) if model is None else ("metadata",))),
                    what="the document names no resource that the mesh can have: "
                    + (f"its kind is {kind[:80]!r}" if model is None else "it has no 'metadata.name'"),
                    hint="clover get lists what there is",
                )
            )
        else:
            found.append((full_kind(model), str(metadata.get("namespace") or namespace), name))
    return list(dict.fromkeys(found)), problems
