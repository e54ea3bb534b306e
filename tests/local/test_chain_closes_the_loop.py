"""What the intrusion detection system sees makes the firewall refuse a client, for a time, in a running chain."""

from __future__ import annotations

import itertools
import json

import pytest

from harness import chains
from harness.chains import eventually, get
from harness.control import agent_of
from harness.ports import free_port

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: loop}
spec:
  gateway: {port: 8080, to: waf}
  functions:
    waf:
      type: firewall
      to: web
      mirrorTo: ids
      config: {blockPolicy: {threshold: 2, window: 10s, duration: 3s}}
    ids:
      type: ids
      config: {rules: [{id: 1001, message: Scanner, severity: 1, http: {field: user-agent, contains: scanner}}]}
    web: {type: server}
"""
SCANNER = {"User-Agent": "a Scanner/1.0"}
clients = (f"127.0.9.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    """A chain with a loop from its IDS to its firewall: (command, gateway, agent)."""
    file = tmp_path_factory.mktemp("chain") / "chain.yaml"
    file.write_text(CHAIN)
    with chains.clover() as command:
        up = json.loads(command.ok("up", file, "--port", str(free_port()), "--json"))
        yield command, up["gateway"], agent_of(command, "loop")


def _until_blocked(gateway: str, client: str) -> list[int]:
    """Attack until the client is refused; return every status."""
    statuses: list[int] = []

    def refused() -> bool:
        statuses.append(get(gateway, "/headers", SCANNER, source=client).status)
        return statuses[-1] == 403

    eventually(refused, what=f"a block of {client}")
    return statuses


def test_a_client_that_raises_alerts_is_refused_and_nobody_else_is_and_the_block_ends_by_itself(loop):
    command, gateway, agent = loop
    client, other = next(clients), next(clients)

    statuses = _until_blocked(gateway, client)

    assert statuses[:2] == [200, 200], "one alert is not enough"
    answer = get(gateway, "/headers", source=client)
    assert answer.status == 403
    assert b"blocks this client" in answer.body
    assert get(gateway, "/headers", source=other).status == 200
    (block,) = [one for one in agent.ok("waf", "ListBlocks")["blocks"] if one["address"] == client]
    assert len(block["alertIds"]) >= 2
    eventually(lambda: get(gateway, "/headers", source=client).status == 200, what="the end of the block")

    def told() -> list[str]:
        whats = [change["summary"] for change in command.json("changes", "--since", "5m")]
        return [what for what in whats if client in what]

    whats = eventually(lambda: (whats := told())[1:] and whats, what="both changes")
    assert whats[0].startswith(f"blocked {client} for 3 s")
    assert whats[1].startswith(f"unblocked {client}: ")


def test_nobody_passes_for_a_sidecar_to_be_taken_for_somebody_else(loop):
    """What has the address of sidecars is skipped in X-Forwarded-For: the client would be whom it writes there."""
    _, gateway, agent = loop
    framed = next(clients)

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            get(gateway, "/headers", {**SCANNER, "X-Forwarded-For": framed}, source="127.0.0.6")

    _until_blocked(gateway, next(clients))
    assert framed not in {one["address"] for one in agent.ok("waf", "ListBlocks")["blocks"]}
    assert get(gateway, "/headers", source=framed).status == 200


@pytest.mark.parametrize(
    "written",
    [
        {"X-Forwarded-For": ", ".join(["127.0.99.99"] * 300)},
        {"Host": "a.example:"},
        {"Host": "a.example:b"},
        {"Host": "a-shadow"},
        {"Host": "a-shadow:80"},
        {"Host": "[::1]:80"},
        {"Host": "[::1]"},
        {"Host": "a" * 3000},
    ],
    ids=lambda written: "".join(written.values())[:20],
)
def test_whatever_a_client_writes_an_alert_is_about_itself(loop, written):
    command, gateway, _ = loop
    client = next(clients)

    get(gateway, "/headers", {**SCANNER, **written}, source=client)

    eventually(lambda: client in {one["client"] for one in command.json("alerts")}, what=f"an alert about {client}")


def test_the_alert_and_the_block_are_in_the_trace_of_the_request_that_caused_them(loop):
    command, gateway, _ = loop
    client = next(clients)
    attacks = [get(gateway, f"/headers?{number}", SCANNER, source=client) for number in range(2)]

    trace = eventually(
        lambda: (
            (found := command.json("trace", attacks[1].trace_id, "--wait", "5"))
            and {"alert", "change"} <= {log["attributes"].get("log") for log in found["logs"]}
            and found
        ),
        what="alert and block in the trace",
    )

    (alert,) = [log for log in trace["logs"] if log["attributes"].get("log") == "alert"]
    assert alert["service"] == "ids"
    assert alert["attributes"]["clover.alert.client"] == client
    assert alert["attributes"]["clover.alert.join"] == "flow-transaction"
    reports = [span for span in trace["spans"] if span["name"].endswith("/ReportAlerts") and not span["proxy"]]
    assert {span["service"] for span in reports} == {"ids", "waf"}
    # The end of the block may be there already, too.
    changes = [log["body"] for log in trace["logs"] if log["attributes"].get("log") == "change"]
    assert changes[0].startswith(f"blocked {client} for 3 s")
    shown = command.ok("trace", attacks[1].trace_id)
    assert 'alert "Scanner" (rule 1001' in shown
    listed = [one for one in command.json("alerts") if one["client"] == client]
    assert {one["traceId"] for one in listed} >= {attack.trace_id for attack in attacks}


def test_a_policy_can_be_tried_without_refusing_anybody(loop):
    command, gateway, _ = loop
    client = next(clients)
    command.ok("control", "waf", "set", "block-policy.dry-run=true")
    try:
        for _ in range(3):
            assert get(gateway, "/headers", SCANNER, source=client).status == 200
        eventually(
            lambda: any(
                f"would block {client}" in change["summary"] for change in command.json("changes", "--since", "5m")
            ),
            what="what the policy would do",
        )
        assert get(gateway, "/headers", source=client).status == 200
    finally:
        command.ok("control", "waf", "set", "block-policy.dry-run=false")


def test_who_is_on_the_allow_list_is_never_blocked(loop):
    command, gateway, agent = loop
    client = next(clients)
    command.ok("control", "waf", "set", f"block-policy.allow={client}")
    try:
        attacks = [get(gateway, "/headers", SCANNER, source=client) for _ in range(4)]
        eventually(
            lambda: len([one for one in command.json("alerts") if one["client"] == client]) == 4,
            what="all alerts",
        )
        assert {attack.status for attack in attacks} == {200}
        assert client not in {one["address"] for one in agent.ok("waf", "ListBlocks")["blocks"]}
    finally:
        command.ok("control", "waf", "set", "block-policy.allow=")


def test_alerts_that_are_raised_while_the_firewalls_ambassador_is_dead_are_not_lost(loop):
    command, gateway, agent = loop
    client = next(clients)
    row = next(row for row in command.json("status")["workloads"] if row["workload"] == "waf")
    command.ok("exec", "waf", "--", "kill", "-KILL", str(row["companions"]["ambassador"]["pid"]))
    for _ in range(2):
        get(gateway, "/headers", SCANNER, source=client)

    eventually(lambda: get(gateway, "/headers", source=client).status == 403, what="a block by late reports")

    assert "response" in agent.call("waf", "ListBlocks")


def test_a_rule_is_added_while_requests_go_on_and_one_that_the_engine_refuses_is_told_in_its_words(loop):
    command, gateway, _ = loop
    command.ok("ids", "rule", "add", "--user-agent", "asafaweb.com", "--message", "asafaweb", "--id", "1002")
    client = next(clients)
    get(gateway, "/headers", {"User-Agent": "https://asafaweb.com/"}, source=client)
    alert = eventually(
        lambda: next((one for one in command.json("alerts") if one["client"] == client), None),
        what="an alert of the new rule",
    )
    assert alert["ruleId"] == 1002

    refused = command.call("ids", "rule", "add", 'alert http any any -> any any (msg:"x"; no_such_word; sid:7;)')

    assert refused.returncode == 4
    assert "no_such_word" in refused.stderr
    assert {rule["id"] for rule in command.json("ids", "rule", "list")["rules"]} == {1001, 1002}
    command.ok("ids", "rule", "remove", "1002")


def test_nonsense_is_answered_with_what_is_wrong_and_changes_nothing(loop):
    command, _, agent = loop
    before = {name: agent.ok(name, "Get")["generation"] for name in ("waf", "ids", "web")}

    for arguments, code, words in (
        (("control", "waf", "set", "backends=nobody"), 4, "'nobody' is no function"),
        (("control", "waf", "set", "backends="), 4, "without a backend"),
        (("control", "waf", "set", "paranoia-level=9"), 2, "paranoia"),
        (("control", "web", "purge", "/"), 2, "server"),
        (("control", "nothing", "show"), 2, "'nothing' is not in the chain"),
        (("firewall", "block", "not-an-address"), 2, "not-an-address"),
        (("firewall", "block", "127.0.0.6"), 4, "127.0.0.6"),
    ):
        refused = command.call(*arguments)
        assert (refused.returncode, words in refused.stderr) == (code, True), (arguments, refused.stderr)
        assert "Traceback" not in refused.stderr
    wrong = agent.call("web", "Apply", {"configuration": {"loadBalancer": {"backends": [{"host": "web"}]}}})
    assert wrong["grpc"]["code"] == "INVALID_ARGUMENT"
    stale = agent.call("ids", "AddRule", {"rule": {"id": 5, "http": {"contains": "x"}}, "expectedGeneration": "999"})
    assert stale["grpc"]["code"] in ("FAILED_PRECONDITION", "INVALID_ARGUMENT")
    assert {name: agent.ok(name, "Get")["generation"] for name in before} == before
