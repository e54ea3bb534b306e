"""Ways out of the network of the workloads: a Unix socket for each endpoint that it does not reach."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clover.errors import Problem
from clover.mesh import ir
from clover.mesh.xds.settings import CONTROL_PLANE, Settings

UNIX = "unix://"
_LONGEST_SOCKET = 100
"""The kernel takes 107 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An endpoint, and the socket that leads to it."""

    socket: str
    host: str
    """IP address, a name that is looked up where the way begins, or a wildcard: the name below it that is asked for."""
    port: int
    loopback: bool
    """True: it may be at this machine's own loopback."""


def way_to(member: ir.Endpoint, settings: Settings) -> Way | None:
    """Return the way to an endpoint; None: it needs none."""
    if not settings.way_out or not member.outside or member.address.startswith(UNIX):
        return None
    return Way(
        socket=_socket(settings.way_out, member),
        host=member.address,
        port=member.port,
        loopback=member.loopback,
    )


def ways_of(proxies: Iterable[ir.Proxy], settings: Settings) -> frozenset[Way]:
    """Return every way that proxies are told of."""
    # Proxies that see the same have the same endpoints, as objects.
    groups = {id(group): group for proxy in proxies for group in proxy.endpoints}
    ways = (way_to(member, settings) for group in groups.values() for member in group.members)
    return frozenset(way for way in ways if way is not None)


def check(proxies: Iterable[ir.Proxy], settings: Settings) -> Iterator[Problem]:
    """
    Yield the sockets of Clover's own that a policy leads to.

    Whoever may call the service could then change the chain, or take another's identity.
    """
    if not settings.way_out:
        return
    own = Path(settings.way_out).parent.parent.resolve()
    for address, where in _sockets(proxies).items():
        path = address.removeprefix(UNIX)
        if path == CONTROL_PLANE or (path.startswith("/") and Path(path).resolve().is_relative_to(own)):
            yield Problem(
                code="CLV4312",
                where=where,
                what=f"{address!r} is where running chains have their own sockets",
                hint="put the socket of a function or a service into another folder",
            )


def _sockets(proxies: Iterable[ir.Proxy]) -> dict[str, str]:
    """Return the Unix sockets that proxies are told of, with those who name them."""
    some = tuple(proxies)
    found = {
        port.endpoint: f"sidecar of {proxy.node}"
        for proxy in some
        for port in proxy.inbound
        if port.endpoint.startswith(UNIX)
    }
    # Proxies that see the same have the same endpoints, as objects.
    for proxy in {id(proxy.endpoints): proxy for proxy in some}.values():
        sockets = [
            (one.address, group.cluster)
            for group in proxy.endpoints
            for one in group.members
            if one.address.startswith(UNIX)
        ]
        sources = {cluster.name: ", ".join(cluster.sources) for cluster in proxy.clusters} if sockets else {}
        found |= {address: sources[cluster] for address, cluster in sockets}
    return found


def _socket(folder: str, member: ir.Endpoint) -> str:
    """Return a path that is named after the endpoint, unless that would be too long for a socket."""
    name = f"{member.address}_{member.port}" + ("_loopback" if member.loopback else "")
    if len(folder) + len(name) >= _LONGEST_SOCKET:
        name = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{folder}/{name}"
