"""Kinds that Clover does not read: why not, and how to say the same in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A kind of Istio's or of the Gateway API that Clover leaves out on purpose."""

    why: str
    instead: str


_CODE = LeftOut(
    "it puts its author's code into every proxy, and Clover's proxies run none but their own",
    "make it a function of the chain (a server with a 'command'), or ask it by an AuthorizationPolicy with CUSTOM",
)

ON_PURPOSE: Mapping[str, LeftOut] = {
    "EnvoyFilter": LeftOut(
        "it edits Envoy's configuration by hand, and nothing that Clover checks or explains would hold for the result",
        "say it with a VirtualService, DestinationRule, AuthorizationPolicy, RequestAuthentication or Telemetry",
    ),
    "WasmPlugin": _CODE,
    "TrafficExtension": _CODE,
    "ProxyConfig": LeftOut(
        "it says how sidecars are started, which Clover decides itself",
        "a Telemetry says what proxies report; 'spec.mesh' of the chain file says what holds for all of them",
    ),
    "WorkloadGroup": LeftOut(
        "it is a form for machines that join a mesh by themselves, and nothing joins a running chain",
        "write a WorkloadEntry for each machine, and a ServiceEntry that chooses them",
    ),
    "IstioOperator": LeftOut(
        "it installs Istio, and Clover's mesh comes with the chain",
        "fields of its 'meshConfig' stand in 'spec.mesh.config' of the chain file",
    ),
    "GatewayClass": LeftOut(
        "it names a controller, and Clover is the only one", "a Gateway says 'gatewayClassName: istio' or 'clover'"
    ),
    "TCPRoute": LeftOut(
        "of the Gateway API, Clover reads the routes for HTTP and gRPC", "write a VirtualService with 'tcp'"
    ),
    "TLSRoute": LeftOut(
        "of the Gateway API, Clover reads the routes for HTTP and gRPC", "write a VirtualService with 'tls'"
    ),
    "UDPRoute": LeftOut("the proxies of a chain carry TCP only", "there is nothing to write instead"),
    "BackendTLSPolicy": LeftOut(
        "TLS towards a service is said in Istio's words here", "write a DestinationRule with 'trafficPolicy.tls'"
    ),
}

_FROM_THE_CHAIN = "what runs is said by the chain file; leave this document out"
_ACCESS = "who may call what is said by an AuthorizationPolicy; leave this document out"

HINTS: Mapping[str, str] = {
    "Chain": "a chain is started with `clover up`; policies are applied to it",
    "Service": "the services of a mesh come from its chain; leave this document out",
    "Endpoints": "the services of a mesh come from its chain; leave this document out",
    "EndpointSlice": "the services of a mesh come from its chain; leave this document out",
    **dict.fromkeys(
        ("CronJob", "DaemonSet", "Deployment", "HorizontalPodAutoscaler", "Job", "Pod", "ReplicaSet", "StatefulSet"),
        _FROM_THE_CHAIN,
    ),
    "ConfigMap": "functions are configured in the chain file and by `clover control`; leave this document out",
    "Secret": "the certificates of gateways are files on this machine; leave this document out",
    "Namespace": "a namespace is there as soon as a workload is in it; leave this document out",
    "ServiceAccount": "every workload has an identity of its own already; leave this document out",
    "Ingress": "write a Gateway and a VirtualService for it, or a Gateway and an HTTPRoute",
    "NetworkPolicy": _ACCESS,
    **dict.fromkeys(("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"), _ACCESS),
    "CustomResourceDefinition": "Clover knows Istio's kinds without it; leave this document out",
    "List": "write its items as documents of their own, with '---' between them",
}
"""What to do with other documents that people have at hand."""
