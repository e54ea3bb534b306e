"""
VirtualServices' rules for TCP and TLS into routes of connections, as one listener of one proxy sees them.

Both sidecars and gateways use them. Where the listener takes connections for one address, `destinationSubnets` are
decided here; a listener that takes them for many addresses leaves that to the proxy. At a gateway a connection was
made to the gateway itself, so that, as in Istio, neither its destination nor its source is asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.kinds.virtual_service import ConnectionMatch, RouteDestination
from clover.mesh.istio.policies import MESH, gateway_names, labels_of, service_at
from clover.mesh.istio.registry import Resolution
from clover.mesh.istio.resources import VirtualService
from clover.mesh.translate.clusters import lifetime_of
from clover.mesh.translate.routes import Place, cluster_of, policy_of


def tcp_routes_from(service: VirtualService, place: Place, *, address: str = "") -> tuple[ir.TcpRoute, ...]:
    """
    Return the routes of a VirtualService's `tcp` rules, up to the first that takes every connection.

    `address` is the only one that the listener takes connections for; '': it takes them for several.
    """
    routes: list[ir.TcpRoute] = []
    seen: set[str] = set()
    for index, rule in enumerate(service.spec.tcp):
        name = f"{service.metadata.name}.tcp.{index}"
        if not rule.match:
            return (*routes, _route(name, rule.route, service, place))
        networks: list[str] = []
        for match in rule.match:
            if not _applies(match, place, service.metadata.namespace):
                continue
            if not (wanted := _networks(match, place)) or _includes(wanted, address):
                return (*routes, _route(name, rule.route, service, place))
            networks += [] if address else [subnet for subnet in wanted if subnet not in {*seen, *networks}]
        if networks:
            routes.append(_route(name, rule.route, service, place, destinations=tuple(networks)))
            seen.update(networks)
    return tuple(routes)


def tls_routes_from(service: VirtualService, place: Place, *, address: str = "") -> tuple[ir.TcpRoute, ...]:
    """Return the routes of a VirtualService's `tls` rules; of two for one name at one address the first is taken."""
    routes: list[ir.TcpRoute] = []
    seen: set[tuple[str, str]] = set()
    for index, rule in enumerate(service.spec.tls):
        for match in rule.match:
            wanted = _networks(match, place)
            if not _applies(match, place, service.metadata.namespace):
                continue
            if address and wanted:
                if not _includes(wanted, address):
                    continue
                wanted = ()
            for subnet in wanted or ("",):
                names = [name for name in dict.fromkeys(map(str.lower, match.sni_hosts)) if (name, subnet) not in seen]
                seen.update((name, subnet) for name in names)
                for group in _name_groups(names):
                    routes.append(
                        _route(
                            f"{service.metadata.name}.tls.{index}",
                            rule.route,
                            service,
                            place,
                            destinations=(subnet,) if subnet else (),
                            server_names=group,
                            tls=True,
                        )
                    )
    return tuple(routes)


def _name_groups(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the names, and for `*`, which stands for the lack of a name too, no name."""
    if some := tuple(name for name in names if name != "*"):
        yield some
    if "*" in names:
        yield ()


def _route(
    name: str,
    shares: Sequence[RouteDestination],
    service: VirtualService,
    place: Place,
    *,
    destinations: tuple[str, ...] = (),
    server_names: tuple[str, ...] = (),
    tls: bool = False,
) -> ir.TcpRoute:
    return ir.TcpRoute(
        name=name,
        to=tuple(
            ir.WeightedCluster(
                cluster=cluster_of(share.destination, place, service.metadata.namespace),
                weight=100 if len(shares) == 1 else share.weight,
            )
            for share in shares
            if len(shares) == 1 or share.weight > 0
        ),
        destinations=destinations,
        server_names=server_names,
        tls=tls,
        asked=any(_is_asked(share, service, place) for share in shares),
        # As on Istio, of several destinations the first says how long.
        lifetime=lifetime_of(policy_of(shares[0].destination, place, service.metadata.namespace)),
        sources=(resources.key(service),),
    )


def _is_asked(share: RouteDestination, service: VirtualService, place: Place) -> bool:
    found = service_at(place.registry, share.destination.host, service.metadata.namespace)
    return found is not None and found.resolution is Resolution.DYNAMIC_DNS


def _applies(match: ConnectionMatch, place: Place, namespace: str) -> bool:
    """Tell whether a match can hold at this listener; unlike for HTTP, sidecars ask the source beside `gateways`."""
    if match.port not in (None, place.port):
        return False
    if match.gateways and place.gateways.isdisjoint(gateway_names(match.gateways, namespace)):
        return False
    if MESH not in place.gateways:
        return True
    if not match.source_labels.items() <= labels_of(place.workload).items():
        return False
    return match.source_namespace in ("", place.workload.namespace)


def _networks(match: ConnectionMatch, place: Place) -> tuple[str, ...]:
    """Return the networks that a match asks for, each written in one way only."""
    if MESH not in place.gateways:
        return ()
    return tuple(dict.fromkeys(str(network_of(text)) for text in match.destination_subnets))


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read an address or a network; raises ValueError."""
    return ipaddress.ip_network(text, strict=False)


def _includes(networks: Iterable[str], address: str) -> bool:
    return bool(address) and any(ipaddress.ip_address(address) in network_of(text) for text in networks)
