"""From a chain file to a `Chain`, or to every problem that it has, each with its place."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from clover.errors import DocumentError, Mark, Problem, errors_only
from clover.kit import documents
from clover.kit.documents import Document
from clover.spec import mesh_config, rules, shape, violations
from clover.spec.chain import Chain, Function, FunctionType, Gateway, Version
from clover.spec.configuration import MODELS, Configuration, completed
from clover.spec.document import KIND, ChainDocument, FunctionPart, GatewayPart, MetadataPart, VersionPart
from clover.spec.engines import COMMAND, default_engine
from clover.spec.mesh_config import MeshSettings
from clover.spec.violations import Violation

FILE_NAME = "chain.yaml"
"""The chain file of a folder."""

_Part = TypeVar("_Part", bound=BaseModel)
_Path = tuple[str | int, ...]
_Told = Mapping[_Path, tuple[Configuration | None, tuple[Violation, ...]]]
"""Where a `config` is written → what it means, or all that is wrong with it."""
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
    told = _told(document)
    mesh, wrong_mesh = _mesh(document)
    unreadable: frozenset[str] = frozenset()
    misshapen: Iterable[Problem] = ()
    try:
        whole = ChainDocument.model_validate(document.data)
    except ValidationError as error:
        chain, unreadable = _salvaged(document, told, directory)
        misshapen = shape.problems_from(error, document)
    else:
        chain = _chain_from(whole.metadata, whole.spec.gateway, whole.spec.functions, document, told, directory)
    chain, unreadable = _without_lost_ends(replace(chain, mesh=mesh), told, unreadable)
    found = itertools.chain(
        misshapen,
        (
            shape.configuration_problem(violation, path, document)
            for path, (_, wrong) in told.items()
            for violation in wrong
        ),
        (shape.mesh_problem(violation, document) for violation in wrong_mesh),
        rules.check(chain, unreadable=unreadable),
    )
    problems = tuple(sorted(documents.worth_reading(found, source), key=place))
    return (None if errors_only(problems) else chain), problems


def file_of(path: Path) -> Path:
    """Return the chain file that `path` means: itself, or the one in the folder `path`."""
    # Path.is_dir raises for names that are too long or not allowed; os.path.isdir answers no, and reading says why.
    return path / FILE_NAME if os.path.isdir(path) else path  # noqa: PTH112


def _sound(chain: Chain | None, problems: tuple[Problem, ...]) -> Chain:
    if chain is None:
        raise DocumentError(*problems)
    return chain


def place(problem: Problem) -> tuple[int, int]:
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


def _told(document: Document) -> _Told:
    """Return what each function and version is told, of those whose type is known, however wrong they are else."""
    functions = _mapping(_mapping(document.data.get("spec")).get("functions"))
    parts: dict[_Path, tuple[object, dict[str, Any]]] = {}
    for name, written in functions.items():
        part, path = _mapping(written), (*_FUNCTIONS, name)
        parts[path] = part.get("type"), part
        for version, below in _mapping(part.get("versions")).items():
            parts[*path, "versions", version] = part.get("type"), _mapping(below)
    return {
        path: violations.checked(MODELS[type_], part["config"])
        for path, (type_, part) in parts.items()
        if isinstance(type_, str) and type_ in MODELS and isinstance(part.get("config"), dict)
    }


def _mesh(document: Document) -> tuple[MeshSettings, tuple[Violation, ...]]:
    """Return what the chain says about its mesh, and all that is wrong with it."""
    written = _mapping(document.data.get("spec")).get("mesh")
    if not isinstance(written, dict):
        return mesh_config.DEFAULTS, ()
    settings, wrong = violations.checked(MeshSettings, written)
    return settings or mesh_config.DEFAULTS, wrong


def _without_lost_ends(chain: Chain, told: _Told, unreadable: frozenset[str]) -> tuple[Chain, frozenset[str]]:
    """Take out what may well send somewhere, if one could only read where: nobody can say what else is wrong then."""
    wrong = {path[len(_FUNCTIONS)] for path, (_, found) in told.items() if found}
    lost = {
        function.name
        for function, version in chain.workloads()
        if function.name in wrong and not version.to and function.type not in rules.ENDS
    }
    functions = {name: function for name, function in chain.functions.items() if name not in lost}
    return replace(chain, functions=functions), unreadable | lost


def _salvaged(document: Document, told: _Told, directory: str) -> tuple[Chain, frozenset[str]]:
    """Return as much of the chain as has the right shape, and the names of what has not."""
    spec = _mapping(document.data.get("spec"))
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
        told,
        directory,
    )
    return chain, frozenset(unreadable)


def _chain_from(
    metadata: MetadataPart,
    gateway: GatewayPart,
    functions: dict[str, FunctionPart],
    document: Document,
    told: _Told,
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
        functions={name: _function(name, part, document, told) for name, part in functions.items()},
        mark=document.mark((*_METADATA, "name")),
        namespace_mark=document.mark((*_METADATA, "namespace")),
        directory=directory,
    )


def _mapping(data: object) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _part(model: type[_Part], data: Any) -> _Part | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _function(name: str, part: FunctionPart, document: Document, told: _Told) -> Function:
    path: _Path = (*_FUNCTIONS, name)
    type_ = FunctionType(part.type)
    written = {part.version: part} if part.versions is None else part.versions
    versions = tuple(
        _version(
            version_name,
            version,
            path if part.versions is None else (*path, "versions", version_name),
            type_=type_,
            default="" if len(written) > 1 else default_engine(type_),
            document=document,
            told=told,
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


def _version(
    name: str, part: VersionPart, path: _Path, *, type_: FunctionType, default: str, document: Document, told: _Told
) -> Version:
    """`default` is the engine of a version that names none."""
    # A single name that is written without a list has no place 0; its nearest place is then the key.
    listed = document.mark((*path, "to", 0)) != document.mark((*path, "to"), key=True)
    to_marks = tuple(document.mark((*path, "to", place) if listed else (*path, "to")) for place in range(len(part.to)))
    hosts = _hosts(part.config, (*path, "config"), document)
    configuration, _ = told.get(path, (None, ()))
    to = tuple(part.to) or tuple(dict.fromkeys(host for host, _ in hosts))
    return Version(
        name=name,
        engine=part.engine or (COMMAND if part.command else default),
        to=to,
        configuration=completed(configuration or MODELS[type_](), to=to),
        command=tuple(part.command or ()),
        mark=document.mark(path, key=True),
        to_marks=to_marks or tuple(dict(reversed(hosts))[host] for host in to),
        config_mark=document.mark((*path, "config"), key=True) if part.config is not None else None,
        backend_marks=tuple(mark for _, mark in hosts) if configuration else (),
        engine_mark=document.mark((*path, "engine" if part.engine else "command")),
    )


def _hosts(config: dict[str, Any] | None, path: _Path, document: Document) -> list[tuple[str, Mark]]:
    """Return each backend's host that can be read, and where it is written, whatever else is wrong with them."""
    backends = (config or {}).get("backends")
    return [
        (backend["host"], document.mark((*path, "backends", place, "host")))
        for place, backend in enumerate(backends if isinstance(backends, list) else ())
        if isinstance(backend, dict) and isinstance(backend.get("host"), str)
    ]
