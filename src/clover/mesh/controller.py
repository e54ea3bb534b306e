"""The mesh as it is now: the resources in force, and the only way to change them.

A change is all or nothing. It is parsed, checked with everything that is already there, translated, compiled and
checked again before any proxy hears of it; then it is sent, and it stands when every connected proxy has acknowledged
it. If one refuses, all get the old configuration back, and the caller is told which resource was refused, and why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from clover.errors import DocumentError, MeshError, Problem, errors_only
from clover.kit.aside import aside
from clover.kit.documents import Document
from clover.mesh import snapshot
from clover.mesh.certificates import Authority, Svid
from clover.mesh.compiler import NO_ORIGINS, Compiler, Input
from clover.mesh.credential_files import CredentialFiles
from clover.mesh.credential_watch import CredentialWatch
from clover.mesh.identities import Identities
from clover.mesh.istio import validate
from clover.mesh.istio.finding import cut, nearest
from clover.mesh.istio.outside import names_of, with_entries
from clover.mesh.istio.parse import Parsed
from clover.mesh.istio.policies import policies_from
from clover.mesh.istio.registry import Registry
from clover.mesh.istio.resources import KINDS, Resource, full_kind, key
from clover.mesh.server import Server
from clover.mesh.snapshot import Snapshot
from clover.mesh.xds import resource as xds_resource
from clover.mesh.xds.resource import SECRET
from clover.mesh.xds.settings import Settings
from clover.mesh.xds.ways import Way, ways_of

ACKNOWLEDGE_S = 5.0
"""How long proxies may take to acknowledge a change before it is reported as pending."""
_LOOK_S = 2.0
"""How often it is looked whether files of certificates have changed."""
_LOOKED_AT_S = 60.0
"""How often it is looked whether a certificate grows old."""

Address = tuple[str, int]
"""IPv4 address and TCP port."""
Named = tuple[str, str, str]
"""Kind, namespace and name of a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one resource."""

    kind: str
    namespace: str
    name: str
    action: str
    """`created`, `configured`, `unchanged` or `deleted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a whole change."""

    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...] = ()
    acknowledged_ms: float = 0.0
    """From the call to the last acknowledgement."""
    proxies: int = 0
    """How many proxies acknowledged it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What functions reach beyond their network."""

    names: Mapping[str, str]
    """Host name → virtual address."""
    ways: frozenset[Way]

    def __or__(self, other: Reach) -> Reach:
        """Return both; of two addresses for one name, the other's."""
        return Reach(names={**self.names, **other.names}, ways=self.ways | other.ways)


_NOTHING = Reach(names={}, ways=frozenset())


class Controller:
    """Keeps the resources and the registry, and the proxies in step with them."""

    def __init__(
        self,
        *,
        registry: Registry,
        resources: Iterable[Resource],
        server: Server,
        settings: Settings,
        publish: Callable[[frozenset[Address]], Awaitable[None]],
        reach: Callable[[Reach], Awaitable[None]] | None = None,
        authority: Authority | None = None,
        certificate_lifetime_s: float = 86400.0,
        folder: Path | None = None,
    ) -> None:
        self._registry = registry
        self._resources = {key(resource): resource for resource in resources}
        self._server = server
        self._settings = settings
        self._publish = publish
        """Makes the gateways' addresses, and no others, reachable from outside; raises if it cannot."""
        self._reach = reach
        """Makes endpoints outside, and no others, reachable from the workloads; raises if it cannot. None: they are."""
        self._reached = _NOTHING
        self._identities = Identities(authority, lifetime_s=certificate_lifetime_s)
        # Certificates that policies name; relative paths begin at `folder`, that of the chain file.
        files = CredentialFiles(folder)
        self._watch = CredentialWatch(files)
        self._compiler = Compiler(settings=settings, identities=self._identities, files=files)
        self._snapshots: Mapping[str, Snapshot] = {}
        self._generation = 0
        self._changing = asyncio.Lock()
        self._readiness_changed = asyncio.Event()

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources in force, in the order in which they came."""
        return tuple(self._resources.values())

    async def start(self) -> None:
        """Send every proxy its first configuration. Raises DocumentError if the chain itself does not translate."""
        snapshots, _ = await self._compiled(self._resources)
        self._generation = self._send(snapshots)

    async def publish(self) -> None:
        """Make the gateways reachable from outside, and what is outside reachable. Raises HostError if it cannot."""
        await self._open(self._reach_of(self._resources, self._snapshots))
        await self._publish(_gateway_addresses(self._snapshots))

    async def _open(self, reach: Reach) -> None:
        if self._reach is not None and reach != self._reached:
            # Should this fail, any of it may be reached.
            self._reached |= reach
            await self._reach(reach)
        self._reached = reach

    def _reach_of(self, wanted: Mapping[str, Resource], snapshots: Mapping[str, Snapshot]) -> Reach:
        registry = with_entries(self._registry, policies_from(wanted.values()))
        proxies = (one.proxy for one in snapshots.values() if one.proxy)
        return Reach(names=names_of(registry), ways=ways_of(proxies, self._settings))

    async def apply(self, parsed: Parsed, *, unreadable: tuple[Problem, ...] = (), dry_run: bool = False) -> Outcome:
        """
        Add or replace resources. Raises DocumentError or MeshError, and then nothing has changed.

        `unreadable` is why other documents of the same change could not be read: it is refused then, with everything
        that is wrong with the ones that could.
        """
        async with self._changing:
            changes = tuple(_change(self._resources.get(key(resource)), resource) for resource in parsed.resources)
            wanted = {**self._resources, **{key(resource): resource for resource in parsed.resources}}
            if unreadable:
                everything = tuple(wanted.values())
                found = await aside(lambda: tuple(validate.check(self._registry, everything, origins=parsed.origins)))
                raise DocumentError(*unreadable, *errors_only(found))
            return await self._change_to(wanted, changes, origins=parsed.origins, dry_run=dry_run)

    async def delete(self, kind: str, namespace: str, name: str) -> Outcome:
        """Delete one resource. Raises DocumentError if it is not there or others need it."""
        return await self.delete_all([(kind, namespace, name)])

    async def delete_all(
        self,
        named: Sequence[Named],
        *,
        unreadable: tuple[Problem, ...] = (),
        ignore_missing: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """
        Delete resources, all or none. Raises DocumentError with those that are not there, or that others need.

        `unreadable` is why others of the same change could not be read: it is refused then.
        """
        async with self._changing:
            there = [one for one in named if "/".join(one) in self._resources]
            missing = [self.unknown(*one) for one in named if one not in there and not ignore_missing]
            if missing or unreadable:
                raise DocumentError(*unreadable, *missing)
            gone = {"/".join(one) for one in there}
            wanted = {key: resource for key, resource in self._resources.items() if key not in gone}
            changes = tuple(
                Change(kind=kind, namespace=namespace, name=name, action="deleted") for kind, namespace, name in there
            )
            what = ", ".join(f"{kind} {namespace}/{name}" for kind, namespace, name in there)
            try:
                return await self._change_to(wanted, changes, origins={}, dry_run=dry_run or not changes)
            except DocumentError as failure:
                raise DocumentError(
                    *(
                        replace(
                            problem,
                            what=f"{what} {'is' if len(there) == 1 else 'are'} needed: {problem.what}",
                            hint=f"change or delete {problem.where} first",
                        )
                        for problem in failure.problems
                    )
                ) from None

    def set_ready(self, workload: str, ready: bool) -> None:
        """Note that a workload takes traffic or not; `follow_readiness` tells the proxies."""
        workloads = tuple(
            replace(known, ready=ready) if known.name == workload else known for known in self._registry.workloads
        )
        if workloads != self._registry.workloads:
            self._registry = replace(self._registry, workloads=workloads)
            self._readiness_changed.set()

    async def follow_readiness(self) -> None:
        """Send new endpoints whenever workloads come and go; runs until cancelled."""
        while True:
            await self._readiness_changed.wait()
            self._readiness_changed.clear()
            async with self._changing:
                snapshots, _ = await self._compiled(self._resources, reread=False)
                self._send(snapshots)

    async def renew_certificates(self) -> None:
        """Give every proxy a new certificate before half of the life of its old one is over; runs until cancelled."""
        while identities := self._identities.in_force:
            due_s = min(svid.renew_at for svid in identities.values()) - time.time()
            # A machine that is put to sleep stops the clock that `sleep` goes by; certificates grow old all the same.
            await asyncio.sleep(min(max(due_s, 0.0), _LOOKED_AT_S))
            if due_s > _LOOKED_AT_S:
                continue
            async with self._changing:
                self._send(await aside(self._with_new_identities))

    def _with_new_identities(self) -> dict[str, Snapshot]:
        self._identities.renew()
        return {
            node: snapshot.with_secrets(known, self._identities.secrets(known.proxy))
            for node, known in self._snapshots.items()
        }

    async def follow_files(self) -> None:
        """Let proxies serve certificates anew soon after their files have changed; runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look_at_files()

    async def look_at_files(self) -> None:
        """Send certificates whose files have changed; one that cannot be used changes nothing but `problems`."""
        async with self._changing:
            in_force = self._secrets_in_force()
            if changed := self._watch.changed(in_force):
                found = self._watch.read(snapshot.needed_secrets(self._snapshots.values(), changed))
                if any(in_force[secret.name] != secret for secret in found):
                    self._send({node: snapshot.with_secrets(one, found) for node, one in self._snapshots.items()})

    def _secrets_in_force(self) -> dict[str, xds_resource.Resource]:
        return {name: one for known in self._snapshots.values() for name, one in known.resources[SECRET].items()}

    def problems(self) -> tuple[Problem, ...]:
        """Return what is wrong with the files of certificates in force, and what will be soon."""
        return tuple(self._watch.problems(self._secrets_in_force(), now=time.time()))

    @property
    def identities(self) -> Mapping[str, Svid]:
        """The identities in force, by proxy."""
        return self._identities.in_force

    async def acknowledged(self, *, timeout_s: float) -> None:
        """Wait until every proxy is there and has accepted what it was sent. Raises MeshError if one has not."""
        result = await self._server.acknowledged(self._generation, timeout_s=timeout_s, nodes=self._snapshots)
        late = [
            Problem(
                code="CLV4405",
                where=f"sidecar of {node}",
                what=f"it has not taken its configuration within {timeout_s:.0f} s",
                hint=f"clover logs {node} --sidecar",
            )
            for node in (*result.disconnected, *result.pending)
        ]
        if problems := (*result.problems, *late):
            raise MeshError(*problems)

    async def _change_to(
        self,
        wanted: Mapping[str, Resource],
        changes: tuple[Change, ...],
        *,
        origins: Mapping[str, Document],
        dry_run: bool,
    ) -> Outcome:
        started = time.monotonic()
        snapshots, warnings = await self._compiled(wanted, origins)
        if dry_run:
            return Outcome(changes=changes, warnings=warnings)
        before = self._snapshots
        # An address is opened before its gateway is told, which may fail, and closed when nothing can fail any more.
        old, new = _gateway_addresses(before), _gateway_addresses(snapshots)
        reached, reach = self._reached, self._reach_of(wanted, snapshots)
        try:
            await self._open(reached | reach)
            await self._publish(old | new)
            generation = self._send(snapshots)
            result = await self._server.acknowledged(generation, timeout_s=ACKNOWLEDGE_S)
            if result.problems:
                raise MeshError(*result.problems)
        except BaseException:
            # Whoever does not wait for the end of a change has not made it.
            if self._snapshots is not before:
                self._send(before)
            await self._publish(old)
            await self._open(reached)
            raise
        self._resources = dict(wanted)
        await self._publish(new)
        await self._open(reach)
        return Outcome(
            changes=changes,
            warnings=(*warnings, *map(_late, (*result.pending, *result.disconnected))),
            acknowledged_ms=(time.monotonic() - started) * 1000,
            proxies=len(result.accepted),
        )

    async def _compiled(
        self, resources: Mapping[str, Resource], origins: Mapping[str, Document] = NO_ORIGINS, *, reread: bool = True
    ) -> tuple[dict[str, Snapshot], tuple[Problem, ...]]:
        """Return what every proxy is told, and warnings, without keeping anybody waiting whom the loop serves."""
        given = Input(
            registry=self._registry,
            resources=resources,
            origins=origins,
            in_force=self._secrets_in_force(),
            reread=reread,
        )
        return await aside(lambda: self._compiler.snapshots(given))

    def _send(self, snapshots: Mapping[str, Snapshot]) -> int:
        self._snapshots = snapshots
        return self._server.push(snapshots)

    def unknown(self, kind: str, namespace: str, name: str) -> Problem:
        """Return the problem of naming a resource that is not there."""
        if kind not in KINDS:
            return unknown_kind(kind)
        near = self._nearest(kind, name)
        return Problem(
            code="CLV4404",
            where=f"{kind} {namespace}/{name}",
            what="there is no such resource",
            hint=f"did you mean {_as_typed(near, namespace)}?" if near else "clover get lists what there is",
        )

    def _nearest(self, kind: str, name: str) -> Resource | None:
        """Return the resource of that name in another namespace or of another group, or else one of a name like it."""
        alike = {one.metadata.name: one for one in self._resources.values() if one.kind == kind.partition(".")[0]}
        near = get_close_matches(name, alike, n=1)
        return alike[near[0]] if near else None


def unknown_kind(kind: str) -> Problem:
    """Return the problem of naming a kind that the mesh does not have."""
    return Problem(
        code="CLV4101",
        where="kind",
        what=f"the kind {cut(kind)!r} is not supported by Clover, which has {', '.join(KINDS)}",
        hint=nearest(kind, KINDS),
    )


def _as_typed(resource: Resource, namespace: str) -> str:
    """Return a resource as `clover get` takes it, from within a namespace."""
    name = f"{full_kind(type(resource)).lower()}/{resource.metadata.name}"
    return name if resource.metadata.namespace == namespace else f"{name} -n {resource.metadata.namespace}"


def _gateway_addresses(snapshots: Mapping[str, Snapshot]) -> frozenset[Address]:
    return frozenset(
        (port.address, port.port)
        for snapshot in snapshots.values()
        for port in (snapshot.proxy.gateways if snapshot.proxy else ())
    )


def _late(node: str) -> Problem:
    return Problem(
        code="CLV4406",
        where=f"sidecar of {node}",
        what=f"it has not acknowledged the change within {ACKNOWLEDGE_S:.0f} s",
        hint="clover status shows when it has",
        severity="warning",
    )


def _change(old: Resource | None, new: Resource) -> Change:
    action = "created" if old is None else "unchanged" if old == new else "configured"
    return Change(kind=full_kind(type(new)), namespace=new.metadata.namespace, name=new.metadata.name, action=action)
