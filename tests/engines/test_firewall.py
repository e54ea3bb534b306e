"""What a firewall's configuration means: rules, modes, strictness, networks, and blocks without a reload."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from exchange import HOST, get
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from running_engine import Engine, backends, change, lay_out, running, settings_for, turn, write

from clover.errors import FunctionError
from clover.functions import registry
from clover.functions.driver import EngineError, How
from clover.functions.modsecurity.running import FirewallRunning
from clover.spec.chain import FunctionType
from clover.spec.configuration import FirewallConfiguration, FirewallRule

pytestmark = pytest.mark.engines

FIREWALL = registry.driver(FunctionType.FIREWALL, "modsecurity")
SIDECAR = "127.0.0.6"
ATTACK = "/?id=1'%20OR%20'1'='1'%20--%20-"
QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A rule, a request that it is about, and one beside it."""

    rule: dict[str, str]
    hit: dict[str, Any]
    miss: dict[str, Any]


FORM = {"method": "POST", "Content_Type": "application/x-www-form-urlencoded"}
JSON = {"method": "POST", "Content_Type": "application/json"}
CASES = {
    "path-equals": Case(
        rule={"target": "path", "operator": "equals", "value": "/admin"},
        hit={"path": "/admin?x=1"},
        miss={"path": "/admin/x"},
    ),
    "path-equals-encoded": Case(
        rule={"target": "path", "operator": "equals", "value": "/admin2"},
        hit={"path": "/x/..//%61dmin2"},
        miss={"path": "/admin2x"},
    ),
    "path-begins-with": Case(
        rule={"target": "path", "operator": "begins-with", "value": "/internal/"},
        hit={"path": "/internal/a"},
        miss={"path": "/x/internal/a"},
    ),
    "path-ends-with": Case(
        rule={"target": "path", "operator": "ends-with", "value": ".old+1"},
        hit={"path": "/a.old+1"},
        miss={"path": "/a.old+1x"},
    ),
    "uri-contains": Case(
        rule={"target": "uri", "operator": "contains", "value": "/find?colour=gr"},
        hit={"path": "/find?colour=%67r"},
        miss={"path": "/findXcolour=gr"},
    ),
    "query-contains": Case(
        rule={"target": "query", "operator": "contains", "value": "deep blue"},
        hit={"path": "/?a=deep+blue"},
        miss={"path": "/deep%20blue"},
    ),
    "method-equals": Case(
        rule={"target": "method", "operator": "equals", "value": "OPTIONS"},
        hit={"method": "OPTIONS"},
        miss={"method": "HEAD"},
    ),
    "user-agent-contains": Case(
        rule={"target": "user-agent", "operator": "contains", "value": "(old) Browser/1.0"},
        hit={"User_Agent": "An (old) Browser/1.0 it is"},
        miss={"User_Agent": "An (old) Browser/100"},
    ),
    "header-regex": Case(
        rule={
            "target": "header",
            "name": "X-Colour",
            "operator": "regex",
            "value": r"^(?i)(red|\"blue\")[ ']?\d{2,3}$",
        },
        hit={"x_colour": "Red'42"},
        miss={"x_colour": "Red'4"},
    ),
    "header-with-quotes": Case(
        rule={"target": "header", "name": "X-Quoted", "operator": "equals", "value": "\"a' %{REMOTE_ADDR} \\"},
        hit={"x_quoted": "\"a' %{REMOTE_ADDR} \\"},
        miss={"x_quoted": "\"a' 127.0.0.1 \\"},
    ),
    "argument-equals": Case(
        rule={"target": "argument", "name": "user", "operator": "equals", "value": "ana"},
        hit={"path": "/?user=bo&user=%61na"},
        miss={"path": "/?name=ana"},
    ),
    "argument-of-a-form": Case(
        rule={"target": "argument", "name": "user", "operator": "equals", "value": "ben"},
        hit={**FORM, "body": b"x=1&user=ben"},
        miss={**FORM, "body": b"x=1&user=benno"},
    ),
    "argument-of-json": Case(
        rule={"target": "argument", "name": "user", "operator": "equals", "value": "cleo"},
        hit={**JSON, "body": b'{"user": "cl\\u0065o"}'},
        miss={**JSON, "body": b'{"name": "cleo"}'},
    ),
    "cookie-begins-with": Case(
        rule={"target": "cookie", "name": "theme", "operator": "begins-with", "value": "dark"},
        hit={"Cookie": "a=1; theme=darkest"},
        miss={"Cookie": "a=dark; theme=light"},
    ),
    "body-contains-of-json": Case(
        rule={"target": "body", "operator": "contains", "value": '"colour": "teal"'},
        hit={**JSON, "body": b'{"colour": "teal"}'},
        miss={**JSON, "body": b'{"colour": "tea"}'},
    ),
    "body-contains-of-a-form": Case(
        rule={"target": "body", "operator": "contains", "value": "café noir"},
        hit={**FORM, "body": b"x=caf%C3%A9+noir"},
        miss={**FORM, "body": b"x=caf%E9+noir"},
    ),
}
RULES = tuple(FirewallRule(id=100_000 + n, message=name, **case.rule) for n, (name, case) in enumerate(CASES.items()))
LOGGED = FirewallRule(
    id=150_000, target="path", operator="contains", value="/watched", action="log", message='it\'s "100%" seen'
)


@pytest.fixture(scope="module")
def server(start) -> Engine:
    return start(FunctionType.SERVER, "nginx", name="server")


@pytest.fixture(scope="module")
def firewall(start, server) -> Engine:
    return start(FunctionType.FIREWALL, "modsecurity", server.port, name="firewall", rules=(*RULES, LOGGED))


@pytest.fixture(scope="module")
def changing(start, server) -> Engine:
    return start(FunctionType.FIREWALL, "modsecurity", server.port, name="changing")


def told(firewall: Engine, **configuration: Any) -> None:
    """Tell a running firewall something else."""
    to = firewall.settings.configuration.backends
    how = asyncio.run(change(firewall, FIREWALL, FirewallConfiguration(backends=to, **configuration)))
    assert how is How.RELOAD


def record_of(firewall: Engine, traceparent: str) -> dict[str, Any]:
    wanted = f'"unique_id":"{traceparent}"'.encode()
    line = firewall.wait_for(lambda line: line.startswith(b'{"transaction"') and wanted in line)
    return json.loads(line.decode("utf-8", errors="replace"))["transaction"]


def matches(firewall: Engine, traceparent: str) -> list[tuple[int, str]]:
    """Return id and message of the rules that the audit record of a request names, each once."""
    messages = record_of(firewall, traceparent)["messages"]
    return list(dict.fromkeys((int(message["details"]["ruleId"]), message["message"]) for message in messages))


def has_record(firewall: Engine, traceparent: str) -> bool:
    """Say whether a finished request left a record; what it leaves is there before the next one is logged."""
    firewall.access_of(get(firewall.port, "/").traceparent)
    return any(traceparent.encode() in line for line in firewall.lines if line.startswith(b'{"transaction"'))


class Client:
    """A connection that stays open, made by the sidecar on behalf of clients."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(SIDECAR, 0))

    def get(self, client: str, path: str = "/") -> tuple[int, str, str]:
        """Return status, text and traceparent."""
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        headers = {"Host": HOST, "traceparent": traceparent, "User-Agent": "Mozilla/5.0", "Accept": "*/*"}
        self._connection.request("GET", path, headers={**headers, "X-Forwarded-For": client})
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode(), traceparent

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def connected(firewall: Engine) -> Iterator[Client]:
    client = Client(firewall.port)
    try:
        yield client
    finally:
        client.close()


# -- rules


@pytest.mark.parametrize("name", CASES)
def test_a_rule_blocks_what_it_is_about_with_its_message_and_not_the_neighbour(firewall, name):
    hit = get(firewall.port, **CASES[name].hit)
    miss = get(firewall.port, **CASES[name].miss)

    assert hit.status == 403
    assert (100_000 + list(CASES).index(name), name) in matches(firewall, hit.traceparent)
    assert miss.status != 403


def test_a_rule_that_logs_lets_the_request_pass_and_leaves_a_record_with_its_message(firewall):
    answer = get(firewall.port, "/status/200?/watched")
    watched = get(firewall.port, "/watched")

    assert (answer.status, has_record(firewall, answer.traceparent)) == (200, False)
    assert watched.status == 404
    record = record_of(firewall, watched.traceparent)
    assert record["response"]["http_code"] == 404
    assert matches(firewall, watched.traceparent) == [(150_000, "it’s ”100％” seen")]


def test_a_regular_expression_that_would_run_away_is_none_that_can_be_written(firewall):
    rule = FirewallRule(id=100_000, target="query", operator="regex", value=r"(a+)\1+$")
    configuration = FirewallConfiguration(backends=backends(1), rules=(rule,))

    with pytest.raises(FunctionError) as refused:
        FIREWALL.render(replace(firewall.settings, configuration=configuration))

    assert [problem.code for problem in refused.value.problems] == ["CLV3220"]


# -- modes and strictness


def test_the_mode_decides_whether_an_attack_is_refused_reported_or_not_even_seen(changing):
    statuses, records = [], []
    for mode in ("blocking", "detection-only", "off", "blocking"):
        told(changing, mode=mode, rules=(LOGGED.model_copy(update={"action": "block"}),))
        for path in (ATTACK, "/watched"):
            answer = get(changing.port, path)
            statuses.append(answer.status)
            records.append(has_record(changing, answer.traceparent))

    assert statuses == [403, 403, 200, 404, 200, 404, 403, 403]
    assert records == [True, True, True, True, False, False, True, True]


def test_a_higher_threshold_lets_pass_what_a_lower_one_refuses(changing):
    told(changing, anomaly_threshold=1000)
    passes = get(changing.port, ATTACK)
    told(changing, anomaly_threshold=5)

    assert (passes.status, get(changing.port, ATTACK).status) == (200, 403)


def test_a_higher_paranoia_level_refuses_more(changing):
    odd = "/?q=a%22%3B%60%7C%26b%27%27"
    statuses = []
    for level in (1, 4):
        told(changing, paranoia_level=level)
        statuses.append((get(changing.port, odd).status, get(changing.port, "/").status))

    assert statuses == [(200, 200), (403, 200)]


def test_an_excluded_rule_does_not_apply_and_its_neighbours_do(changing):
    path = "/?q=sleep(10)"
    told(changing)
    found = [number for number, _ in matches(changing, get(changing.port, path).traceparent) if number < 949_000]
    assert found

    told(changing, excluded_rules=tuple(found))
    excluded = get(changing.port, path)

    assert excluded.status == 200
    assert not has_record(changing, excluded.traceparent)
    assert get(changing.port, "/?q=%3Cscript%3Ealert(1)%3C/script%3E").status == 403


def test_an_author_may_exclude_a_rule_of_their_own(changing):
    told(changing, rules=(LOGGED,), excluded_rules=(LOGGED.id, 1, 2, 3))

    assert not has_record(changing, get(changing.port, "/watched").traceparent)


# -- clients


def test_a_denied_network_is_refused_whatever_it_asks_for_and_others_are_not(changing):
    told(changing, denied_networks=("203.0.113.0/24", "2001:db8::/32", "::ffff:198.51.100.7"), mode="off")

    with connected(changing) as client:
        answers = [
            client.get(address)
            for address in ("203.0.113.9", "203.0.114.9", "2001:db8::1", "2001:db9::1", "198.51.100.7", "198.51.100.8")
        ]
        beyond_a_forged_one = client.get("198.51.100.8, 203.0.113.9")
        before_a_forged_one = client.get("203.0.113.9, 198.51.100.8")

    assert [status for status, *_ in answers] == [403, 200, 403, 200, 403, 200]
    assert answers[0][1] == "The firewall changing serves no client of this network.\n"
    assert (beyond_a_forged_one[0], before_a_forged_one[0]) == (403, 200)
    line = changing.access_of(answers[0][2])
    assert (line.client, line.status) == ("203.0.113.9", 403)


def test_everybody_may_be_denied(changing):
    told(changing, denied_networks=("0.0.0.0/0",))
    with connected(changing) as client:
        assert (client.get("203.0.113.9")[0], client.get("2001:db8::1")[0]) == (403, 200)
    told(changing, denied_networks=("0.0.0.0/0", "::/0"))
    with connected(changing) as client:
        assert (client.get("203.0.113.9")[0], client.get("2001:db8::1")[0]) == (403, 403)


def way(firewall: Engine) -> FirewallRunning:
    running = firewall.way(FIREWALL)
    assert isinstance(running, FirewallRunning)
    return running


def test_a_block_and_its_end_take_effect_with_the_next_request_on_an_open_connection(firewall):
    with connected(firewall) as client:
        before = client.get("198.51.100.7")
        asyncio.run(way(firewall).block("198.51.100.7"))
        blocked = client.get("198.51.100.7", "/healthz?any=path")
        other = client.get("198.51.100.8")
        listed = asyncio.run(way(firewall).blocked())
        asyncio.run(way(firewall).unblock("198.51.100.7"))
        after = client.get("198.51.100.7")

    assert [before[0], blocked[0], other[0], after[0]] == [200, 403, 200, 200]
    assert blocked[1] == "The firewall firewall blocks this client for now.\n"
    assert listed == {"198.51.100.7"}
    assert asyncio.run(way(firewall).blocked()) == frozenset()
    lines = {answer[2]: access_fields(firewall, answer[2]) for answer in (blocked, other)}
    assert (lines[blocked[2]]["blocked"], lines[blocked[2]]["denied"]) == (True, False)
    assert (lines[blocked[2]]["client"], lines[blocked[2]]["path"]) == ("198.51.100.7", "/healthz?any=path")
    assert lines[other[2]]["blocked"] is False


def access_fields(firewall: Engine, traceparent: str) -> dict[str, Any]:
    wanted = f'"traceparent":"{traceparent}"'.encode()
    return json.loads(firewall.wait_for(lambda line: line.startswith(b'{"log":"access"') and wanted in line))


def test_a_blocked_client_costs_no_inspection_and_leaves_no_record(firewall):
    asyncio.run(way(firewall).block("198.51.100.9"))
    with connected(firewall) as client:
        status, _, traceparent = client.get("198.51.100.9", ATTACK)

    assert (status, has_record(firewall, traceparent)) == (403, False)


def test_a_block_survives_a_change_and_does_not_depend_on_the_mode(changing):
    asyncio.run(way(changing).block("198.51.100.7"))
    told(changing, mode="off")

    with connected(changing) as client:
        assert client.get("198.51.100.7")[0] == 403
    asyncio.run(way(changing).unblock("198.51.100.7"))


addresses = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.lists(st.sampled_from([0, 0, 0, 1, 0x102, 0xFFFF, 0xFF00]), min_size=8, max_size=8).map(
        lambda groups: ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups))
    ),
)


@settings(max_examples=60, **QUICK)
@given(address=addresses, longest=st.booleans())
@example(address=ipaddress.ip_address("::ffff:1.2.3.4"), longest=False)
@example(address=ipaddress.ip_address("::1.2.3.4"), longest=False)
@example(address=ipaddress.ip_address("::1"), longest=True)
@example(address=ipaddress.ip_address("::"), longest=True)
@example(address=ipaddress.ip_address("::1234"), longest=True)
@example(address=ipaddress.ip_address("1:0:2::3:0"), longest=True)
def test_every_address_can_be_blocked_however_it_is_written(firewall, address, longest):
    # nginx reads a broadcast as no address at all, and the sidecar is nobody's client.
    assume(str(getattr(address, "ipv4_mapped", None) or address) not in ("255.255.255.255", SIDECAR))
    written = address.exploded if longest else str(address)
    with connected(firewall) as client:
        asyncio.run(way(firewall).block(str(address)))
        blocked, _, traceparent = client.get(written)
        listed = asyncio.run(way(firewall).blocked())
        asyncio.run(way(firewall).unblock(str(address)))
        free = client.get(written)[0]

    assert (blocked, free) == (403, 200), (written, firewall.access_of(traceparent).client)
    assert str(getattr(address, "ipv4_mapped", None) or address) in listed


@pytest.mark.parametrize("text", ["", "203.0.113.0/24", "../../etc/x", "fe80::1%../x", "localhost", "1.2.3"])
async def test_what_is_no_address_is_refused_and_makes_no_file(firewall, text):
    before = await way(firewall).blocked()

    with pytest.raises(EngineError, match="not an address"):
        await way(firewall).block(text)

    assert await way(firewall).blocked() == before


def test_workers_can_look_a_block_up_but_neither_list_nor_change_them(firewall):
    asyncio.run(way(firewall).block("198.51.100.10"))
    folder = firewall.directory / "blocks"

    assert folder.stat().st_mode & 0o777 == 0o711
    assert (folder / "198.51.100.10").stat().st_mode & 0o777 == 0o600
    asyncio.run(way(firewall).unblock("198.51.100.10"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_workers_of_another_user_see_a_block_of_roots(server, open_directory):
    told_ = replace(settings_for(FunctionType.FIREWALL, open_directory, to=backends(server.port)), user="www-data")
    program = FIREWALL.render(told_)
    write(program, told_)
    for name in program.directories:
        shutil.chown(open_directory / name, "www-data")
    with running(program, told_) as engine, connected(engine) as client:
        asyncio.run(way(engine).block("198.51.100.7"))
        statuses = [client.get(address)[0] for address in ("198.51.100.7", "198.51.100.8")]

    assert statuses == [403, 200]
    assert "Permission denied" not in engine.text()
    assert (open_directory / "blocks").stat().st_uid == 0


# -- changes


def test_records_go_on_after_many_changes(changing):
    for _ in range(4):
        told(changing)

    answer = get(changing.port, ATTACK)

    assert record_of(changing, answer.traceparent)["response"]["http_code"] == 403
    assert changing.access_of(answer.traceparent).generation == changing.settings.generation


fragments = st.sampled_from(
    [
        *(
            "\\",
            '"',
            "'",
            "%",
            "%{",
            "}",
            "%{REMOTE_ADDR}",
            "#",
            ",",
            ";",
            "|",
            "&",
            "`",
            "$",
            " ",
            "\\\\",
            '\\"',
            "\\'",
        ),
        *(
            '" "id:1,pass',
            '"\\',
            "',ctl:ruleEngine=Off",
            "',allow,msg:'x",
            "@rx x",
            "!@eq 0",
            "ſ",
            "é",
            "☃",
            "\U0001f340",
        ),
        *(
            "SecRuleEngine Off",
            "Include /etc/passwd",
            "\u00a0",
            "a",
            "z9",
            "/",
            "{2}",
            "(",
            ")",
            "[",
            "]",
            "\\x22",
            "\\n",
        ),
        *("\\A", "^", "$", ".*", "(?i)", "(?=a)", "[^'\"]", "[[:alpha:]]", "\\d+", "a|b"),
    ]
)
hostile = st.lists(fragments, min_size=1, max_size=5).map("".join) | st.text(min_size=1, max_size=12)
SENTINEL = FirewallRule(id=100_002, target="path", operator="equals", value="/sentinel", message="Sentinel")


@settings(max_examples=25, **QUICK)
@given(value=hostile, message=hostile, operator=st.sampled_from(["contains", "equals", "regex", "ends-with"]))
@example(value="\\", message="trailing \\", operator="equals")
@example(value='x" "id:1,phase:1,pass', message="',allow,msg:'", operator="contains")
@example(value="\n", message="x", operator="contains")
@example(value="%{REMOTE_ADDR}", message="%{REQUEST_HEADERS.Cookie}", operator="contains")
@example(value="[\\\\\"'%] \\\" \\' \\% \\\\", message="100% 'sure'", operator="regex")
@example(value="☃" * 500, message="☃" * 200, operator="begins-with")
def test_hostile_text_in_a_rule_is_refused_or_means_itself_and_changes_no_other_rule(
    changing, value, message, operator
):
    try:
        rule = FirewallRule(
            id=100_001, target="header", name="X-Probe", operator=operator, value=value, message=message
        )
        told(changing, rules=(rule, SENTINEL))
    except (ValueError, FunctionError):
        return

    refused = get(changing.port, "/sentinel")
    assert matches(changing, refused.traceparent) == [(100_002, "Sentinel")]
    assert get(changing.port, "/").status == 200
    attack = get(changing.port, ATTACK)
    assert attack.status == 403
    assert 949_110 in [number for number, _ in matches(changing, attack.traceparent)]
    if operator != "regex" and value == value.strip(" \t"):
        probe = get(changing.port, "/", X_Probe=value.encode())
        alike = message.translate(str.maketrans("'\"%\\", "’”％＼"))
        assert matches(changing, probe.traceparent) == [(100_001, alike)]
        assert get(changing.port, "/", X_Probe=b"neighbour").status == 200


@settings(max_examples=40, **QUICK)
@given(text=hostile | st.ip_addresses().map(str) | st.builds("{}/{}".format, st.ip_addresses(), st.integers(0, 128)))
@example(text="fe80::1%eth0/64")
@example(text="10.0.0.0/8 true; include /etc/passwd")
def test_a_hostile_network_never_gets_past_the_configuration(firewall, text):
    try:
        configuration = FirewallConfiguration(backends=backends(1), denied_networks=(text,))
    except ValueError:
        return
    (network,) = configuration.denied_networks
    program = FIREWALL.render(replace(firewall.settings, configuration=configuration))

    line = next(line for line in program.files["nginx.conf"].splitlines() if line.endswith(" true;") and "/" in line)
    written = ipaddress.ip_network(line.removesuffix(" true;").strip())
    assert ipaddress.ip_network(network).num_addresses == written.num_addresses


def test_a_name_with_spaces_in_the_folder_is_no_obstacle(server, tmp_path: Path):
    directory = tmp_path / "a (folder), with spaces"
    directory.mkdir()
    settings_ = settings_for(FunctionType.FIREWALL, directory, name="w", to=backends(server.port))
    program = FIREWALL.render(settings_)
    write(program, settings_)
    with running(program, settings_) as engine, connected(engine) as client:
        asyncio.run(way(engine).block("198.51.100.7"))
        assert (client.get("198.51.100.7")[0], client.get("198.51.100.8")[0]) == (403, 200)


async def test_a_configuration_that_nginx_refuses_is_found_out_at_once_and_the_old_one_serves(changing):
    before = changing.settings
    after = replace(before, generation=before.generation + 1)
    program = FIREWALL.render(after)
    rules = program.files["modsecurity.conf"] + 'SecRule NO_SUCH_VARIABLE "x" "id:1,deny"\n'
    lay_out(replace(program, files={**program.files, "modsecurity.conf": rules}), after)
    turn(after)
    began = time.monotonic()

    how = await way(changing).change(before, after)
    with pytest.raises(EngineError, match="NO_SUCH_VARIABLE"):
        await way(changing).confirm(after, how)

    assert time.monotonic() - began < 3
    turn(before)
    await way(changing).confirm(before, await way(changing).change(after, before))
    assert get(changing.port, ATTACK).status == 403
