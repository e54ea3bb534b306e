"""The sample chain, running: requests, traces, policies, logs and faults, as a user meets them."""

from __future__ import annotations

import collections
import json
import os
import socket
from pathlib import Path

from harness import chains
from harness.chains import eventually, get
from harness.ports import free_port

ALL_TO_V2 = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: http-lb}
spec:
  hosts: [http-lb]
  http:
  - route:
    - destination: {host: http-lb, subset: v2}
"""


def trace_of(command, answer):
    return command.json("trace", answer.trace_id, "--wait", "15")


def test_up_answers_with_every_workload_ready_and_where_the_gateway_is(sdc):
    _, up = sdc

    assert up["chain"] == "sdc"
    assert up["gateway"].startswith("http://127.0.0.1:")
    assert {(row["function"], row["version"], row["engine"]) for row in up["workloads"]} == {
        ("access-control", "v1", "modsecurity"),
        ("http-lb", "v1", "haproxy"),
        ("http-lb", "v2", "nginx"),
        ("web-cache", "v1", "nginx"),
        ("ids", "v1", "suricata"),
        ("control-agent", "", "clover"),
        *((f"clover-server{number}", "v1", "nginx") for number in range(1, 6)),
    }
    assert {row["state"] for row in up["workloads"]} == {"ready"}


def test_a_request_crosses_the_chain_and_its_trace_is_complete(sdc):
    command, up = sdc
    answer = get(up["gateway"], "/headers", {"Host": "shop.example"})

    assert answer.status == 200
    assert b"host: shop.example" in answer.body, "the client's Host must reach the server"
    assert answer.trace_id.encode() in answer.body, "the trace context must reach the server"
    assert answer.headers["x-request-id"]
    trace = trace_of(command, answer)
    assert trace["complete"], trace["incompleteBecause"]
    assert {"gateway", "access-control", "http-lb"} <= {span["service"] for span in trace["spans"]}
    by_id = {span["spanId"]: span for span in trace["spans"]}
    assert [span["service"] for span in trace["spans"] if span["parentSpanId"] not in by_id] == ["gateway"]
    assert {log["attributes"]["log"] for log in trace["logs"]} >= {"envoy", "access"}


def test_both_versions_of_the_load_balancer_serve_and_each_takes_its_own_path(sdc):
    command, up = sdc
    seen: dict[str, set[str]] = {}

    def both():
        trace = trace_of(command, get(up["gateway"], "/"))
        versions = {span["version"] for span in trace["spans"] if span["service"] == "http-lb"}
        seen[versions.pop()] = {span["service"] for span in trace["spans"]}
        return len(seen) == 2

    eventually(both)
    assert "web-cache" in seen["v1"]
    assert "web-cache" not in seen["v2"]
    assert seen["v2"] & {"clover-server4", "clover-server5"}


def test_an_attack_is_blocked_by_the_firewall_and_the_trace_says_so(sdc):
    command, up = sdc
    answer = get(up["gateway"], "/?id=1%27%20UNION%20SELECT%20password%20FROM%20users--")

    assert answer.status == 403
    trace = trace_of(command, answer)
    # The IDS gets its copy; nobody behind the firewall sees anything.
    assert {span["service"] for span in trace["spans"]} == {"gateway", "access-control", "ids"}
    assert any("ModSecurity" in log["body"] or "ruleId" in log["body"] for log in trace["logs"]), trace["logs"]


def test_the_clients_own_trace_goes_on(sdc):
    command, up = sdc
    mine = "0af7651916cd43dd8448eb211c80319c"
    answer = get(up["gateway"], "/", {"traceparent": f"00-{mine}-b7ad6b7169203331-01"})

    assert answer.trace_id == mine
    assert trace_of(command, answer)["complete"]


def test_a_malformed_trace_context_does_not_hide_the_request(sdc):
    command, up = sdc
    answer = get(up["gateway"], "/", {"traceparent": "garbage"})

    assert answer.status == 200
    assert trace_of(command, answer)["complete"]


def test_the_split_follows_a_virtual_service_and_comes_back_when_it_is_deleted(sdc):
    command, up = sdc
    try:
        assert "virtualservice" in command.ok("apply", "-", stdin=ALL_TO_V2).lower()
        served = collections.Counter(get(up["gateway"], "/").headers["x-served-by"] for _ in range(40))
        assert set(served) == {"clover-server4", "clover-server5"}
        assert "http-lb" in command.ok("get", "vs")
    finally:
        command.ok("delete", "virtualservice/http-lb")
    served = collections.Counter(get(up["gateway"], f"/?{number}").headers["x-served-by"] for number in range(60))
    assert set(served) > {"clover-server4", "clover-server5"}


def test_of_a_policy_file_that_is_half_wrong_nothing_is_applied(sdc):
    command, _ = sdc
    before = command.ok("get", "-o", "json")
    wrong = ALL_TO_V2.replace("name: http-lb}", "name: wrong}").replace("subset: v2", "subset: v9")
    unreadable = ALL_TO_V2.replace("name: http-lb}", "name: other}").replace("  http:", "  htpt:")
    done = command.call("apply", "-", stdin=f"{ALL_TO_V2}\n---\n{wrong}\n---\n{unreadable}")

    assert done.returncode == 2
    assert "v9" in done.stderr
    assert "htpt" in done.stderr, "everything that is wrong is said at once"
    assert command.ok("get", "-o", "json") == before


def test_status_shows_the_traffic_of_the_last_seconds(sdc):
    command, up = sdc

    def shown():
        for _ in range(20):
            get(up["gateway"], "/")
        status = command.json("status")
        rows = {row["workload"]: row for row in status["workloads"]}
        return rows if rows["gateway"]["rps"] > 0 and rows["access-control"]["p99Ms"] else None

    rows = eventually(shown)
    assert all(row["ready"] for row in rows.values())
    assert rows["access-control"]["p50Ms"] <= rows["access-control"]["p99Ms"]
    assert rows["access-control"]["errorRate"] <= 1


def test_a_killed_engine_comes_back_and_status_counts_it(sdc):
    killed_comes_back(sdc, "engine")


def test_a_killed_sidecar_comes_back_and_status_counts_it(sdc):
    killed_comes_back(sdc, "sidecar")


def killed_comes_back(sdc, part):
    command, up = sdc

    def row():
        return next(row for row in command.json("status")["workloads"] if row["workload"] == "web-cache")

    before = row()
    pid = before["pid"] if part == "engine" else before["sidecar"]["pid"]
    node = json.loads((command.run / "sdc" / "node.json").read_text())["pid"]
    inside(node, "kill", "-9", str(pid))

    eventually(lambda: row()["restarts"] == before["restarts"] + 1 and row()["ready"], what="a restart")
    assert all(get(up["gateway"], f"/?again{number}").status == 200 for number in range(10))


def inside(node: int, *argv: str) -> None:
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    chains.subprocess.run(["nsenter", f"--target={node}", *user, "--mount", "--pid", "--", *argv], check=True)


def test_logs_and_exec_reach_into_a_workload(sdc):
    command, up = sdc
    answer = get(up["gateway"], "/")

    eventually(lambda: answer.trace_id in command.ok("logs", "access-control", "--tail", "50"))
    hosts = command.ok("exec", "access-control", "--", "cat", "/etc/hosts")
    assert "http-lb.default.svc.cluster.local" in hosts
    assert command.call("exec", "access-control", "--", "sh", "-c", "exit 7").returncode == 7
    address = command.ok("exec", "http-lb@v1", "--", "ip", "-4", "-br", "address", "show", "eth0")
    assert "10.244.0." in address


def test_the_sidecars_own_view_can_be_read(sdc):
    command, _ = sdc

    for view in ("clusters", "listeners", "routes", "stats", "config"):
        assert command.ok("proxy", "http-lb@v1", view)
    assert "outbound|9180||web-cache" in command.ok("proxy", "http-lb@v1", "clusters", "-o", "json")


def test_a_second_up_of_the_same_chain_is_no_error_and_changes_nothing(sdc):
    command, up = sdc
    port = up["gateway"].rpartition(":")[2]
    before = command.json("status")["pid"]

    assert json.loads(command.ok("up", chains.EXAMPLES / "sdc", "--port", port, "--json"))["gateway"] == up["gateway"]
    assert command.json("status")["pid"] == before


def test_an_up_that_differs_from_what_runs_is_refused(sdc):
    command, _ = sdc
    done = command.call("up", chains.EXAMPLES / "sdc", "--port", str(free_port()))

    assert done.returncode == 2
    assert "clover down sdc" in done.stderr


def test_the_gateways_envoy_listens_on_loopback_only(sdc):
    _, up = sdc
    port = int(up["gateway"].rpartition(":")[2])
    with Path("/proc/net/tcp").open() as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]

    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_another_gateway_port_is_published_while_the_chain_runs_and_withdrawn_again(sdc):
    command, up = sdc
    port = free_port()
    policy = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: second}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: second}}
spec:
  hosts: ["*"]
  gateways: [second]
  http:
  - route:
    - destination: {{host: clover-server1, port: {{number: 9180}}}}
"""
    allowed = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: second}
spec:
  selector: {matchLabels: {app: clover-server1}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/gateway]}}]}]
"""
    try:
        command.ok("apply", "-", stdin=policy)
        # In the chain it is not the gateway that stands before this server.
        assert get(f"http://127.0.0.1:{port}").status == 403
        command.ok("apply", "-", stdin=allowed)
        served = eventually(lambda: get(f"http://127.0.0.1:{port}").headers.get("x-served-by"), what="an answer")
        assert served == "clover-server1"
        assert get(up["gateway"]).status == 200
    finally:
        command.ok("delete", "authorizationpolicy/second")
        command.ok("delete", "virtualservice/second")
        command.ok("delete", "gateway/second")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_gateway_on_a_port_that_is_taken_changes_nothing(sdc):
    command, _ = sdc
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        policy = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: third}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    hosts: ["*"]
"""
        before = command.ok("get", "-o", "json")
        done = command.call("apply", "-", stdin=policy)

    assert done.returncode == 3
    assert "CLV2101" in done.stderr
    assert command.ok("get", "-o", "json") == before


def test_the_gateway_sees_the_true_client_through_the_relay(sdc):
    command, up = sdc
    trace = trace_of(command, get(up["gateway"], "/"))
    records = [log["attributes"] for log in trace["logs"] if log["attributes"].get("direction") == "gateway"]

    assert [record["downstream_remote"].split(":")[0] for record in records] == ["127.0.0.1"]


def test_a_chain_without_a_gateway_says_that_nothing_can_enter(sdc):
    command, up = sdc
    own = command.ok("get", "gateway/sdc-gateway", "-o", "yaml")
    entrance = command.ok("get", "virtualservice/sdc", "-o", "yaml")
    try:
        command.ok("delete", "virtualservice/sdc")
        command.ok("delete", "gateway/sdc-gateway")
        assert [problem["code"] for problem in command.json("status")["problems"]] == ["CLV5105"]
    finally:
        command.ok("apply", "-", stdin=f"{own}\n---\n{entrance}")
    assert get(up["gateway"]).status == 200
    assert command.json("status")["problems"] == []


def test_a_request_that_a_sidecar_answers_itself_has_a_whole_trace(sdc):
    command, up = sdc
    policy = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: http-lb}
spec:
  hosts: [http-lb]
  http:
  - match: [{uri: {prefix: /here}}]
    directResponse: {status: 203, body: {string: "from the sidecar"}}
  - match: [{uri: {prefix: /else}}]
    route: [{destination: {host: http-lb}}]
"""
    try:
        command.ok("apply", "-", stdin=policy)
        for path, status in (("/here", 203), ("/nowhere", 404)):
            answer = get(up["gateway"], path)
            trace = trace_of(command, answer)

            assert answer.status == status
            assert trace["complete"], trace["incompleteBecause"]
    finally:
        command.ok("delete", "virtualservice/http-lb")
