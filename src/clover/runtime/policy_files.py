"""Files of resources, and of the Kubernetes objects that tell what exists, checked as one mesh."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from clover.errors import Problem, errors_only
from clover.kit import documents
from clover.kit.documents import Document
from clover.mesh.istio import from_chain, parse, resources, validate
from clover.mesh.istio.analysis import inventory, kubernetes, services
from clover.mesh.istio.analysis.headings import group_and_kind, items_of, wrong_items
from clover.mesh.istio.registry import Registry
from clover.mesh.istio.resources import Gateway, Resource
from clover.mesh.translate import proxies_from, reach
from clover.runtime import addressing
from clover.runtime.verdict import Verdict
from clover.spec import load
from clover.spec.chain import Chain

UNKNOWN_SERVICE = "CLV4111"
_MESH_GROUPS = re.compile(r"(?:networking|security|telemetry|extensions)\.istio\.io|gateway\.networking\.k8s\.io")
_INSTALLED = frozenset({"GatewayClass"})
"""Kinds of those groups that come with an installation, and say nothing about traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """The documents of some files, by what they are for."""

    wanted: tuple[Document, ...]
    objects: tuple[Document, ...]
    skipped: int
    wrong: tuple[Problem, ...]


def inspect(
    files: Mapping[str, tuple[Document, ...]], beside: Verdict | None, *, namespace: str
) -> tuple[dict[str, Verdict], tuple[Problem, ...]]:
    """
    Return a verdict for each file, and what is wrong with the resources that the chain itself means.

    `beside` is the verdict on the chain whose mesh is meant; when that is broken, nobody knows what exists.
    """
    ordered = {name: _sorted(found) for name, found in files.items()}
    told: dict[str, list[Problem]] = {}
    for problem in _problems(tuple(ordered.values()), beside, namespace):
        told.setdefault(_file_of(problem), []).append(problem)
    verdicts = {name: _verdict(name, one, told.get(name, ())) for name, one in ordered.items()}
    return verdicts, tuple(problem for name, found in told.items() if name not in files for problem in found)


def _sorted(found: tuple[Document, ...]) -> _Sorted:
    """Tell documents apart."""
    wanted: list[Document] = []
    objects: list[Document] = []
    everything = [item for document in found for item in items_of(document)]
    for document in everything:
        known = group_and_kind(document)
        if known in kubernetes.MODELS:
            objects.append(document)
        elif known and _MESH_GROUPS.fullmatch(known[0]) and known[1] not in _INSTALLED:
            wanted.append(document)
    skipped = len(everything) - len(wanted) - len(objects)
    wrong = tuple(problem for document in found for problem in wrong_items(document))
    return _Sorted(wanted=tuple(wanted), objects=tuple(objects), skipped=skipped, wrong=wrong)


def _problems(files: tuple[_Sorted, ...], beside: Verdict | None, namespace: str) -> Iterator[Problem]:
    chain = beside.chain if beside else None
    namespace = chain.namespace if chain else namespace
    parsed, unreadable = parse.inspect((one for file in files for one in file.wanted), namespace=namespace)
    objects, wrong = inventory.objects_from((one for file in files for one in file.objects), namespace=namespace)
    yield from (*(problem for file in files for problem in file.wrong), *unreadable, *wrong)
    if beside and chain is None:
        return
    everything = {resources.key(resource): resource for resource in (*_meant(chain), *parsed.resources)}
    registry = _registry(chain) if chain else inventory.registry_from(objects, everything.values())
    if not chain:
        gateways = [resource for resource in parsed.resources if isinstance(resource, Gateway)]
        yield from services.problems_of(objects)
        yield from services.gateway_problems(objects, gateways, parsed.origins)
    found = tuple(validate.check(registry, everything.values(), origins=parsed.origins))
    yield from found
    if chain and not errors_only((*unreadable, *found)):
        places = {name: str(document.mark(("metadata", "name"))) for name, document in parsed.origins.items()}
        yield from reach.check(proxies_from(registry, everything.values()), places)


def _meant(chain: Chain | None) -> tuple[Resource, ...]:
    return from_chain.resources_from(chain) if chain else ()


def _registry(chain: Chain) -> Registry:
    from clover.runtime import planner

    return planner.registry_from(chain, addressing.addresses_from(chain))


def _file_of(problem: Problem) -> str:
    return re.sub(r":[0-9]+:[0-9]+$", "", problem.where)


def _verdict(name: str, one: _Sorted, told: Iterable[Problem]) -> Verdict:
    return Verdict(
        path=name,
        problems=documents.worth_reading(sorted(_folded(told), key=load.place), name),
        resources=len(one.wanted),
        objects=len(one.objects),
        skipped=one.skipped,
    )


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
