"""
Transport sockets: how a proxy proves who it is, and what it asks of the other side.

Keys and certificates are never part of these messages. They are named here, and come as secrets over the same stream.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from google.protobuf.message import Message

from clover.mesh import ir
from clover.mesh.xds import secrets
from clover.mesh.xds.messages import over_ads
from clover.mesh.xds.resource import SECRET, packed

HTTP_WORDS = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""Istio's ALPN words for HTTP between sidecars."""
TCP_WORDS = ("istio-peer-exchange", "istio")
WORDS = (*TCP_WORDS, *HTTP_WORDS)
_OFFERED = {
    # Not `istio-peer-exchange`: who offers it must speak that protocol.
    ir.Protocol.TCP: ("istio",),
    ir.Protocol.HTTP: ("istio-http/1.1", "istio"),
    ir.Protocol.HTTP2: ("istio-h2", "istio", "h2"),
    # What is HTTP; what is not says so itself (`listeners`), connection by connection.
    ir.Protocol.AUTO: ("istio-http/1.1", "istio"),
}
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
"""Of TLS 1.2, as Istio's; those of TLS 1.3 are not chosen."""
TLS_MODE = "tlsMode"
"""Istio's key in an endpoint's metadata: `istio` if its proxy takes mutual TLS."""

IDENTITY_NEEDS = ((SECRET, secrets.IDENTITY), (SECRET, secrets.ROOTS))
"""What every side of mutual TLS needs."""


def inbound(domains: Iterable[str]) -> TransportSocket:
    """Return a socket that takes callers who prove an identity of one of the trust domains."""
    context = DownstreamTlsContext()
    context.require_client_certificate.value = True
    common = context.common_tls_context
    common.tls_params.CopyFrom(_parameters(TlsParameters.TLSv1_2, TlsParameters.TLSv1_3, CIPHERS))
    common.alpn_protocols.extend(("h2", "http/1.1"))
    _show(common, secrets.IDENTITY)
    prefixes = (_uri(prefix=f"spiffe://{domain}/") for domain in domains)
    _believe(common, secrets.ROOTS, prefixes)
    return _socket(context)


def protect(message: Cluster, cluster: ir.Cluster) -> Iterator[tuple[str, str]]:
    """Make a cluster's connections as secure as it says; yields the secrets that they need."""
    match cluster.tls:
        case ir.MeshTls() as wanted:
            socket = _to_the_mesh(wanted, cluster.protocol)
            if wanted.detected:
                mutual = message.transport_socket_matches.add(name="tlsMode-istio", transport_socket=socket)
                mutual.match[TLS_MODE] = "istio"
                message.transport_socket_matches.add(name="tlsMode-disabled", transport_socket=_plain())
            else:
                message.transport_socket.CopyFrom(socket)
            yield from IDENTITY_NEEDS
        case ir.OriginTls() as wanted:
            message.transport_socket.CopyFrom(_to_an_origin(wanted))
            yield from ((SECRET, name) for name in (wanted.roots, wanted.identity) if name)
    if cluster.proxy_protocol:
        _introduce(message, ProxyProtocolConfig.V1 if cluster.proxy_protocol == 1 else ProxyProtocolConfig.V2)


def _introduce(message: Cluster, version: ProxyProtocolConfig.Version) -> None:
    """Let connections say whose they are before all else, TLS included."""
    if not message.transport_socket_matches and not message.HasField("transport_socket"):
        message.transport_socket.CopyFrom(_plain())
    sockets = [match.transport_socket for match in message.transport_socket_matches]
    for socket in sockets or [message.transport_socket]:
        config = ProxyProtocolConfig(version=version)
        wrapped = ProxyProtocolUpstreamTransport(config=config, transport_socket=socket)
        socket.name = "envoy.transport_sockets.upstream_proxy_protocol"
        socket.typed_config.CopyFrom(packed(wrapped))


def says_http(some: Iterable[ir.Cluster]) -> frozenset[str]:
    """
    Return the clusters whose connections to the mesh say by ALPN that they carry HTTP, as most of them do.

    The other side chooses between HTTP and TCP by that word. One cluster serves both the HTTP and the TCP of a port,
    and Istio's filter that changes the word for each request is not part of Envoy; so connections that carry something
    else are told to say so.
    """
    return frozenset(
        cluster.name
        for cluster in some
        if isinstance(cluster.tls, ir.MeshTls) and cluster.protocol is not ir.Protocol.TCP
    )


def announce_tcp(chain: FilterChain, names: Iterable[str], says_http: frozenset[str]) -> None:
    """Let a chain's connections to these clusters say that they carry TCP."""
    if any(name in says_http for name in names):
        chain.filters.insert(0, _announce())


@lru_cache(maxsize=1)
def _announce() -> Filter:
    said = FilterStateValue(
        object_key="envoy.network.application_protocols", shared_with_upstream=FilterStateValue.ONCE
    )
    said.format_string.text_format_source.inline_string = "istio"
    config = set_filter_state_pb2.Config(on_new_connection=[said])
    return Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(config))


def names_host(wanted: ir.MeshTls | ir.OriginTls | None) -> bool:
    """Tell whether TLS asks for the server that a request's Host names."""
    return isinstance(wanted, ir.OriginTls) and not wanted.sni


def _to_the_mesh(wanted: ir.MeshTls, protocol: ir.Protocol) -> TransportSocket:
    context = UpstreamTlsContext(sni=wanted.sni)
    common = context.common_tls_context
    common.tls_params.CopyFrom(_parameters(TlsParameters.TLSv1_2, TlsParameters.TLSv1_3))
    common.alpn_protocols.extend(_OFFERED[protocol])
    _show(common, secrets.IDENTITY)
    _believe(common, secrets.ROOTS, (_uri(exact=principal) for principal in wanted.principals))
    return _socket(context)


def _to_an_origin(wanted: ir.OriginTls) -> TransportSocket:
    # No ALPN: Envoy then offers what the connection will carry, HTTP/1.1 or HTTP/2.
    context = UpstreamTlsContext(sni=wanted.sni)
    common = context.common_tls_context
    common.tls_params.CopyFrom(_parameters(TlsParameters.TLSv1_2, TlsParameters.TLSv1_3))
    if wanted.identity:
        _show(common, wanted.identity)
    if wanted.roots:
        _believe(common, wanted.roots, map(_exactly, wanted.names))
        # Compares with the name that was in fact asked for, be it written or the request's Host.
        context.auto_sni_san_validation = not wanted.names
    return _socket(context)


def terminating(wanted: ir.ServerTls) -> TransportSocket:
    """Return a socket that serves clients from outside the mesh."""
    context = DownstreamTlsContext()
    common = context.common_tls_context
    common.tls_params.CopyFrom(_parameters(_VERSIONS[wanted.oldest], _VERSIONS[wanted.newest], wanted.ciphers))
    common.alpn_protocols.extend(wanted.words)
    _show(common, wanted.identity)
    if wanted.roots:
        _believe(common, wanted.roots, map(_exactly, wanted.names))
        context.require_client_certificate.value = not wanted.optional
    return _socket(context)


def terminating_needs(wanted: ir.ServerTls) -> tuple[tuple[str, str], ...]:
    """Return the secrets that such a socket needs."""
    return tuple((SECRET, name) for name in (wanted.identity, wanted.roots) if name)


_VERSIONS = {
    "1.0": TlsParameters.TLSv1_0,
    "1.1": TlsParameters.TLSv1_1,
    "1.2": TlsParameters.TLSv1_2,
    "1.3": TlsParameters.TLSv1_3,
}


def _parameters(oldest: int, newest: int, ciphers: Iterable[str] = ()) -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=oldest,
        tls_maximum_protocol_version=newest,
        cipher_suites=ciphers,
    )


def _show(common: CommonTlsContext, secret: str) -> None:
    common.tls_certificate_sds_secret_configs.add(name=secret, sds_config=over_ads())


def _believe(common: CommonTlsContext, secret: str, names: Iterable[SubjectAltNameMatcher]) -> None:
    context = common.combined_validation_context
    context.default_validation_context.match_typed_subject_alt_names.extend(names)
    context.validation_context_sds_secret_config.name = secret
    context.validation_context_sds_secret_config.sds_config.CopyFrom(over_ads())


def _exactly(name: str) -> SubjectAltNameMatcher:
    """Return a test for a name of a certificate, which is a URI, an IP address or a host."""
    if "://" in name:
        kind = SubjectAltNameMatcher.URI
    else:
        kind = SubjectAltNameMatcher.IP_ADDRESS if _is_address(name) else SubjectAltNameMatcher.DNS
    result = SubjectAltNameMatcher(san_type=kind)
    result.matcher.exact = name
    return result


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _uri(*, exact: str = "", prefix: str = "") -> SubjectAltNameMatcher:
    result = SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI)
    if exact:
        result.matcher.exact = exact
    else:
        result.matcher.prefix = prefix
    return result


def _plain() -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer()))


def _socket(context: Message) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
