"""Resources in a few words: which hosts they are about, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clover.cli import screen

_Spec = Mapping[str, Any]


def hosts(spec: _Spec) -> list[str]:
    """Return the hosts that a resource is about."""
    if host := spec.get("host"):
        return [str(host)]
    servers, listeners, egress = spec.get("servers") or (), spec.get("listeners") or (), spec.get("egress") or ()
    return [
        str(host)
        for host in (
            *(spec.get("hosts") or ()),
            *(spec.get("hostnames") or ()),
            *(host for part in (*servers, *egress) for host in part.get("hosts") or ()),
            *dict.fromkeys(listener.get("hostname") or "*" for listener in listeners),
        )
    ]


def gist(kind: str, spec: _Spec) -> str:
    """Return a resource in a few words; '' for a kind of which there is nothing to say."""
    return _GISTS[kind](spec) if kind in _GISTS else ""


def _virtual_service(spec: _Spec) -> str:
    rules = [rule for name in ("http", "tls", "tcp") for rule in spec.get(name) or ()]
    return _and_more(_first(rules[0]) or "no route" if rules else "", rules)


def _first(rule: _Spec) -> str:
    """Return what a rule does with what it takes."""
    if delegate := rule.get("delegate"):
        return f"as {delegate.get('name')} says"
    for name in ("redirect", "directResponse"):
        if name in rule:
            return {"redirect": "redirects", "directResponse": "answers itself"}[name]
    return _split(rule.get("route") or ())


def _destination_rule(spec: _Spec) -> str:
    policy = spec.get("trafficPolicy") or {}
    mode = (policy.get("tls") or {}).get("mode")
    subsets = [str(subset.get("name")) for subset in spec.get("subsets") or ()]
    said = [f"subsets {', '.join(subsets)}" if subsets else "", f"TLS {mode}" if mode else ""]
    return ", ".join(filter(None, said)) or ("traffic policy" if policy else "")


def _gateway(spec: _Spec) -> str:
    ports = [
        *((server.get("port") or {}).get("number") for server in spec.get("servers") or ()),
        *dict.fromkeys(listener.get("port") for listener in spec.get("listeners") or ()),
    ]
    return f"ports {', '.join(map(str, ports))}"


def _peer_authentication(spec: _Spec) -> str:
    ports = [f"{port} {_mode(mtls)}" for port, mtls in (spec.get("portLevelMtls") or {}).items()]
    return ", ".join([f"{_mode(spec.get('mtls'))} for {_chosen(spec)}", *ports])


def _mode(mtls: _Spec | None) -> str:
    return str((mtls or {}).get("mode", "UNSET"))


def _authorization_policy(spec: _Spec) -> str:
    rules = spec.get("rules") or ()
    says = screen.count(len(rules), "rule") if rules else "nothing"
    return f"{spec.get('action', 'ALLOW')} {says} for {_chosen(spec)}"


def _request_authentication(spec: _Spec) -> str:
    issuers = ", ".join(str(rule.get("issuer")) for rule in spec.get("jwtRules") or ())
    return f"tokens of {issuers or 'nobody'} for {_chosen(spec)}"


def _service_entry(spec: _Spec) -> str:
    ports = ", ".join(f"{port.get('number')} {port.get('protocol', '')}".strip() for port in spec.get("ports") or ())
    return (
        f"{spec.get('resolution', 'NONE')}, {screen.count(len(spec.get('endpoints') or ()), 'endpoint')}, ports {ports}"
    )


def _workload_entry(spec: _Spec) -> str:
    return str(spec.get("address", ""))


def _telemetry(spec: _Spec) -> str:
    return ", ".join(name for name in ("tracing", "accessLogging", "metrics") if spec.get(name))


def _route(spec: _Spec) -> str:
    """Return where a route of the Gateway API gets its requests from, and where its first rule sends them."""
    parents = ", ".join(str(parent.get("name")) for parent in spec.get("parentRefs") or ())
    rules = spec.get("rules") or []
    backends = (rules[0].get("backendRefs") or ()) if rules else ()
    shares = ", ".join(
        f"{backend.get('name')} {backend['weight']}" if "weight" in backend else str(backend.get("name"))
        for backend in backends
    )
    return _and_more(f"{parents or 'no parent'} to {shares or 'no backend'}", rules)


def _reference_grant(spec: _Spec) -> str:
    who = ", ".join(f"{one.get('namespace')}/{one.get('kind')}" for one in spec.get("from") or ())
    return f"{who} may refer to {', '.join(str(one.get('kind')) for one in spec.get('to') or ())}"


def _chosen(spec: _Spec) -> str:
    """Return which workloads a policy is for."""
    if targets := spec.get("targetRefs") or [target for target in [spec.get("targetRef")] if target]:
        return ", ".join(f"{target.get('kind')} {target.get('name')}" for target in targets)
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return ", ".join(f"{name}={value}" for name, value in labels.items()) or "every workload"


def _and_more(first: str, rules: Sequence[object]) -> str:
    more = len(rules) - 1
    return f"{first} (and {screen.count(more, 'more rule')})" if more > 0 else first


def _split(route: Sequence[_Spec]) -> str:
    parts = []
    for share in route:
        destination = share.get("destination") or {}
        name = str(destination.get("host", "")).partition(".")[0]
        subset = destination.get("subset")
        weight = f" {share['weight']}%" if "weight" in share else ""
        parts.append(f"{name}@{subset}{weight}" if subset else f"{name}{weight}")
    return ", ".join(parts)


_GISTS: Mapping[str, Callable[[_Spec], str]] = {
    "VirtualService": _virtual_service,
    "DestinationRule": _destination_rule,
    "Gateway": _gateway,
    "PeerAuthentication": _peer_authentication,
    "AuthorizationPolicy": _authorization_policy,
    "RequestAuthentication": _request_authentication,
    "ServiceEntry": _service_entry,
    "WorkloadEntry": _workload_entry,
    "Telemetry": _telemetry,
    "HTTPRoute": _route,
    "GRPCRoute": _route,
    "ReferenceGrant": _reference_grant,
}
