"""What a chain means in Istio's words: the resources that are served here, and that a cluster would be given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clover.mesh.istio.resources import (
    Destination,
    DestinationRule,
    DestinationRuleSpec,
    Gateway,
    GatewaySpec,
    HTTPRoute,
    HTTPRouteDestination,
    Metadata,
    PortSelector,
    Resource,
    Server,
    ServerPort,
    Subset,
    VirtualService,
    VirtualServiceSpec,
)
from clover.spec.chain import Chain, Function

GATEWAY_LABELS = {"istio": "ingressgateway"}
"""Labels of the gateway's workload, as in Istio's own installation."""
_LOOPBACK = "127.0.0.1"


def resources_from(chain: Chain) -> tuple[Resource, ...]:
    """Return the resources that the chain means, before anybody changes a policy."""
    return (
        _gateway(chain),
        _entrance(chain),
        *(_versions(chain, function) for function in chain.functions.values() if len(function.versions) > 1),
        *_mirrors(chain),
    )


def services_from(chain: Chain) -> tuple[dict[str, Any], ...]:
    """
    Return the Kubernetes Services of the chain's functions.

    Their ports have no name on purpose: a named HTTP port would be routed by Host, and functions keep the client's.
    """
    return tuple(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": function.name,
                "namespace": chain.namespace,
                "labels": {"app": function.name},
            },
            "spec": {
                "selector": {"app": function.name},
                "ports": [{"port": function.port, "protocol": "TCP"}],
            },
        }
        for function in chain.functions.values()
    )


def _gateway(chain: Chain) -> Gateway:
    port = ServerPort(number=chain.gateway.port, protocol="HTTP", name="http")
    # Loopback is what Clover does anyway; on a cluster it would cut the gateway off, so it is not said.
    server = (
        Server(port=port, hosts=("*",))
        if chain.gateway.address == _LOOPBACK
        else Server(port=port, hosts=("*",), bind=chain.gateway.address)
    )
    return Gateway(
        metadata=_named(chain, f"{chain.name}-gateway"),
        spec=GatewaySpec(selector=dict(GATEWAY_LABELS), servers=(server,)),
    )


def _entrance(chain: Chain) -> VirtualService:
    function = chain.functions.get(chain.name)
    taken = function is not None and function.mirror_to is not None
    return VirtualService(
        metadata=_named(chain, f"{chain.name}-gateway" if taken else chain.name),
        spec=VirtualServiceSpec(
            hosts=("*",),
            gateways=(f"{chain.name}-gateway",),
            http=(_rule(chain, chain.functions[chain.gateway.to]),),
        ),
    )


def _versions(chain: Chain, function: Function) -> DestinationRule:
    subsets = tuple(Subset(name=version.name, labels={"version": version.name}) for version in function.versions)
    return DestinationRule(
        metadata=_named(chain, function.name),
        spec=DestinationRuleSpec(host=function.name, subsets=subsets),
    )


def _mirrors(chain: Chain) -> Iterator[VirtualService]:
    for function in chain.functions.values():
        if function.mirror_to is not None:
            yield VirtualService(
                metadata=_named(chain, function.name),
                spec=VirtualServiceSpec(hosts=(function.name,), http=(_rule(chain, function),)),
            )


def _rule(chain: Chain, function: Function) -> HTTPRoute:
    """Return the rule that sends everything to a function, and copies to its mirror."""
    if function.mirror_to is None:
        return HTTPRoute(route=(_to(function),))
    # A gateway obeys only what is bound to it, so the mirror of the first function is said there as well.
    return HTTPRoute(route=(_to(function),), mirror=_to(chain.functions[function.mirror_to]).destination)


def _to(function: Function) -> HTTPRouteDestination:
    port = PortSelector(number=function.port)
    return HTTPRouteDestination(destination=Destination(host=function.name, port=port))


def _named(chain: Chain, name: str) -> Metadata:
    return Metadata(name=name, namespace=chain.namespace)
