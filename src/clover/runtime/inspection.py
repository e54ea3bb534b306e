"""
What would happen to these files if they were brought up or applied: everything that is wrong, and nothing started.

Chains are checked each by itself. Resources are checked against the mesh of a chain: of the chain file in their own
folder, or in the nearest one above it, or of the only chain there is. Without a chain, what exists is what Kubernetes'
documents among them tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from clover.errors import DocumentError, Problem
from clover.kit import documents
from clover.kit.documents import Document
from clover.mesh.istio import from_chain, parse, resources, validate
from clover.mesh.istio.analysis import inventory, kubernetes, services
from clover.mesh.istio.registry import Registry
from clover.mesh.istio.resources import Gateway, Resource
from clover.runtime import addressing
from clover.spec import load
from clover.spec.chain import Chain
from clover.spec.document import KIND

UNKNOWN_SERVICE = "CLV4111"
_MESH_GROUPS = re.compile(r"(?:networking|security|telemetry|extensions)\.istio\.io|gateway\.networking\.k8s\.io")
_INSTALLED = frozenset({"GatewayClass"})
"""Kinds of those groups that come with an installation, and say nothing about traffic."""
_NEEDS_WORKLOADS = frozenset({"IST0127", "IST0173"})


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to check."""

    name: str
    """As messages show it."""
    folder: str
    text: str
    named: bool = True
    """False: it was found in a folder, and may be about something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said about one file."""

    path: str
    problems: tuple[Problem, ...] = ()
    chain: Chain | None = None
    resources: int = 0
    """Istio's and the Gateway API's."""
    objects: int = 0
    """Of Kubernetes, that say what exists."""
    skipped: int = 0
    """Documents about something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """The documents of one file."""

    file: File
    wanted: tuple[Document, ...] = ()
    objects: tuple[Document, ...] = ()
    skipped: int = 0
    problems: tuple[Problem, ...] = ()


def inspect(files: Sequence[File], *, namespace: str = "default") -> tuple[Verdict, ...]:
    """Return a verdict for each file; resources that name no namespace, nor have a chain, belong to `namespace`."""
    chains: dict[str, Verdict] = {}
    others: list[_Sorted] = []
    for file in files:
        if (found := _sorted(file)) is None:
            chains[file.name] = _chain_verdict(file)
        else:
            others.append(found)
    folders = _folders(files, chains)
    groups: dict[str | None, list[_Sorted]] = {}
    for one in others:
        groups.setdefault(_chain_of(one.file, folders), []).append(one)
    told: dict[str, list[Problem]] = {}
    for name, group in groups.items():
        beside = chains[name] if name is not None else None
        known = {one.file.name for one in group}
        for problem in _group_problems(group, beside, namespace):
            # What is wrong with a resource that the chain itself means stands in no file of the group.
            home = _file_of(problem) if _file_of(problem) in known or name is None else name
            told.setdefault(home, []).append(problem)
    verdicts = {name: _with(chain, told.get(name, ())) for name, chain in chains.items()}
    verdicts |= {one.file.name: _verdict(one, told.get(one.file.name, ())) for one in others}
    return tuple(verdicts[file.name] for file in files)


def _sorted(file: File) -> _Sorted | None:
    """Tell a file's documents apart; None: the file is a chain's."""
    try:
        found = documents.parse(file.text, file.name)
    except DocumentError as error:
        return _Sorted(file=file, problems=error.problems)
    if any(_is_chain(document) for document in found) or (file.named and not any(map(_says_kind, found))):
        return None
    wanted: list[Document] = []
    objects: list[Document] = []
    everything = [item for document in found for item in kubernetes.items_of(document)]
    for document in everything:
        known = kubernetes.group_and_kind(document)
        if known in kubernetes.MODELS:
            objects.append(document)
        elif known and _MESH_GROUPS.fullmatch(known[0]) and known[1] not in _INSTALLED:
            wanted.append(document)
    skipped = len(everything) - len(wanted) - len(objects)
    return _Sorted(file=file, wanted=tuple(wanted), objects=tuple(objects), skipped=skipped)


def _says_kind(document: Document) -> bool:
    return kubernetes.group_and_kind(document) is not None


def _is_chain(document: Document) -> bool:
    group, kind = kubernetes.group_and_kind(document) or ("", "")
    return kind == KIND and "." not in group


def _chain_verdict(file: File) -> Verdict:
    """Check a chain, and what only its engines see."""
    chain, problems = load.inspect_text(file.text, file.name, directory=file.folder)
    if chain is None:
        return Verdict(path=file.name, problems=problems)
    from clover.runtime import planner  # The drivers take longer to load than most files to check.

    refused = planner.refusals(chain)
    return Verdict(path=file.name, chain=None if refused else chain, problems=(*problems, *refused))


def _folders(files: Sequence[File], chains: Mapping[str, Verdict]) -> dict[str, str]:
    """Return the chain file of each folder that has one; of several, the one that `clover up` would take, or none."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.name in chains:
            found.setdefault(file.folder, []).append(file.name)
    folders = {folder: _taken(names) for folder, names in found.items()}
    if len(chains) == 1:
        folders[""] = next(iter(chains))
    return {folder: name for folder, name in folders.items() if name}


def _taken(names: list[str]) -> str:
    usual = [name for name in names if PurePath(name).name == load.FILE_NAME]
    return names[0] if len(names) == 1 else next(iter(usual), "")


def _chain_of(file: File, folders: Mapping[str, str]) -> str | None:
    """Return the chain file whose mesh a file's resources are for."""
    above = [file.folder, *map(str, PurePath(file.folder).parents)]
    return next((folders[folder] for folder in above if folder in folders), folders.get(""))


def _group_problems(group: Sequence[_Sorted], beside: Verdict | None, namespace: str) -> Iterable[Problem]:
    """Yield what is wrong with the resources of one mesh."""
    chain = beside.chain if beside else None
    own = chain.namespace if chain else namespace
    parsed, unreadable = parse.inspect((document for one in group for document in one.wanted), namespace=own)
    objects, wrong = inventory.objects_from((document for one in group for document in one.objects), namespace=own)
    yield from (*unreadable, *wrong)
    if beside and chain is None:
        return
    everything = {resources.key(resource): resource for resource in (*_meant(chain), *parsed.resources)}
    registry = _registry(chain) if chain else inventory.registry_from(objects, everything.values())
    knows_workloads = registry.complete or any(one.pod for one in objects)
    if not chain:
        gateways = [resource for resource in parsed.resources if isinstance(resource, Gateway)]
        yield from services.problems_of(objects)
        yield from services.gateway_problems(objects, gateways, parsed.origins)
    for problem in validate.check(registry, everything.values(), origins=parsed.origins):
        if knows_workloads or problem.istio not in _NEEDS_WORKLOADS:
            yield problem


def _meant(chain: Chain | None) -> tuple[Resource, ...]:
    return from_chain.resources_from(chain) if chain else ()


def _registry(chain: Chain) -> Registry:
    from clover.runtime import planner

    return planner.registry_from(chain, addressing.addresses_from(chain))


def _file_of(problem: Problem) -> str:
    return re.sub(r":[0-9]+:[0-9]+$", "", problem.where)


def _verdict(one: _Sorted, told: Iterable[Problem]) -> Verdict:
    found = sorted(_folded((*one.problems, *told)), key=load.place)
    return Verdict(
        path=one.file.name,
        problems=documents.worth_reading(found, one.file.name),
        resources=len(one.wanted),
        objects=len(one.objects),
        skipped=one.skipped,
    )


def _with(verdict: Verdict, told: Iterable[Problem]) -> Verdict:
    """Return a chain's verdict with what its policies bring to light."""
    return replace(verdict, problems=(*verdict.problems, *told))


def _folded(problems: Iterable[Problem]) -> Iterable[Problem]:
    """Say once in a file that nothing tells which services exist."""
    unknown: list[Problem] = []
    for problem in problems:
        if problem.code == UNKNOWN_SERVICE:
            unknown.append(problem)
        else:
            yield problem
    whats = list(dict.fromkeys(problem.what.rpartition("service ")[2] for problem in unknown))
    if unknown:
        more = f" and {len(whats) - 5} more" if len(whats) > 5 else ""
        yield replace(
            unknown[0],
            what=f"nothing here says whether there are these services: {', '.join(whats[:5])}{more}",
            hint="check them together with the chain, or with the Services of their namespaces",
        )
