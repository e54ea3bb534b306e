"""Hypothesis strategies for what a workload may reach: ServiceEntries, WorkloadEntries and Sidecars, sound or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

_HOSTS = {
    "one": st.sampled_from(["a.example.com", "*.a.example.com", "A"]),
    "two": st.sampled_from(["b.example.com", "*.example.com", "*-x.example.com"]),
    "three": st.sampled_from(["c.example.com", "*x", "lb.default.svc.cluster.local"]),
}
"""By the name of the ServiceEntry, so that few of them claim the host of another."""
_ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "198.51.100.0/24", "198.51.0.0/16", "10.96.0.1", "2001:db8::1"])
_PROTOCOLS = st.sampled_from(["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "redis", ""])
_NUMBERS = st.sampled_from([80, 443, 9000, 9180, 27017])
_SOUND = st.sampled_from(["203.0.113.1", "203.0.113.2", "2001:db8::2"])
_SOCKETS = st.sampled_from(["unix:///run/x", "unix://@x"])
_LOOKED_UP = st.sampled_from(["name.example.com", "other.example.com", "localhost"])
_ODD = st.sampled_from(["127.0.0.1", "é", "0.0.0.0"])
_LABELS = st.sampled_from([{}, {"app": "lb"}, {"app": "vm"}, {"app": "vm", "version": "v1"}])


def _some(fields: dict[str, Strategy], **required: Strategy) -> Strategy:
    return st.fixed_dictionaries(required, optional=fields)


def _ports(protocols: Strategy) -> Strategy:
    return st.lists(
        _some(
            {"targetPort": _NUMBERS, "protocol": protocols}, number=_NUMBERS, name=st.sampled_from(["http", "p", "q"])
        ),
        max_size=3,
        unique_by=(lambda port: port["number"], lambda port: port["name"]),
    )


def _member(addresses: Strategy) -> Strategy:
    return _some(
        {
            "labels": _LABELS,
            "weight": st.sampled_from([0, 1, 2**31 - 1]),
            "locality": st.sampled_from(["a/b/c", "a", "//", "a/b/c/d"]),
        },
        address=addresses,
    )


def _service_entry(resolution: str, members: Strategy | None, *, most: int = 3) -> Strategy:
    fields = {
        "addresses": st.lists(
            _ADDRESSES.filter(lambda one: resolution in ("NONE", "STATIC") or "/" not in one), max_size=2
        ),
        "location": st.sampled_from(["MESH_EXTERNAL", "MESH_INTERNAL"]),
        "exportTo": st.sampled_from([["."], ["*"], ["elsewhere"]]),
    }
    more = {"endpoints": st.lists(_member(members), max_size=most)} if members is not None else {}
    return st.sampled_from(sorted(_HOSTS)).flatmap(
        lambda name: _resource(
            "ServiceEntry",
            [name],
            _some(
                {**fields, **more},
                resolution=st.just(resolution),
                hosts=st.lists(_HOSTS[name], min_size=1, max_size=2, unique_by=str.lower),
                ports=_ports(_PROTOCOLS),
            ),
        )
    )


_RULE = _some(
    {
        "loadBalancer": st.sampled_from(
            [
                {"simple": "ROUND_ROBIN"},
                {"consistentHash": {"useSourceIp": True}},
                {"consistentHash": {"httpHeaderName": "x", "maglev": {"tableSize": 65537}}},
            ]
        ),
        "outlierDetection": st.just({"consecutive5xxErrors": 3}),
    }
)
_DESTINATION = st.fixed_dictionaries({"host": st.sampled_from(["shadow.default.svc.cluster.local"])})
_SIDECAR_PORT = _some({"protocol": _PROTOCOLS}, number=_NUMBERS, name=st.just("p"))


def _resource(kind: str, names: list[str], spec: Strategy) -> Strategy:
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("networking.istio.io/v1"),
            "kind": st.just(kind),
            "metadata": st.fixed_dictionaries(
                {"name": st.sampled_from(names)},
                optional={"annotations": st.just({"clover/loopback": "allow"})},
            ),
            "spec": spec,
        }
    )


_ASKED_FOR = _resource(
    "ServiceEntry",
    ["four"],
    _some(
        {"location": st.sampled_from(["MESH_EXTERNAL", "MESH_INTERNAL"])},
        resolution=st.just("DYNAMIC_DNS"),
        hosts=st.lists(
            st.sampled_from(["*.d.example.com", "*.example.net", "*-x.example.net"]), min_size=1, max_size=2
        ),
        ports=_ports(st.sampled_from(["HTTP", "TLS"])),
    ),
)
_TO_ASKED_FOR = _resource(
    "VirtualService",
    ["four"],
    _some(
        {
            "tls": st.just(
                [
                    {
                        "match": [{"sniHosts": ["a.d.example.com"], "port": 443}],
                        "route": [{"destination": {"host": "*.d.example.com", "port": {"number": 443}}}],
                    }
                ]
            ),
            "http": st.just([{"route": [{"destination": {"host": "*.d.example.com", "port": {"number": 80}}}]}]),
        },
        hosts=st.just(["*.d.example.com"]),
    ),
)
ENTRIES = st.lists(
    _service_entry("NONE", None)
    | _service_entry("STATIC", _SOUND | _SOCKETS | _ODD)
    | _service_entry("DNS", _SOUND | _LOOKED_UP)
    | _service_entry("DNS_ROUND_ROBIN", _SOUND | _LOOKED_UP, most=1)
    | _ASKED_FOR
    | _TO_ASKED_FOR
    | _resource("WorkloadEntry", ["one", "two"], _member(_SOUND | _LOOKED_UP | _SOCKETS))
    | _resource("DestinationRule", ["one"], _some({"trafficPolicy": _RULE}, host=_HOSTS["one"] | st.just("lb")))
    | _resource(
        "Sidecar",
        ["default", "waf"],
        _some(
            {
                "workloadSelector": st.just({"labels": {"app": "waf"}}),
                "egress": st.lists(
                    _some(
                        {"bind": st.sampled_from(["192.0.2.9", "10.96.0.2"])},
                        port=_SIDECAR_PORT,
                        hosts=st.lists(
                            st.sampled_from(["*/*", "./*", "~/*", "*/*.example.com", "./lb.default.svc.cluster.local"]),
                            min_size=1,
                            max_size=2,
                        ),
                    ),
                    max_size=2,
                ),
                "ingress": st.lists(
                    _some(
                        {"defaultEndpoint": st.sampled_from(["127.0.0.1:1", "0.0.0.0:2", "unix:///x"])},
                        port=_SIDECAR_PORT,
                    ),
                    max_size=2,
                ),
                "outboundTrafficPolicy": _some(
                    {"mode": st.sampled_from(["ALLOW_ANY", "REGISTRY_ONLY"]), "egressProxy": _DESTINATION}
                ),
            }
        ),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda document: (document["kind"], document["metadata"]["name"]),
)
