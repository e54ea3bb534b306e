"""Functions are controlled through their ambassadors, over the mesh, while requests go on."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import signal
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import chains, load
from harness.chains import eventually, get
from harness.control import Agent, agent_of
from harness.ports import free_port

CHANGES = 100

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: changing}
spec:
  gateway: {port: 8080, to: waf}
  functions:
    waf: {type: firewall, to: lb, mirrorTo: ids}
    lb:
      type: load-balancer
      versions:
        v1: {engine: haproxy, to: [cache]}
        v2: {engine: nginx, to: [cache]}
    cache: {type: cache, engine: nginx, to: [web-1, web-2]}
    ids: {type: ids, engine: suricata, config: {rules: [{id: 1, http: {field: uri, contains: no-such-thing}}]}}
    web-1: {type: server}
    web-2: {type: server}
"""


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    """A chain with every kind of function, and its control agent: (command, gateway, agent)."""
    file = tmp_path_factory.mktemp("chain") / "chain.yaml"
    file.write_text(CHAIN)
    with chains.clover() as command:
        up = json.loads(command.ok("up", file, "--port", str(free_port()), "--json"))
        yield command, up["gateway"], agent_of(command, "changing")


def _backends(*hosts: str, weight: int = 1) -> list[dict[str, object]]:
    return [{"host": host, "weight": weight + place} for place, host in enumerate(hosts)]


def _changes() -> dict[tuple[str, str, str], list[dict[str, object]]]:
    """Return for each function the two configurations that it changes between."""
    return {
        ("lb", "v1", "weights, at run time"): [
            {"loadBalancer": {"backends": _backends("cache", weight=weight)}} for weight in (10, 20)
        ],
        ("lb", "v2", "an algorithm, by a reload"): [
            {"loadBalancer": {"backends": _backends("cache"), "algorithm": name}}
            for name in ("ALGORITHM_LEAST_CONNECTIONS", "ALGORITHM_RANDOM")
        ],
        ("cache", "", "the time that answers are kept"): [
            {"cache": {"backends": _backends("web-1", "web-2"), "defaultTtl": seconds}} for seconds in ("5s", "6s")
        ],
        ("waf", "", "rules that do not apply"): [
            {"firewall": {"backends": _backends("lb"), "excludedRules": [rule]}} for rule in (942100, 941100)
        ],
        ("web-1", "", "a page"): [
            {"server": {"sites": [{"locations": [{"path": "/page", "respond": {"body": text}}]}]}}
            for text in ("one", "two")
        ],
        ("ids", "", "rules"): [
            {"ids": {"rules": [{"id": 1, "http": {"field": "FIELD_URI", "contains": text}}]}}
            for text in ("no-such-thing", "nor-this")
        ],
    }


@dataclass(frozen=True, kw_only=True)
class Changed:
    method: str
    began: float
    """On the monotonic clock."""
    ended: float


def _change_often(agent: Agent, function: str, version: str, configurations: list[dict[str, object]]) -> list[Changed]:
    changes = []
    for configuration in itertools.islice(itertools.cycle(configurations), CHANGES):
        # Two of them follow each other in any case, so that each call changes something.
        began = time.monotonic()
        response = agent.ok(function, "Apply", {"configuration": configuration}, version=version)
        changes.append(Changed(method=response["method"], began=began, ended=time.monotonic()))
    return changes


def test_a_hundred_changes_of_each_kind_lose_no_request(changing):
    command, gateway, agent = changing
    before = _answered_by_gateway(command)
    with load.running(gateway, rate=200, token="lossless") as requests:
        with concurrent.futures.ThreadPoolExecutor() as threads:
            started = {
                what: threads.submit(_change_often, agent, function, version, configurations)
                for (function, version, what), configurations in _changes().items()
            }
            changes = {what: future.result() for what, future in started.items()}
        # Also what is on its way when the last reload is done.
        requests.wait_for(100)

    print(requests)
    requests.check_nothing_was_lost()
    assert requests.sent <= requests.offered + load.CONNECTIONS, "no more than was offered"
    # Few requests are on their way at once, and between two of them a change that takes moments may have come and gone.
    quiet = [one for some in changes.values() for one in some if not requests.under_way(one.began, one.ended)]
    assert len(quiet) <= 0.01 * CHANGES * len(changes), f"{quiet} changed nothing that was in use; {requests}"
    reload = {"METHOD_RELOAD"}
    # The first change of a function may be to what it has already.
    assert {what: {one.method for one in some} - {"METHOD_NONE"} for what, some in changes.items()} == {
        "weights, at run time": {"METHOD_RUNTIME"},
        "an algorithm, by a reload": reload,
        "the time that answers are kept": reload,
        "rules that do not apply": reload,
        "a page": reload,
        "rules": reload,
    }
    assert _answered_by_gateway(command) - before == requests.sent
    # The function at the entrance saw each of them, and answered each of them itself with 200.
    seen = eventually(lambda: _seen(command, requests.sent), what="the last line of the log")
    assert {entry["status"] for entry in seen} == {200}
    # Each line says by which configuration the request was served.
    assert len({entry["generation"] for entry in seen}) > CHANGES / 4


def _seen(command, count: int) -> list[dict[str, object]] | None:
    """Return the firewall's access lines of the load, once every request has one."""
    log = Path(command.run, "changing", "w", "waf", "logs")
    lines = b"".join(file.read_bytes() for file in log.glob("engine.log*")).splitlines()
    seen = [json.loads(line) for line in lines if line.startswith(b'{"log":"access"') and b"lossless=" in line]
    return seen if {int(entry["path"].partition("=")[2]) for entry in seen} == set(range(count)) else None


def test_a_request_says_which_configuration_served_it_and_the_change_is_a_trace(changing):
    command, gateway, agent = changing
    answer = agent.call("lb", "SetBackendState", {"host": "cache", "weight": 77}, version="v2")
    generation = int(answer["response"]["generation"])
    route = chains.CONFIGURED_TO.format(name="to-v2", host="lb", subset="v2")
    command.ok("apply", "-", stdin=route)
    try:
        request = get(gateway, "/headers")
        trace = command.json("trace", request.trace_id, "--wait", "15")
    finally:
        command.ok("delete", "virtualservice/to-v2")

    (line,) = [
        entry for entry in trace["logs"] if entry["service"] == "lb" and entry["attributes"].get("log") == "access"
    ]
    assert int(line["attributes"]["generation"]) == generation
    change = command.json("trace", answer["traceId"], "--wait", "15")
    assert change["complete"], change["incompleteBecause"]
    names = {span["name"] for span in change["spans"]}
    assert names >= {"clover.control.v1.Ambassador/SetBackendState", "check", "activate", "confirm"}
    # Agent, its sidecar, the function's sidecar, the ambassador.
    assert {span["service"] for span in change["spans"]} == {"control-agent", "lb"}
    assert sum(span["proxy"] for span in change["spans"]) == 4
    (record,) = [entry for entry in change["logs"] if entry["attributes"].get("log") == "change"]
    assert record["attributes"]["clover.change.generation"] == str(generation)


CONTROL_POLICY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web-2}}
spec:
  hosts: [web-2]
  http:
  - match:
    - uri: {{exact: /clover.control.v1.Ambassador/Get}}
      port: 50054
    {rule}
    route:
    - destination: {{host: web-2}}
  - route:
    - destination: {{host: web-2}}
"""


TIMED_OUT = ("DEADLINE_EXCEEDED", "UNAVAILABLE")


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        ("fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}", lambda get: get()["took"] >= 1000),
        (
            "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
            lambda get: get()["grpc"]["code"] == "UNAVAILABLE",
        ),
        # A call may be quicker than 1 ms, but not each of them.
        ("timeout: 1ms", lambda get: any(get().get("grpc", {}).get("code") in TIMED_OUT for _ in range(100))),
        (
            "fault: {abort: {httpStatus: 403, percentage: {value: 100}}}",
            lambda get: get()["grpc"]["code"] == "PERMISSION_DENIED",
        ),
    ],
)
def test_route_rules_act_on_one_method_of_the_control_interface(changing, rule, check):
    command, _, agent = changing
    command.ok("apply", "-", stdin=CONTROL_POLICY.format(rule=rule))
    try:
        assert check(lambda: agent.call("web-2", "Get"))
        # A busy machine may take longer than the delay now and then; a call that is delayed always does.
        eventually(lambda: agent.call("web-2", "ListFiles")["took"] < 1000, what="a call that is not delayed")
    finally:
        command.ok("delete", "virtualservice/web-2")
    assert agent.ok("web-2", "Get")["workload"] == "web-2"


def test_a_weight_decides_which_versions_ambassador_answers_for_the_function(changing):
    command, _, agent = changing
    assert {agent.ok("lb", "Get")["workload"] for _ in range(30)} == {"lb-v1", "lb-v2"}
    command.ok("apply", "-", stdin=chains.CONFIGURED_TO.format(name="to-v1", host="lb", subset="v1"))
    try:
        assert {agent.ok("lb", "Get")["workload"] for _ in range(10)} == {"lb-v1"}
        # Whoever names the version gets it, whatever the rules of the function say.
        assert agent.ok("lb", "Get", version="v2")["workload"] == "lb-v2"
    finally:
        command.ok("delete", "virtualservice/to-v1")


def test_the_control_interface_can_be_discovered_through_the_mesh(changing):
    command, _, _ = changing
    program = textwrap.dedent("""
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
        from google.protobuf.descriptor_pool import DescriptorPool
        with grpc.insecure_channel("cache:50054") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            print(sorted(database.get_services()))
            service = DescriptorPool(database).FindServiceByName("clover.control.v1.Ambassador")
            print(len(service.methods), service.methods_by_name["PurgeCache"].input_type.name)
            print(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status)
    """)

    lines = command.ok("exec", "control-agent", "--", sys.executable, "-W", "ignore", "-c", program).splitlines()

    assert lines[0] == str(
        ["clover.control.v1.Ambassador", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    )
    assert lines[1].endswith(" PurgeCacheRequest")
    assert lines[2] == "1"


def _pid(command, workload: str, part: str) -> int:
    """Return a process's id as the host numbers it: the node's own numbers mean nothing outside."""
    found = chains.processes_with(f"{command.run}/changing/w/{workload}")
    # The master is the older one.
    return min(int(line.split()[0]) for line in found if part in line)


def test_an_engine_that_is_killed_comes_back_with_the_configuration_in_force(changing):
    command, gateway, agent = changing
    generation = agent.ok("lb", "SetBackendState", {"host": "cache", "weight": 33}, version="v1")["generation"]
    before = command.json("status")
    restarts = {row["workload"]: row["restarts"] for row in before["workloads"]}

    os.kill(_pid(command, "lb-v1", " haproxy "), signal.SIGKILL)

    eventually(
        lambda: next(
            row["restarts"] > restarts["lb-v1"] and row["ready"]
            for row in command.json("status")["workloads"]
            if row["workload"] == "lb-v1"
        ),
        what="the engine's restart",
    )
    state = eventually(
        lambda: (now := agent.ok("lb", "Get", version="v1"))["engineReady"] and now, what="an engine that is ready"
    )
    assert state["generation"] == generation
    assert state["configuration"]["loadBalancer"]["backends"][0]["weight"] == 33
    assert get(gateway, "/headers").status == 200


def test_an_ambassador_that_is_killed_finds_the_state_it_had(changing):
    command, _, agent = changing
    before = agent.ok("cache", "Get")
    status = next(row for row in command.json("status")["workloads"] if row["workload"] == "cache")
    inside = status["companions"]["ambassador"]["pid"]

    command.ok("exec", "cache", "--", "kill", "-KILL", str(inside))

    after = eventually(lambda: agent.call("cache", "Get").get("response"), what="an ambassador that answers")
    assert (after["generation"], after["configuration"]) == (before["generation"], before["configuration"])
    again = eventually(
        lambda: next(
            row["companions"]["ambassador"]["restarts"]
            for row in command.json("status")["workloads"]
            if row["workload"] == "cache"
        ),
        what="a restart that is counted",
    )
    assert again == 1


def test_a_call_is_tried_again_as_a_route_rule_says(changing):
    command, _, agent = changing
    status = next(row for row in command.json("status")["workloads"] if row["workload"] == "web-2")
    ambassador = str(status["companions"]["ambassador"]["pid"])
    rule = "retries: {attempts: 2, perTryTimeout: 300ms, retryOn: gateway-error}"
    command.ok("apply", "-", stdin=CONTROL_POLICY.format(rule=rule))
    try:
        before = _retries(command)
        command.ok("exec", "web-2", "--", "kill", "-STOP", ambassador)
        answer = agent.call("web-2", "Get")
    finally:
        command.ok("exec", "web-2", "--", "kill", "-CONT", ambassador)
        command.ok("delete", "virtualservice/web-2")

    assert "response" not in answer
    assert answer["took"] >= 900, "three tries of 300 ms each"
    assert _retries(command) - before == 2
    assert eventually(lambda: agent.call("web-2", "Get").get("response"), what="an answer")["workload"] == "web-2"


def _retries(command) -> int:
    """Return how often the control agent's sidecar has tried a call of web-2 again."""
    return _counter(
        command, "control-agent", "cluster.outbound|50054||web-2.default.svc.cluster.local.upstream_rq_retry"
    )


def _answered_by_gateway(command) -> int:
    """Return how many requests the gateway has answered well."""
    return _counter(command, "gateway", "http.gateway.downstream_rq_2xx")


def _counter(command, workload: str, name: str) -> int:
    stats = json.loads(command.ok("proxy", workload, "stats", "-o", "json"))["stats"]
    return sum(entry.get("value", 0) for entry in stats if entry.get("name") == name)
