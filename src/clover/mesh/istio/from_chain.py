"""What a chain means in Istio's words: the resources that are served here, and that a cluster would be given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clover.mesh.istio.kinds.destination_rule import DestinationRuleSpec, Subset
from clover.mesh.istio.kinds.gateway import GatewaySpec, Server, ServerPort
from clover.mesh.istio.kinds.part import Metadata
from clover.mesh.istio.kinds.virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
    PortSelector,
    VirtualServiceSpec,
)
from clover.mesh.istio.resources import (
    AuthorizationPolicy,
    DestinationRule,
    Gateway,
    PeerAuthentication,
    Resource,
    VirtualService,
)
from clover.spec.chain import CONTROL_PORT, Chain, Function, FunctionType, workload_name

DATA_PORT_NAME = "data"
"""No protocol's name: it is recognised by the first bytes."""
CONTROL_PORT_NAME = "grpc-control"
GATEWAY_LABELS = {"istio": "ingressgateway"}
"""Labels of the gateway's workload, as in Istio's own installation."""
GATEWAY_ACCOUNT = "gateway"
AGENT_ACCOUNT = "control-agent"
_EVERYBODY = "*"
REPORT_ALERTS = "/clover.control.v1.Ambassador/ReportAlerts"
_LOOPBACK = "127.0.0.1"


def resources_from(chain: Chain) -> tuple[Resource, ...]:
    """Return the resources that the chain means, before anybody changes a policy."""
    return (
        _gateway(chain),
        _entrance(chain),
        *(_versions(chain, function) for function in chain.functions.values() if len(function.versions) > 1),
        *_mirrors(chain),
        _trust(chain),
        *_permissions(chain),
    )


def services_from(chain: Chain) -> tuple[dict[str, Any], ...]:
    """
    Return the Kubernetes Services of the chain: one for each function, and one for each of several versions.

    The ambassador of a version is called by the latter, and the Gateway API, which knows no subsets, splits by them.
    A function's data port is named so that its protocol is recognised (a port named `http` would be routed by Host, and
    functions keep the client's); the control port is named for gRPC, which is routed by the name that is dialled.
    """
    return (
        *(_service(chain, function, function.name, {"app": function.name}) for function in chain.functions.values()),
        *(
            _service(chain, function, workload_name(function, version), {"app": function.name, "version": version.name})
            for function, version in chain.workloads()
            if len(function.versions) > 1
        ),
    )


def _service(chain: Chain, function: Function, name: str, selector: dict[str, str]) -> dict[str, Any]:
    ports = [
        {"name": DATA_PORT_NAME, "port": function.port, "protocol": "TCP"},
        {"name": CONTROL_PORT_NAME, "port": CONTROL_PORT, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": chain.namespace, "labels": {"app": selector["app"]}},
        "spec": {"selector": selector, "ports": ports},
    }


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
                spec=VirtualServiceSpec(hosts=(function.name,), http=_mirrored(chain, function)),
            )


def _mirrored(chain: Chain, function: Function) -> tuple[HTTPRoute, ...]:
    """Return the rules of a function whose requests are copied; what is said to its ambassador is not."""
    rule = _rule(chain, function)
    return (
        HTTPRoute(match=(HTTPMatchRequest(port=function.port),), route=rule.route, mirror=rule.mirror),
        HTTPRoute(route=(HTTPRouteDestination(destination=Destination(host=function.name)),)),
    )


def _trust(chain: Chain) -> PeerAuthentication:
    """Return what the chain says about the connections that its workloads take."""
    return PeerAuthentication.model_validate(
        {
            "metadata": {"name": "default", "namespace": chain.namespace},
            "spec": {"mtls": {"mode": chain.mesh.mtls}},
        }
    )


def _permissions(chain: Chain) -> Iterator[AuthorizationPolicy]:
    """
    Yield who may call each function, unless the chain leaves that open.

    Its data port is for those that the chain has before it, and for all if it is an authorizer of the mesh; its
    ambassador is for the control agent. An IDS may report its alerts to the firewall whose requests it is shown.
    """
    if chain.mesh.authorization == "none":
        return
    for function in chain.functions.values():
        callers = [_EVERYBODY] if function.name in chain.authorizers() else _callers(chain, function)
        rules = [
            _permission(chain, callers, port=function.port),
            _permission(chain, [AGENT_ACCOUNT], port=CONTROL_PORT),
        ]
        if function.type is FunctionType.FIREWALL:
            watching = [
                name for name in (function.mirror_to,) if name and chain.functions[name].type is FunctionType.IDS
            ]
            rules.append(_permission(chain, watching, port=CONTROL_PORT, paths=[REPORT_ALERTS]))
        yield AuthorizationPolicy.model_validate(
            {
                "metadata": {"name": function.name, "namespace": chain.namespace},
                "spec": {
                    "selector": {"matchLabels": {"app": function.name}},
                    "action": "ALLOW",
                    "rules": [rule for rule in rules if rule],
                },
            }
        )


def _permission(chain: Chain, accounts: Sequence[str], *, port: int, paths: Sequence[str] = ()) -> dict[str, Any]:
    """Return the rule that lets workloads of some service accounts call a port; {} when there are none."""
    if not accounts:
        return {}
    principals = [f"{chain.mesh.config.trust_domain}/ns/{chain.namespace}/sa/{account}" for account in accounts]
    operation = {"ports": [str(port)], **({"paths": list(paths)} if paths else {})}
    return {"from": [{"source": {"principals": principals}}], "to": [{"operation": operation}]}


def _callers(chain: Chain, function: Function) -> list[str]:
    """Return whose requests, or copies of requests, reach a function."""
    first = [GATEWAY_ACCOUNT] if chain.gateway.to == function.name else []
    before = [known.name for known in chain.functions.values() if function.name in known.upstreams]
    copied = [known for known in chain.functions.values() if known.mirror_to == function.name]
    return list(dict.fromkeys([*first, *before, *(name for known in copied for name in _callers(chain, known))]))


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
