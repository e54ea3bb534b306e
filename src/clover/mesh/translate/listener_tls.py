"""Listeners of the Gateway API that end TLS: what is asked of clients, and what each name is served with."""

from __future__ import annotations

from collections.abc import Iterator

from clover.mesh import ir
from clover.mesh.istio import resources
from clover.mesh.istio.attachments import EVERY_HOST
from clover.mesh.istio.kinds.gateway import ServerTLSSettings
from clover.mesh.istio.kinds.kubernetes_gateway import CIPHER_SUITES, TERMINATE_MODE, Listener
from clover.mesh.istio.resources import KubernetesGateway
from clover.mesh.translate.gateway_servers import HTTP_WORDS, terminating

_ANOTHERS = 421
"""Misdirected Request: the connection was made for another name, whose listener may ask other things of a client."""


def https_server(gateway: KubernetesGateway, listener: Listener, table: str) -> ir.GatewayServer:
    """Return the server of one listener, which the client's TLS asks for by its host."""
    return ir.GatewayServer(
        name=f"{listener.port}.{place_of(gateway, listener)}",
        hosts=(listener.hostname,) if listener.hostname else (),
        tls=terminating(_settings(gateway, listener), words=HTTP_WORDS),
        routes=table,
        sources=(resources.key(gateway),),
    )


def place_of(gateway: KubernetesGateway, listener: Listener) -> str:
    """Return what tells a listener from all others; nothing that Istio's Gateways name has a `/` in it."""
    return f"{gateway.metadata.namespace}/{gateway.metadata.name}/{listener.name}"


def of_other_listeners(gateway: KubernetesGateway, listener: Listener) -> Iterator[ir.VirtualHost]:
    """Yield the hosts of the port's other listeners: a connection is for the names of its own."""
    for other in gateway.spec.listeners:
        if other.port == listener.port and other is not listener:
            domain = other.hostname or EVERY_HOST
            answer = ir.Route(
                name=f"not of {listener.name}",
                match=ir.RequestMatch(),
                action=ir.DirectResponse(code=_ANOTHERS),
                sources=(resources.key(gateway),),
            )
            yield ir.VirtualHost(name=f"{domain}:{listener.port}", domains=(domain,), routes=(answer,))


def _settings(gateway: KubernetesGateway, listener: Listener) -> ServerTLSSettings | None:
    """Return a listener's TLS in the words of Istio's Gateway."""
    if (tls := listener.tls) is None:
        return None
    asked = gateway.spec.asked_of_clients(listener.port)
    mode = tls.options.get(TERMINATE_MODE) or ("MUTUAL" if asked else "SIMPLE")
    ciphers = tls.options.get(CIPHER_SUITES, "")
    return ServerTLSSettings.model_validate(
        {
            "mode": mode,
            "credentialName": tls.certificate_refs[0].name if tls.certificate_refs else "",
            "caCertCredentialName": asked.ca_certificate_refs[0].name if asked else "",
            "cipherSuites": [name.strip() for name in ciphers.split(",") if name.strip()],
        }
    )
