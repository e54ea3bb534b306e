"""Traces as the node's API answers them, made of few words: the set-up of the renderer's tests."""

from __future__ import annotations

from typing import Any

START = 1_790_000_000_123_000_000
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def span(
    span_id: str,
    /,
    *,
    parent: str = "",
    at: str,
    kind: str = "Server",
    begin: float,
    end: float,
    own: float,
    proxy: bool = True,
    status: str = "Unset",
    **attributes: str,
) -> dict[str, Any]:
    """Return one span; `at` is `service`, or `service version` for a workload with siblings; times are in ms."""
    service, _, version = at.partition(" ")
    return {
        "spanId": span_id,
        "parentSpanId": parent,
        "service": service,
        "version": version or ("" if service == "gateway" else "v1"),
        "workload": f"{service}-{version}" if version else service,
        "name": attributes.pop("name", "ingress"),
        "kind": kind,
        "startUnixNano": START + round(begin * 1_000_000),
        "durationMs": end - begin,
        "selfMs": own,
        "status": status,
        "attributes": {key.replace("__", "."): value for key, value in attributes.items()},
        "proxy": proxy,
    }


def visit(
    prefix: str, *, parent: str, at: str, begin: float, end: float, code: str = "200", inner: float = 0.3
) -> list[dict[str, Any]]:
    """Return the spans of a sidecar that takes a request in and whose function answers it."""
    return [
        span(f"{prefix}1", parent=parent, at=at, begin=begin, end=end, own=2 * 0.1, http__status_code=code),
        span(
            f"{prefix}2",
            parent=f"{prefix}1",
            at=at,
            kind="Client",
            begin=begin + 0.1,
            end=end - 0.1,
            own=inner,
            http__status_code=code,
            upstream_cluster="inbound|9180||",
        ),
    ]


def onward(prefix: str, *, at: str, begin: float, end: float, code: str = "200") -> list[dict[str, Any]]:
    """Return the spans of a sidecar that carries the function's own request to the next hop."""
    return [
        span(f"{prefix}3", parent=f"{prefix}2", at=at, begin=begin, end=end, own=0.2, http__status_code=code),
        span(
            f"{prefix}4",
            parent=f"{prefix}3",
            at=at,
            kind="Client",
            begin=begin + 0.1,
            end=end - 0.1,
            own=0.2,
            http__status_code=code,
            upstream_cluster="outbound|9180||next.default.svc.cluster.local",
        ),
    ]


def log(at: str, body: str, *, ms: float, span_id: str = "", **attributes: str) -> dict[str, Any]:
    """Return one log line, `ms` after the trace began."""
    service, _, version = at.partition(" ")
    return {
        "timestampUnixNano": START + round(ms * 1_000_000),
        "service": service,
        "version": version or "v1",
        "workload": service,
        "spanId": span_id,
        "body": body,
        "attributes": attributes,
    }


def trace(spans: list[dict[str, Any]], logs: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Return a whole trace."""
    ends = [one["startUnixNano"] / 1e6 + one["durationMs"] for one in spans]
    begins = [one["startUnixNano"] / 1e6 for one in spans]
    return {
        "traceId": TRACE_ID,
        "complete": True,
        "incompleteBecause": [],
        "durationMs": max(ends) - min(begins) if spans else 0.0,
        "spans": spans,
        "logs": logs or [],
        "breakdown": [],
        **more,
    }


def gateway(*, end: float, code: str = "200", path: str = "/search?q=shoes") -> list[dict[str, Any]]:
    """Return the gateway's two spans."""
    url = f"http://shop.example{path}"
    return [
        span("g1", at="gateway", begin=0, end=end, own=0.4, http__status_code=code, http__method="GET", http__url=url),
        span("g2", parent="g1", at="gateway", kind="Client", begin=0.2, end=end - 0.2, own=0.1, http__status_code=code),
    ]


def through_v1() -> dict[str, Any]:
    """Return a request through every kind of function: firewall, load balancer, cache, server."""
    return trace(
        [
            *gateway(end=6.84),
            *visit("a", parent="g2", at="access-control", begin=0.3, end=6.5, inner=1.6),
            *onward("a", at="access-control", begin=1.9, end=6.3),
            *visit("l", parent="a4", at="http-lb v1", begin=2.1, end=6.1),
            *onward("l", at="http-lb v1", begin=2.5, end=5.8),
            *visit("c", parent="l4", at="web-cache", begin=2.7, end=5.6),
            *onward("c", at="web-cache", begin=3.1, end=5.3),
            *visit("s", parent="c4", at="clover-server2", begin=3.3, end=5.1, inner=1.6),
        ],
        [
            log("gateway", "GET /search 200", ms=6.84, log="envoy", status="200", flags="-"),
            log("access-control", '{"log":"access","method":"GET","path":"/search?q=shoes","status":200,"bytes":5120,'
                '"duration_ms":6.01,"upstream":"10.96.0.2:9180"}', ms=0.5, span_id="a2"),
            log("web-cache", '{"log":"access","method":"GET","path":"/search?q=shoes","status":200,"bytes":5120,'
                '"duration_ms":2.7,"upstream":"10.96.0.4:9180","cache":"MISS"}', ms=2.9, span_id="c2"),
            log("clover-server2", "handled the search for shoes", ms=4.0, span_id="s2"),
        ],
        breakdown=[
            {"service": "gateway", "version": "", "proxyMs": 0.4, "functionMs": 0, "networkMs": 0.2},
            {"service": "access-control", "version": "v1", "proxyMs": 0.6, "functionMs": 1.6, "networkMs": 0.2},
            {"service": "http-lb", "version": "v1", "proxyMs": 0.6, "functionMs": 0.5, "networkMs": 0.2},
            {"service": "web-cache", "version": "v1", "proxyMs": 0.6, "functionMs": 0.5, "networkMs": 0.2},
            {"service": "clover-server2", "version": "v1", "proxyMs": 0.2, "functionMs": 1.6, "networkMs": 0},
        ],
    )  # fmt: skip


DENIED = (
    "2026/11/23 02:33:10 [error] 71#71: *3 [client 127.0.0.1] ModSecurity: Access denied with code 403 (phase 2). "
    "Matched \"Operator `Ge' with parameter `5' against variable `TX:ANOMALY_SCORE' (Value: `5' ) "
    '[file "/usr/share/modsecurity-crs/rules/REQUEST-949-BLOCKING-EVALUATION.conf"] [line "80"] [id "949110"] [rev ""] '
    '[msg "Inbound Anomaly Score Exceeded (Total Score: 5)"] [data ""] [severity "2"] [ver "OWASP_CRS/3.3.4"] '
    '[hostname "10.244.0.3"] [uri "/"] [unique_id "00-0af7651916cd43dd8448eb211c80319c-00000000000000a2-01"]'
)
AUDITED = (
    '{"transaction":{"client_ip":"127.0.0.1","unique_id":"00-0af7651916cd43dd8448eb211c80319c-00000000000000a2-01",'
    '"request":{"method":"GET","uri":"/?id=1%27%20OR%201=1--"},"response":{"http_code":403},"messages":['
    '{"message":"SQL Injection Attack Detected via libinjection","details":{"ruleId":"942100",'
    '"data":"Matched Data: s&1c found within ARGS:id: 1\' OR 1=1--"}},'
    '{"message":"Inbound Anomaly Score Exceeded (Total Score: 5)","details":{"ruleId":"949110","data":""}}]}}'
)


def blocked() -> dict[str, Any]:
    """Return a request that the firewall refused."""
    return trace(
        [
            *gateway(end=2.1, code="403", path="/?id=1%27%20OR%201=1--"),
            *visit("a", parent="g2", at="access-control", begin=0.3, end=1.8, code="403", inner=1.3),
        ],
        [log("access-control", DENIED, ms=1.6), log("access-control", AUDITED, ms=1.65)],
        breakdown=[
            {"service": "gateway", "version": "", "proxyMs": 0.4, "functionMs": 0, "networkMs": 0.2},
            {"service": "access-control", "version": "v1", "proxyMs": 0.2, "functionMs": 1.3, "networkMs": 0},
        ],
    )


def broken() -> dict[str, Any]:
    """Return a request whose next hop refused the connection, in a trace that lost spans."""
    spans = [
        *gateway(end=3.0, code="503"),
        *visit("a", parent="g2", at="access-control", begin=0.3, end=2.7, code="503"),
        *onward("a", at="access-control", begin=0.8, end=2.2, code="503"),
    ]
    cluster = "outbound|9180|v2|http-lb.default.svc.cluster.local"
    spans[-1]["attributes"] |= {
        "response_flags": "UF",
        "upstream_cluster": cluster,
    }
    spans[-1]["status"] = "Error"
    return trace(
        spans,
        complete=False,
        incompleteBecause=["http-lb-v2: its sidecar's access log names this trace, but none of its spans arrived"],
    )


def alert() -> dict[str, Any]:
    """Return an alert as the API answers it."""
    return {
        "id": "a1", "timeUnixNano": START, "ruleId": 9000001, "message": "a scanner", "severity": 1,
        "client": "192.0.2.7", "method": "GET", "host": "shop.example", "url": "/search?q=shoes", "traceId": TRACE_ID,
        "spanId": "a2", "join": "flow-transaction", "function": "ids", "version": "v1", "workload": "ids",
    }  # fmt: skip


def change(function: str, *, seconds: float, version: str = "v1", **more: Any) -> dict[str, Any]:
    """Return a change, `seconds` before the traces here began."""
    return {
        "timeUnixNano": START - round(seconds * 1e9), "function": function, "version": version, "workload": function,
        "method": "Apply", "outcome": "applied", "generation": 4, "previous": 3, "how": "reload", "durationMs": 212.4,
        "summary": "algorithm: round-robin → random", "diff": "", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId": "", **more,
    }  # fmt: skip


def changes() -> tuple[dict[str, Any], ...]:
    """Return a change of the mesh, one of a function, and one that was refused."""
    return (
        change("mesh", seconds=62, version="", method="apply", generation=0, previous=0, how="", durationMs=8.1,
               summary="VirtualService default/http-lb configured", traceId=""),
        change("http-lb", seconds=12.5, version="v2"),
        change("waf", seconds=3, outcome="rolled-back", generation=3, how="none", durationMs=1043.0,
               summary="the engine did not say that generation 4 is in force"),
    )  # fmt: skip


def lost() -> tuple[dict[str, Any], ...]:
    """Return a request that a policy refused, and a connection that nobody wanted."""
    about = {"timeUnixNano": START, "function": "web", "workload": "web", "direction": "inbound"}
    refused = {
        "what": "GET /admin",
        "status": 403,
        "flags": "",
        "listener": "0.0.0.0_9180-http",
        "details": "rbac_access_denied_matched_policy[ns[default]-policy[web]-rule[0]]",
        "why": "denied by AuthorizationPolicy default/web (rule 1)",
        "traceId": "a" * 32,
    }
    unwanted = {
        "what": "tcp to 10.244.0.5:9180",
        "status": 0,
        "flags": "NR",
        "listener": "",
        "details": "",
        "why": "no filter chain takes it: plaintext where only mutual TLS is taken",
        "traceId": "",
    }
    return {**about, **refused}, {**about, **unwanted}  # fmt: skip


def alerted() -> dict[str, Any]:
    """Return a request that the intrusion detection system saw a copy of, and what came of it."""
    shown = trace(
        [
            *gateway(end=6.84),
            *visit("a", parent="g2", at="waf", begin=0.3, end=6.5, inner=1.6),
            *onward("a", at="waf", begin=1.9, end=4.3),
            *visit("s", parent="a4", at="web", begin=2.1, end=4.1),
            span("a5", parent="a3", at="waf", kind="Client", begin=2.0, end=5.2, own=0.8, http__status_code="200",
                 name="mirror", upstream_cluster="outbound|9180||ids.default.svc.cluster.local"),
            *visit("i", parent="a5", at="ids", begin=2.6, end=5.0),
        ],
        [
            log("waf", '{"log":"access","method":"GET","path":"/","status":200,"duration_ms":6.01,"generation":4,'
                '"blocked":false,"denied":false}', ms=6.2, span_id="a2"),
            log("ids", 'alert "a scanner" of rule 9000001', ms=9.5, span_id="i2", log="alert",
                **{"clover.alert.message": "a scanner", "clover.alert.rule_id": "9000001", "clover.alert.severity": "1",
                   "clover.alert.join": "flow-transaction", "clover.alert.client": "192.0.2.7"}),
            log("waf", "blocked 192.0.2.7 for 60 s: 1 alert in 10 s", ms=14.0, log="change",
                **{"clover.change.method": "ReportAlerts", "clover.change.outcome": "applied"}),
        ],
        breakdown=[
            {"service": "gateway", "version": "", "proxyMs": 0.4, "functionMs": 0, "networkMs": 0.24},
            {"service": "waf", "version": "v1", "proxyMs": 0.4, "functionMs": 3.6, "networkMs": 0.2},
            {"service": "web", "version": "v1", "proxyMs": 0.2, "functionMs": 1.8, "networkMs": 0},
        ],
        beside=[
            {"service": "waf", "version": "v1", "proxyMs": 0, "functionMs": 0, "networkMs": 0.8},
            {"service": "ids", "version": "v1", "proxyMs": 0.2, "functionMs": 2.2, "networkMs": 0},
        ],
    )  # fmt: skip
    return {**shown, "changes": [one for one in reversed(changes()) if one["outcome"] == "applied"]}


def refused_client() -> dict[str, Any]:
    """Return a request of a client that the firewall blocks."""
    line = (
        '{"log":"access","client":"192.0.2.7","method":"GET","path":"/","status":403,"duration_ms":0.1,'
        '"generation":4,"blocked":true,"denied":false}'
    )
    return trace(
        [*gateway(end=1.1, code="403"), *visit("a", parent="g2", at="waf", begin=0.3, end=0.8, code="403", inner=0.1)],
        [log("waf", line, ms=0.7, span_id="a2")],
    )


def controlled() -> dict[str, Any]:
    """Return a call of the control interface whose change was taken back."""
    name = "clover.control.v1.Ambassador/Apply"
    url = f"http://http-lb-v2:50054/{name}"
    return trace(
        [
            span("c1", at="control-agent", kind="Client", begin=0, end=231, own=0.3, proxy=False, name=name,
                 status="Error", rpc__grpc__status_code="10", server__address="http-lb-v2"),
            span("c2", parent="c1", at="control-agent", begin=0.2, end=230.8, own=0.3, http__status_code="200",
                 http__method="POST", http__url=url),
            span("c3", parent="c2", at="control-agent", kind="Client", begin=0.4, end=230.6, own=0.3,
                 http__status_code="200", upstream_cluster="outbound|50054||http-lb-v2.default.svc.cluster.local"),
            span("h1", parent="c3", at="http-lb v2", begin=0.8, end=230.2, own=0.3, http__status_code="200"),
            span("h2", parent="h1", at="http-lb v2", kind="Client", begin=1, end=230, own=0.3, http__status_code="200",
                 upstream_cluster="inbound|50054||"),
            span("h3", parent="h2", at="http-lb v2", begin=1.2, end=229.8, own=1, proxy=False, name=name,
                 status="Error", rpc__grpc__status_code="10"),
            *(span(f"h{at}", parent="h3", at="http-lb v2", kind="Internal", begin=begin, end=end, own=end - begin,
                   proxy=False, name=step)
              for at, (step, begin, end) in enumerate(
                  (("render", 1.5, 3), ("write", 3, 5), ("check", 5, 57), ("activate", 57, 167), ("confirm", 167, 229)),
                  start=4)),
        ],
        [log("http-lb v2", "http-lb@v2: generation 3 stays, a change was rolled back: it did not answer", ms=229,
             span_id="h3", log="change", **{"clover.change.outcome": "rolled-back"})],
    )  # fmt: skip
