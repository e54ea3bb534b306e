"""
Everything that one proxy is told at one moment: immutable, versioned, and checked before it is sent.

A snapshot is whole: whatever one of its resources refers to is in it. Two snapshots with equal versions are equal, but
for the certificates in them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isqrt

from clover.errors import Problem
from clover.kit.memory import remembered_by_identity
from clover.mesh import ir
from clover.mesh.xds import compile, inbound, listeners
from clover.mesh.xds.resource import NOUNS, SECRET, TYPES, Resource, Resources
from clover.mesh.xds.settings import DEFAULTS, Settings

_LARGEST_RING = 8 * 1024 * 1024
_LARGEST_TABLE = 5_000_011


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The configuration of one proxy."""

    node: str
    """Its xDS node id: the workload's name."""
    resources: Resources
    proxy: ir.Proxy | None = None
    """What the resources were compiled from; without it `check` knows less."""

    @property
    def version(self) -> str:
        """
        A hash of all resources but secrets; shown to users as the configuration's version.

        A certificate that takes the place of one that grows old is no change of what a proxy does.
        """
        return version_of(self.resources)


def snapshot_from(proxy: ir.Proxy, settings: Settings = DEFAULTS, *, secrets: Iterable[Resource] = ()) -> Snapshot:
    """Compile what `proxy` is told; `secrets` are what it proves its identity with, and whom it trusts."""
    resources = {**compile.resources_from(proxy, settings), SECRET: {secret.name: secret for secret in secrets}}
    return Snapshot(node=proxy.node, proxy=proxy, resources=resources)


def missing_secrets(some: Iterable[Snapshot]) -> dict[str, tuple[str, ...]]:
    """Return the secrets that are referred to and not there, with the author's resources that need them."""
    return _by_name(need for one in some for need in _needed_by(one) if need[0] not in one.resources[SECRET])


def needed_secrets(some: Iterable[Snapshot], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return those of the secrets `names` that are referred to, with the author's resources that need them."""
    return _by_name(need for one in some for need in _needed_by(one) if need[0] in names)


def _needed_by(one: Snapshot) -> Iterator[tuple[str, tuple[str, ...]]]:
    for resources in one.resources.values():
        yield from _secrets_of(resources).items()


@remembered_by_identity
def _secrets_of(resources: Mapping[str, Resource]) -> Mapping[str, tuple[str, ...]]:
    """Return the secrets that resources refer to, with the author's resources that need them."""
    return _by_name(
        (name, resource.sources)
        for (type_url, name), needing in _needs(resources).items()
        if type_url == SECRET
        for resource in needing
    )


def _by_name(needs: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for name, sources in needs:
        found.setdefault(name, {}).update(dict.fromkeys(sources))
    return {name: tuple(sources) for name, sources in found.items()}


def with_secrets(one: Snapshot, some: Iterable[Resource]) -> Snapshot:
    """Return a snapshot with those of the secrets that it refers to, in the place of what it had of them."""
    needed = {name for name, _ in _needed_by(one)}
    held = {secret.name: secret for secret in some}
    kept = {name: secret for name, secret in held.items() if name in needed or name in one.resources[SECRET]}
    return replace(one, resources={**one.resources, SECRET: {**one.resources[SECRET], **kept}})


def version_of(resources: Resources) -> str:
    """Return a short hash over the names and versions of `resources`."""
    digest = hashlib.sha256()
    for type_url in (known for known in TYPES if known != SECRET):
        digest.update(_said(resources.get(type_url, {})))
    return digest.hexdigest()[:12]


@remembered_by_identity
def _said(resources: Mapping[str, Resource]) -> bytes:
    """Return the names and versions of all resources of a type."""
    lines = (f"{resource.type_url} {name} {resource.version}\n" for name, resource in sorted(resources.items()))
    return "".join(lines).encode()


def check(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Report all that would make Envoy refuse the snapshot, or lose traffic with it."""
    found = [problem for rule in RULES for problem in rule(snapshot)]
    if (proxy := snapshot.proxy) is not None:
        found += _problems_of_parts(proxy.clusters, proxy.endpoints, proxy.tables)
    return tuple(problem if problem.where else replace(problem, where=f"proxy {snapshot.node}") for problem in found)


@remembered_by_identity
def _problems_of_parts(
    clusters: tuple[ir.Cluster, ...], endpoints: tuple[ir.Endpoints, ...], tables: tuple[ir.RouteTable, ...]
) -> tuple[Problem, ...]:
    """Return what is wrong with parts that many proxies may share; a problem without a place is at the proxy."""
    return (
        *names_are_unique(clusters, endpoints, tables),
        *(problem for rule in TABLE_RULES for problem in rule(tables)),
        *rings_can_be_built(clusters),
    )


def references_lead_somewhere(snapshot: Snapshot) -> Iterator[Problem]:
    """A route to a cluster that is not there answers 503 with the flag NC, and says nothing more."""
    for resources in snapshot.resources.values():
        for (type_url, name), needing in _needs(resources).items():
            if name in snapshot.resources.get(type_url, {}):
                continue
            for resource in needing:
                yield Problem(
                    code="CLV4301",
                    where=_where(resource.sources),
                    what=(
                        f"{NOUNS[resource.type_url]} {resource.name!r} needs {NOUNS[type_url]} {name!r}, "
                        f"which proxy {snapshot.node!r} does not have"
                    ),
                    hint="name a service, port and subset that exist",
                )


@remembered_by_identity
def _needs(resources: Mapping[str, Resource]) -> Mapping[tuple[str, str], list[Resource]]:
    """Return what resources refer to, each with all that do."""
    found: dict[tuple[str, str], list[Resource]] = {}
    for resource in resources.values():
        for needed in resource.requires:
            found.setdefault(needed, []).append(resource)
    return found


def names_are_unique(
    clusters: tuple[ir.Cluster, ...], endpoints: tuple[ir.Endpoints, ...], tables: tuple[ir.RouteTable, ...]
) -> Iterator[Problem]:
    """Of two resources with one name a proxy keeps one, without a word."""
    for noun, names in (
        ("cluster", [cluster.name for cluster in clusters]),
        ("endpoints", [group.cluster for group in endpoints]),
        ("route table", [table.name for table in tables]),
    ):
        for name in _repeated(names):
            yield Problem(code="CLV4302", where="", what=f"{noun} {name!r} is there more than once")


def listeners_share_no_address(snapshot: Snapshot) -> Iterator[Problem]:
    """Two listeners at one address: Envoy refuses the second."""
    if (proxy := snapshot.proxy) is None:
        return
    names = [
        *map(listeners.outbound_name, proxy.outbound),
        *map(listeners.gateway_name, proxy.gateways),
        *(f"{inbound.NAME} {port.port}" for port in proxy.inbound),
    ]
    sources = [source for port in proxy.gateways for source in port.sources]
    for name in _repeated(names):
        yield Problem(
            code="CLV4303",
            where=_where(sources),
            what=f"address {name!r} has more than one listener",
            hint="give each a port of its own",
        )


def domains_are_unique(tables: Iterable[ir.RouteTable]) -> Iterator[Problem]:
    """A host name that two virtual hosts of a table claim: Envoy refuses the table."""
    for table in tables:
        domains = [domain.lower() for host in table.virtual_hosts for domain in host.domains]
        for domain in _repeated(domains):
            claimed = [host for host in table.virtual_hosts if domain in map(str.lower, host.domains)]
            sources = {source for host in claimed for route in host.routes for source in route.sources}
            yield Problem(
                code="CLV4304",
                where=_where(sorted(sources) or table.sources),
                what=f"host {domain!r} is claimed more than once in route table {table.name!r}",
                hint="leave the host in one of them",
            )


def shares_add_up(tables: Iterable[ir.RouteTable]) -> Iterator[Problem]:
    """A split whose weights are all 0 sends nothing anywhere: Envoy refuses the table."""
    for table, route in _routes(tables):
        if not isinstance(route.action, ir.Forward):
            continue
        weights = [share.weight for share in route.action.to]
        if not weights or (len(weights) > 1 and sum(weights) == 0):
            yield Problem(
                code="CLV4305",
                where=_where(route.sources),
                what=f"route {route.name!r} of table {table.name!r} has weights {weights}, which send nothing anywhere",
                hint="give at least one destination a weight above 0",
            )


def queries_are_tested_for_what_they_are(tables: Iterable[ir.RouteTable]) -> Iterator[Problem]:
    """Envoy can test a query parameter for a value, not for the lack of one."""
    for table, route in _routes(tables):
        for test in route.match.query:
            if test.invert:
                yield Problem(
                    code="CLV4306",
                    where=_where(route.sources),
                    what=f"route {route.name!r} of table {table.name!r} excludes query parameter {test.name!r}",
                    hint="put a rule that matches the parameter in front of this one",
                )


def rings_can_be_built(clusters: Iterable[ir.Cluster]) -> Iterator[Problem]:
    """Envoy finds out late that a hash ring or table cannot be built, and takes it badly."""
    for cluster in clusters:
        size = cluster.ring_size or 0
        if cluster.balancing is ir.Balancing.MAGLEV and size and not (size <= _LARGEST_TABLE and _is_prime(size)):
            expected = f"a Maglev table size is a prime number up to {_LARGEST_TABLE}"
        elif cluster.balancing is ir.Balancing.RING_HASH and not 0 <= size <= _LARGEST_RING:
            expected = f"a ring has at most {_LARGEST_RING} entries"
        else:
            continue
        yield Problem(
            code="CLV4307",
            where=_where(cluster.sources),
            what=f"cluster {cluster.name!r} has hash table size {size}; {expected}",
            hint="65537 is a good size for a Maglev table" if cluster.balancing is ir.Balancing.MAGLEV else "",
        )


RULES = (references_lead_somewhere, listeners_share_no_address)
TABLE_RULES = (domains_are_unique, shares_add_up, queries_are_tested_for_what_they_are)


def _routes(tables: Iterable[ir.RouteTable]) -> Iterator[tuple[ir.RouteTable, ir.Route]]:
    for table in tables:
        for host in table.virtual_hosts:
            for route in host.routes:
                yield table, route


def _where(sources: Iterable[str]) -> str:
    """Return the author's resources, if there are any; '': the proxy."""
    return ", ".join(sources)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
