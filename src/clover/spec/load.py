"""From a chain file to a `Chain`, or to every problem that it has, each with its place."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from clover.errors import DocumentError, Problem, errors_only
from clover.kit import documents
from clover.kit.documents import Document
from clover.spec import rules, shape
from clover.spec.chain import Chain, Function, FunctionType, Gateway, Version
from clover.spec.document import KIND, ChainDocument, FunctionPart, GatewayPart, MetadataPart, VersionPart
from clover.spec.engines import COMMAND, default_engine

FILE_NAME = "chain.yaml"
"""The chain file of a folder."""

_Part = TypeVar("_Part", bound=BaseModel)
_Path = tuple[str | int, ...]
_METADATA: _Path = ("metadata",)
_GATEWAY: _Path = ("spec", "gateway")
_FUNCTIONS: _Path = ("spec", "functions")


def load(path: Path) -> Chain:
    """Load the chain file `path`, or that of the folder `path`; raises `DocumentError` with all its problems."""
    return _sound(*inspect(path))


def parse(text: str, source: str) -> Chain:
    """Return the chain that `text` describes; raises `DocumentError` with all its problems."""
    return _sound(*inspect_text(text, source))


def inspect(path: Path) -> tuple[Chain | None, tuple[Problem, ...]]:
    """Return the chain, None when something is wrong with it, and all its problems, warnings included."""
    file = file_of(path)
    try:
        text = documents.load_text(file)
    except DocumentError as error:
        if file == path:
            return None, error.problems
        hint = f"name a chain file, or a folder with a file {FILE_NAME!r}"
        return None, tuple(replace(problem, hint=hint) for problem in error.problems)
    return inspect_text(text, str(file), directory=str(file.parent))


def inspect_text(text: str, source: str, *, directory: str = ".") -> tuple[Chain | None, tuple[Problem, ...]]:
    """Like `inspect`, for a text; commands start in `directory`."""
    try:
        document = _only_document(documents.parse(text, source), source)
    except DocumentError as error:
        return None, error.problems
    try:
        whole = ChainDocument.model_validate(document.data)
    except ValidationError as error:
        chain, unreadable = _salvaged(document, directory)
        found: Iterable[Problem] = itertools.chain(
            shape.problems_from(error, document), rules.check(chain, unreadable=unreadable)
        )
    else:
        chain = _chain_from(whole.metadata, whole.spec.gateway, whole.spec.functions, document, directory)
        found = rules.check(chain)
    problems = tuple(sorted(documents.worth_reading(found, source), key=_place))
    return (None if errors_only(problems) else chain), problems


def file_of(path: Path) -> Path:
    """Return the chain file that `path` means: itself, or the one in the folder `path`."""
    # Path.is_dir raises for names that are too long or not allowed; os.path.isdir answers no, and reading says why.
    return path / FILE_NAME if os.path.isdir(path) else path  # noqa: PTH112


def _sound(chain: Chain | None, problems: tuple[Problem, ...]) -> Chain:
    if chain is None:
        raise DocumentError(*problems)
    return chain


def _place(problem: Problem) -> tuple[int, int]:
    """Return line and column, so that problems can be read along with the file; what has none comes last."""
    place = re.search(r":([0-9]+):([0-9]+)$", problem.where)
    return (int(place[1]), int(place[2])) if place else (sys.maxsize, 0)


def _only_document(found: tuple[Document, ...], source: str) -> Document:
    """Return the one document of a file, when it is a chain of a version that we know."""
    if not found:
        raise DocumentError(
            Problem(
                code="CLV1105",
                where=source,
                what=f"{source!r} is empty, expected a document of kind {KIND!r}",
                hint="'clover schema' prints what a chain file may say",
            )
        )
    if len(found) > 1:
        raise DocumentError(
            Problem(
                code="CLV1104",
                where=str(found[1].mark()),
                what=f"{source!r} has {len(found)} documents, expected one of kind {KIND!r}",
                hint="keep policies in files of their own: 'clover apply FILE' reads them",
            )
        )
    (document,) = found
    kind = document.data.get("kind", KIND)
    if kind != KIND:
        # Every field would be wrong too; saying so would bury what matters.
        raise DocumentError(
            Problem(
                code="CLV1106",
                where=str(document.mark(("kind",))),
                what=f"the document is of kind {str(kind)[:80]!r}, expected {KIND!r}",
                hint="'clover apply FILE' is for policies",
            )
        )
    return document


def _salvaged(document: Document, directory: str) -> tuple[Chain, frozenset[str]]:
    """Return as much of the chain as has the right shape, and the names of what has not."""
    spec = document.data.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    written = spec.get("functions")
    if not isinstance(written, dict):
        written = {"": None}  # unreadable itself, so that nobody says that there are no functions
    functions = {name: _part(FunctionPart, data) for name, data in written.items()}
    unreadable = {name for name, part in functions.items() if part is None}
    metadata = _part(MetadataPart, document.data.get("metadata"))
    gateway = _part(GatewayPart, spec.get("gateway"))
    if gateway is None:
        unreadable.add("gateway")
    chain = _chain_from(
        metadata or MetadataPart(name="unreadable"),
        gateway or GatewayPart(to=""),
        {name: part for name, part in functions.items() if part is not None},
        document,
        directory,
    )
    return chain, frozenset(unreadable)


def _chain_from(
    metadata: MetadataPart,
    gateway: GatewayPart,
    functions: dict[str, FunctionPart],
    document: Document,
    directory: str,
) -> Chain:
    return Chain(
        name=metadata.name,
        namespace=metadata.namespace,
        gateway=Gateway(
            to=gateway.to,
            port=gateway.port,
            address=gateway.address,
            mark=document.mark(_GATEWAY, key=True),
            to_mark=document.mark((*_GATEWAY, "to")),
        ),
        functions={name: _function(name, part, document) for name, part in functions.items()},
        mark=document.mark((*_METADATA, "name")),
        namespace_mark=document.mark((*_METADATA, "namespace")),
        directory=directory,
    )


def _part(model: type[_Part], data: Any) -> _Part | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _function(name: str, part: FunctionPart, document: Document) -> Function:
    path: _Path = (*_FUNCTIONS, name)
    type_ = FunctionType(part.type)
    written = {part.version: part} if part.versions is None else part.versions
    versions = tuple(
        _version(
            version_name,
            version,
            path if part.versions is None else (*path, "versions", version_name),
            default="" if len(written) > 1 else default_engine(type_),
            document=document,
        )
        for version_name, version in written.items()
    )
    return Function(
        name=name,
        type=type_,
        versions=versions,
        port=part.port,
        mirror_to=part.mirror_to,
        mark=document.mark(path, key=True),
        mirror_mark=document.mark((*path, "mirrorTo")) if part.mirror_to is not None else None,
        port_mark=document.mark((*path, "port")),
    )


def _version(name: str, part: VersionPart, path: _Path, *, default: str, document: Document) -> Version:
    """`default` is the engine of a version that names none."""
    # A single name that is written without a list has no place 0; its nearest place is then the key.
    listed = document.mark((*path, "to", 0)) != document.mark((*path, "to"), key=True)
    return Version(
        name=name,
        engine=part.engine or (COMMAND if part.command else default),
        to=tuple(part.to),
        command=tuple(part.command or ()),
        mark=document.mark(path, key=True),
        to_marks=tuple(
            document.mark((*path, "to", place) if listed else (*path, "to")) for place in range(len(part.to))
        ),
        engine_mark=document.mark((*path, "engine" if part.engine else "command")),
    )
