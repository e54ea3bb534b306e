"""Servers of Gateways that take TLS or TCP: whose certificate they show, and where their bytes go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clover.mesh import credentials, ir
from clover.mesh.istio import hosts, resources
from clover.mesh.istio.kinds.gateway import Server, ServerTLSSettings
from clover.mesh.istio.policies import served_domains
from clover.mesh.istio.resources import Gateway, VirtualService
from clover.mesh.translate.routes import Place
from clover.mesh.translate.tcp_routes import tcp_routes_from, tls_routes_from

_OWN_IDENTITY, _OWN_ROOTS = "default", "ROOTCA"
"""The secrets with the gateway's own identity in the mesh."""
HTTP_WORDS = ("h2", "http/1.1")
_VERSIONS = {"TLSV1_0": "1.0", "TLSV1_1": "1.1", "TLSV1_2": "1.2", "TLSV1_3": "1.3"}


def name_of(gateway: Gateway) -> str:
    """Return a Gateway as VirtualServices name it."""
    return f"{gateway.metadata.namespace}/{gateway.metadata.name}"


def server_name(gateway: Gateway, server: Server, port: int) -> str:
    """Return Istio's name of what belongs to one server."""
    return f"{port}.{server.port.name}.{gateway.metadata.name}.{gateway.metadata.namespace}"


def http_server(gateway: Gateway, server: Server, table: ir.RouteTable) -> ir.GatewayServer:
    """Return a server that ends TLS and speaks HTTP."""
    return ir.GatewayServer(
        name=server_name(gateway, server, server.port.number),
        hosts=server.names,
        tls=terminating(server.tls, words=HTTP_WORDS),
        routes=table.name,
        sources=(resources.key(gateway),),
    )


def tcp_server(gateway: Gateway, server: Server, place: Place) -> ir.GatewayServer | None:
    """Return a server that carries bytes; None: no VirtualService says where to, so that nothing is opened."""
    bound = [
        service
        for service in place.policies.bound.get(name_of(gateway), ())
        if any(served_domains(service, gateway, server))
    ]
    through = server.protocol != "TCP" and not server.terminates
    routes = _through(bound, server, place) if through else _unread(bound, place)
    if not routes:
        return None
    return ir.GatewayServer(
        name=server_name(gateway, server, server.port.number),
        hosts=server.names if server.terminates else (),
        tls=terminating(server.tls) if server.terminates else None,
        tcp=routes,
        sources=(resources.key(gateway), *dict.fromkeys(source for route in routes for source in route.sources)),
    )


def _through(bound: Iterable[VirtualService], server: Server, place: Place) -> tuple[ir.TcpRoute, ...]:
    """Return the routes of connections whose TLS is not ended, for the names that the server serves."""
    found = []
    for service in bound:
        for route in tls_routes_from(service, place):
            names = tuple(name for name in route.server_names if not server.names or any(_covers(name, server.names)))
            # A rule for any name takes those that the server serves.
            if names or not route.server_names:
                found.append(replace(route, server_names=names or server.names))
    return tuple(found)


def _covers(name: str, patterns: Iterable[str]) -> Iterable[bool]:
    return (hosts.covers(pattern, name) for pattern in patterns)


def _unread(bound: Iterable[VirtualService], place: Place) -> tuple[ir.TcpRoute, ...]:
    """Return the route of all connections: of several VirtualServices, the first by name decides."""
    routes = (tcp_routes_from(service, place) for service in bound)
    return next((found[:1] for found in routes if found), ())


def told_apart(servers: Iterable[ir.GatewayServer]) -> tuple[ir.GatewayServer, ...]:
    """Return servers of one port so that no two are for the same name of a client's TLS; the first has it."""
    taken: set[tuple[bool, str]] = set()

    def left(names: tuple[str, ...], *, tls: bool) -> tuple[str, ...] | None:
        """Return the names that nobody has, and note that they are taken; None: nothing is left."""
        free = tuple(name for name in names or ("",) if (tls, name) not in taken)
        taken.update((tls, name) for name in free)
        return tuple(filter(None, free)) if free else None

    found = []
    for server in servers:
        if server.tls:
            if (own := left(server.hosts, tls=True)) is not None:
                found.append(replace(server, hosts=own))
        else:
            routes = ((route, left(route.server_names, tls=route.tls)) for route in server.tcp)
            told = tuple(replace(route, server_names=names) for route, names in routes if names is not None)
            found += [replace(server, tcp=told)] if told else []
    return tuple(found)


def terminating(tls: ServerTLSSettings | None, *, words: tuple[str, ...] = ()) -> ir.ServerTls:
    """Return how a server ends the TLS of its clients."""
    settings = tls or ServerTLSSettings()
    identity = credentials.identity_name(
        certificate=settings.server_certificate, key=settings.private_key, credential=settings.credential_name
    )
    roots = credentials.roots_name(
        certificates=settings.ca_certificates,
        credential=settings.ca_cert_credential_name or settings.credential_name,
    )
    mesh = settings.mode == "ISTIO_MUTUAL"
    return ir.ServerTls(
        identity=_OWN_IDENTITY if mesh else identity,
        roots=_OWN_ROOTS if mesh else "" if settings.mode == "SIMPLE" else roots,
        optional=settings.mode == "OPTIONAL_MUTUAL",
        names=settings.subject_alt_names if settings.mode != "SIMPLE" else (),
        oldest=_VERSIONS.get(settings.min_protocol_version, ir.ServerTls(identity="").oldest),
        newest=_VERSIONS.get(settings.max_protocol_version, ir.ServerTls(identity="").newest),
        ciphers=settings.cipher_suites,
        words=words,
    )
