"""The mesh's intermediate form: what each proxy should do, in no dialect.

Istio resources are translated into these values, and Envoy configuration is compiled from them alone, so that a second
policy language needs no second compiler. Every value that an author caused carries `sources`: the resources that it
came from, as `VirtualService/default/http-lb`, so that a rejection by Envoy can be told in the author's words.
"""

from clover.mesh.ir.actions import NOWHERE, DirectResponse, Forward, HashPolicy, Redirect, WeightedCluster
from clover.mesh.ir.clusters import (
    BLACK_HOLE,
    PASSTHROUGH,
    Balancing,
    Cluster,
    Discovery,
    Endpoint,
    Endpoints,
    MeshTls,
    OriginTls,
    Warmup,
)
from clover.mesh.ir.connections import AS_LONG_AS_USED, Lifetime, TcpRoute
from clover.mesh.ir.gateways import GatewayPort, GatewayServer, ServerTls
from clover.mesh.ir.headers import NO_CHANGES, HeaderChanges
from clover.mesh.ir.limits import NO_LIMITS, Http2Keepalive, Keepalive, Limits, OutlierDetection, RetryBudget
from clover.mesh.ir.matches import ClaimMatch, MatchKind, NamedMatch, RequestMatch, StringMatch
from clover.mesh.ir.peers import STRANGERS, PeerMode, Peers
from clover.mesh.ir.ports import InboundPort, OutboundPort
from clover.mesh.ir.protocol import Protocol
from clover.mesh.ir.proxies import UNGUARDED, Guard, Identity, Proxy
from clover.mesh.ir.routes import Cors, Fault, Mirror, Retries, Route, RouteTable, VirtualHost

__all__ = [
    "AS_LONG_AS_USED",
    "BLACK_HOLE",
    "NOWHERE",
    "NO_CHANGES",
    "NO_LIMITS",
    "PASSTHROUGH",
    "STRANGERS",
    "UNGUARDED",
    "Balancing",
    "ClaimMatch",
    "Cluster",
    "Cors",
    "DirectResponse",
    "Discovery",
    "Endpoint",
    "Endpoints",
    "Fault",
    "Forward",
    "GatewayPort",
    "GatewayServer",
    "Guard",
    "HashPolicy",
    "HeaderChanges",
    "Http2Keepalive",
    "Identity",
    "InboundPort",
    "Keepalive",
    "Lifetime",
    "Limits",
    "MatchKind",
    "MeshTls",
    "Mirror",
    "NamedMatch",
    "OriginTls",
    "OutboundPort",
    "OutlierDetection",
    "PeerMode",
    "Peers",
    "Protocol",
    "Proxy",
    "Redirect",
    "RequestMatch",
    "Retries",
    "RetryBudget",
    "Route",
    "RouteTable",
    "ServerTls",
    "StringMatch",
    "TcpRoute",
    "VirtualHost",
    "Warmup",
    "WeightedCluster",
]
