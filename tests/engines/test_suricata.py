"""Suricata beside its responder, in a network of its own, listening to copies of requests."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listened_network import CLIENT, Network, copy, network
from running_engine import Engine, change, check, lay_out, running, settings_for, start, turn, write

from clover.errors import FunctionError
from clover.functions.alerts import Alert, Join
from clover.functions.driver import EngineDownError, EngineError, How
from clover.functions.suricata.driver import Ids
from clover.kit import requirements
from clover.spec.chain import FunctionType
from clover.spec.configuration import HttpMatch, IdsConfiguration, IdsRule

pytestmark = pytest.mark.engines
DRIVER = Ids()
CONTAINS = {
    "user-agent": "sqlmap",
    "uri": "/etc/passwd",
    "method": "PURGE",
    "host": "Admin.example",
    "header": "session=stolen",
    "body": "DROP TABLE",
}


def http_rule(id_: int, field: str, contains: str, **more: object) -> IdsRule:
    return IdsRule(id=id_, http=HttpMatch(field=field, contains=contains), **more)


RULES = IdsConfiguration(
    rules=tuple(
        http_rule(number, field, text, message=f"{field}: \"{text}\"; found \\", severity=number % 4 + 1)
        for number, (field, text) in enumerate(CONTAINS.items(), start=1)
    )
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _suricata_is_installed() -> None:
    if lacking := list(requirements.missing(DRIVER.requirements)):
        pytest.skip("; ".join(f"{problem.what}: {problem.hint}" for problem in lacking))


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as made:
        yield made


class Ears:
    """Suricata, and the alerts that its records amount to."""

    def __init__(self, engine: Engine, net: Network) -> None:
        self.engine, self.net = engine, net
        self.reader = DRIVER.reader(engine.settings)
        self._file = Path(DRIVER.alert_file(engine.settings)).open("rb")  # noqa: SIM115
        self._rest = b""
        self.alerts: list[Alert] = []

    def wait_for(self, wanted: Callable[[list[Alert]], object], *, within_s: float = 5.0) -> list[Alert]:
        deadline, pause = time.monotonic() + within_s, threading.Event()
        while True:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
            for line in lines:
                self.alerts.extend(self.reader.read(line, now=time.monotonic()))
            if wanted(self.alerts):
                return self.alerts
            assert time.monotonic() < deadline, f"only these alerts came: {self.alerts}\n{self.engine.text()}"
            pause.wait(0.0005)

    def of(self, trace_id: str, *, count: int = 1) -> list[Alert]:
        """Return the alerts of one request, once there are so many."""

        def of_it(alerts: list[Alert]) -> list[Alert]:
            return [alert for alert in alerts if alert.trace_id == trace_id]

        return of_it(self.wait_for(lambda alerts: len(of_it(alerts)) >= count))

    def silent_about(self, *trace_ids: str) -> bool:
        """Tell whether there is no alert about these requests, of which a later one was found."""
        return not {alert.trace_id for alert in self.alerts} & set(trace_ids)

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def ears(net: Network, open_directory: Path) -> Iterator[Ears]:
    set_up = settings_for(FunctionType.IDS, open_directory, name="ids", rules=RULES.rules)
    program = DRIVER.render(set_up)
    write(program, set_up)
    assert check(program).returncode == 0
    with running(program, set_up, *net.prefix, name="ids") as engine:
        engine.wait_for(lambda line: b"Engine started" in line)
        listening = Ears(engine, net)
        yield listening
        listening.close()
        net.hang_up()


async def changed(ears: Ears, *rules: IdsRule) -> How:
    return await change(ears.engine, DRIVER, IdsConfiguration(rules=rules))


def test_no_client_names_another_or_hides_by_what_it_writes_into_its_headers(ears):
    connection = ears.net.connection(ears.engine.port)
    written = {
        "a long list of others": {"client": f"{'192.0.2.66, ' * 300}{CLIENT}"},
        "a long host": {"host": "a" * 3000},
    }
    written |= {f"the host {host}": {"host": host} for host in ("a.example:", "a.example:b", "a-shadow:80")}
    for what, headers in written.items():
        (alert,) = ears.of(copy(connection, "/etc/passwd", **headers))
        assert alert.client == CLIENT, what


def test_each_request_of_a_connection_is_found_for_what_it_is(ears):
    connection = ears.net.connection(ears.engine.port)
    harmless = [copy(connection, "/?q=1")]
    found = {
        "user-agent": copy(connection, user_agent="SQLMap/1.7"),
        "uri": copy(connection, "/files?name=..%2f..%2FETC%2fpasswd"),
        "method": copy(connection, method="PURGE"),
        "header": copy(connection, cookie="a=b; Session=Stolen"),
        "body": copy(connection, method="POST", body=b"x'; drop table users"),
        "host": copy(connection, host="admin.example:8080"),
    }
    harmless.append(copy(connection, "/DROP%20TABLE", user_agent="PURGE"))

    for number, (field, text) in enumerate(CONTAINS.items(), start=1):
        (alert,) = ears.of(found[field])
        assert (alert.rule_id, alert.severity) == (number, number % 4 + 1)
        assert alert.message == f'{field}: "{text}"; found \\'
        assert (alert.join, alert.client) == (Join.FLOW_TRANSACTION, CLIENT)
        assert len(alert.span_id) == 16
        assert abs(alert.time - time.time()) < 60
    (on_uri,) = ears.of(found["uri"])
    assert (on_uri.method, on_uri.host, on_uri.url) == ("GET", "shop.example", "/files?name=..%2f..%2FETC%2fpasswd")
    assert ears.of(found["host"])[0].host == "admin.example:8080"
    assert ears.silent_about(*harmless)
    assert len({alert.id for alert in ears.alerts}) == len(CONTAINS)


def test_the_responder_says_of_each_copy_that_it_arrived(ears):
    connection = ears.net.connection(ears.engine.port)
    trace_id = copy(connection, "/a?b=c", method="PUT", body=b"d" * 100_000, host="shop.example:8080")

    line = ears.engine.wait_for(lambda line: trace_id.encode() in line)
    (traceparent,) = [part for part in line.decode().split('"') if trace_id in part]
    access = ears.engine.access_of(traceparent)
    assert (access.method, access.host, access.path) == ("PUT", "shop.example:8080", "/a?b=c")
    assert (access.status, access.client, access.upstream) == (204, "127.0.0.6", "")


def test_a_body_is_looked_at_however_much_the_connection_has_carried(ears):
    connection = ears.net.connection(ears.engine.port)
    for size in (100_000, 900_000, 3_000_000, 2_000_000, 100_000):
        trace_id = copy(connection, method="POST", body=b"a" * min(size, 900_000) + b" drop table " + b"a" * size)
        assert [alert.rule_id for alert in ears.of(trace_id)] == [6], size


def test_what_stands_behind_the_first_mebibyte_of_a_body_is_not_found_and_the_next_request_is(ears):
    connection = ears.net.connection(ears.engine.port)
    behind = copy(connection, method="POST", body=b"a" * 1_200_000 + b" drop table ")
    ears.of(copy(connection, user_agent="sqlmap"))

    assert ears.silent_about(behind)


def test_no_connection_lasts_for_ever(ears):
    connection = ears.net.connection(ears.engine.port)
    for _ in range(200):
        copy(connection)

    assert connection.sock is None


async def test_rules_come_and_go_while_it_listens(ears):
    connection = ears.net.connection(ears.engine.port)
    before = copy(connection, "/new-threat")

    how = await changed(ears, *RULES.rules[1:], http_rule(77, "uri", "new-threat", message="a new threat"))
    removed, added = copy(connection, user_agent="sqlmap"), copy(connection, "/new-threat")

    assert how is How.RELOAD
    (alert,) = ears.of(added)
    assert (alert.rule_id, alert.message) == (77, "a new threat")
    assert ears.silent_about(before, removed)

    await changed(ears)
    nothing = copy(connection, "/new-threat")
    await changed(ears, *RULES.rules)
    ears.of(copy(connection, user_agent="sqlmap"))
    assert ears.silent_about(nothing)


async def test_a_rule_in_suricatas_own_language_is_found_too(ears):
    text = 'alert http any any -> any any (http.uri; pcre:"/id=\\d{5,}/"; threshold:type limit, track by_src, count 9, seconds 1;)'  # noqa: E501
    await changed(ears, IdsRule(id=5, text=text, message="a long id", severity=1))

    (alert,) = ears.of(copy(ears.net.connection(ears.engine.port), "/?id=123456"))
    assert (alert.rule_id, alert.message, alert.severity) == (5, "a long id", 1)


async def test_a_rule_that_captures_the_trace_context_needs_no_join(ears):
    capture = r"/traceparent\x3a\s(?P<flow_traceparent>[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})/i"
    text = f'alert http any any -> any any (flow:to_server; http.uri; content:"probe"; http.header; pcre:"{capture}";)'
    await changed(ears, IdsRule(id=5, text=text))

    (alert,) = ears.of(copy(ears.net.connection(ears.engine.port), "/probe"))
    assert (alert.join, alert.client) == (Join.TRACE_ID, CLIENT)


async def test_a_rule_that_suricata_refuses_changes_nothing_and_its_words_come_back(ears):
    bad = IdsRule(id=9, text='alert http any any -> any any (http.urix; content:"a";)')
    with pytest.raises(EngineError, match=r"unknown rule keyword 'http.urix'"):
        await changed(ears, *RULES.rules, bad)

    assert ears.of(copy(ears.net.connection(ears.engine.port), user_agent="sqlmap"))
    await ears.engine.way(DRIVER).confirm(ears.engine.settings, How.NONE)


async def test_a_reload_that_loses_a_rule_is_not_confirmed(ears):
    after = settings_for(FunctionType.IDS, ears.engine.directory, rules=RULES.rules)
    program = DRIVER.render(after)
    rules = program.files["local.rules"].replace("http.uri;", "http.urix;")
    lay_out(replace(program, files={**program.files, "local.rules": rules}), after)
    way = ears.engine.way(DRIVER)
    await way.change(after, after)

    with pytest.raises(EngineError, match=r"suricata refuses 1 of 6 rules: line 3: alert http .*http\.urix"):
        await way.confirm(ears.engine.settings, How.RELOAD)


async def test_a_reload_that_reads_nothing_is_an_error(ears):
    after = replace(ears.engine.settings, generation=2)
    program = DRIVER.render(after)
    lay_out(replace(program, files={"local.rules": program.files["local.rules"]}), after)
    turn(after)

    with pytest.raises(EngineError, match="did not read its rules again"):
        await ears.engine.way(DRIVER).change(ears.engine.settings, after)
    with pytest.raises(EngineError, match="before generation 2 came into force"):
        await ears.engine.way(DRIVER).confirm(after, How.RELOAD)


async def test_a_turned_link_is_not_in_force_before_suricata_has_read_it(ears):
    after = replace(ears.engine.settings, generation=2)
    lay_out(DRIVER.render(after), after)
    turn(after)
    way = DRIVER.running(after)

    with pytest.raises(EngineError, match="before generation 2 came into force"):
        await way.confirm(after, How.NONE)
    await way.change(ears.engine.settings, after)
    await way.confirm(after, How.RELOAD)
    await DRIVER.running(after).confirm(after, How.NONE)


async def test_a_suricata_that_was_killed_is_down_and_started_again_goes_on(ears):
    engine, way = ears.engine, ears.engine.way(DRIVER)
    connection = ears.net.connection(engine.port)
    copy(connection)
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait(timeout=30)

    with pytest.raises(EngineDownError, match="suricata cannot be reached"):
        await way.confirm(engine.settings, How.NONE)
    with pytest.raises(EngineDownError):
        await way.change(engine.settings, engine.settings)
    with pytest.raises(EngineDownError):
        await way.statistics()

    program, (read, output) = DRIVER.render(engine.settings), os.pipe()
    again = start(program.process, program, engine.directory, *ears.net.prefix, output=output)
    os.close(output)
    try:
        with os.fdopen(read, "rb") as said:
            assert any(b"Engine started" in line for line in said)
            await way.confirm(engine.settings, How.NONE)
            trace_id = copy(connection, user_agent="sqlmap")
            assert [alert.rule_id for alert in ears.of(trace_id)] == [1]
    finally:
        os.killpg(again.pid, signal.SIGKILL)
        again.wait(timeout=30)


async def test_its_counters_are_those_of_what_it_has_seen(ears):
    way, pause = ears.engine.way(DRIVER), threading.Event()
    ears.of(copy(ears.net.connection(ears.engine.port), user_agent="sqlmap"))
    counters: dict[str, float] = {}
    deadline = time.monotonic() + 20
    while not counters.get("requests_total"):
        counters = await way.statistics()
        assert (counters["rules_loaded"], counters["rules_failed"]) == (len(RULES.rules), 0)
        assert time.monotonic() < deadline, counters
        pause.wait(0.1)

    assert counters["requests_total"] == 1
    assert counters["matches_total"] == 1
    assert counters["packets_total"] > 5
    assert (counters["drops_total"], counters["invalid_packets_total"], counters["gaps_total"]) == (0, 0, 0)


def test_an_alert_is_there_moments_after_its_request(ears):
    connection, times_ms = ears.net.connection(ears.engine.port), []
    for _ in range(50):
        began = time.monotonic()
        ears.of(copy(connection, user_agent="sqlmap"))
        times_ms.append((time.monotonic() - began) * 1000)

    print(f"request to alert: median {statistics.median(times_ms):.1f} ms, worst {max(times_ms):.1f} ms")
    assert statistics.median(times_ms) < 250


# ---- strings that nobody expects

LINES = st.text(min_size=1, max_size=60).filter(str.isprintable)
HOSTILE = (
    *(
        '"; sid:1;)',
        "\\",
        '\\"',
        ";",
        "|",
        "|41|",
        "!a",
        ":",
        "a;b",
        "$HOME_NET",
        "#",
        ")",
        "%",
        "\\x41",
        "{{ x }}",
        "é",
        "😀",
    ),
    '"; http.uri; content:"a',
)
TEXTS = st.one_of(LINES, st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join)).filter(
    bool
)


@given(
    texts=st.lists(st.tuples(TEXTS, st.sampled_from(("uri", "header", "body", "user-agent"))), min_size=1, max_size=60)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_suricata_takes_every_text_and_message(open_directory, texts):
    rules = tuple(http_rule(id_, field, text, message=text) for id_, (text, field) in enumerate(texts, start=1))
    set_up = settings_for(FunctionType.IDS, open_directory, rules=rules)
    program = DRIVER.render(set_up)
    lay_out(program, set_up)

    result = check(program)
    assert result.returncode == 0, result.stdout


@given(texts=st.lists(TEXTS, min_size=1, max_size=40, unique=True))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_text_is_found_where_it_stands_and_its_message_comes_back(ears, texts):
    rules = tuple(
        IdsRule(id=id_, message=text, http=HttpMatch(field="body", contains=text, case_sensitive=True))
        for id_, text in enumerate(texts, start=1)
    )
    await changed(ears, *rules)
    trace_id = copy(ears.net.connection(ears.engine.port), method="POST", body="\n".join(texts).encode())

    alerts = ears.of(trace_id, count=len(texts))
    # A message of nothing but spaces is none, and then the rule has one of its own.
    wanted = {id_: text.strip() for id_, text in enumerate(texts, start=1) if text.strip()}
    assert {alert.rule_id: alert.message for alert in alerts if alert.rule_id in wanted} == wanted


OPTIONS = st.lists(
    st.one_of(
        st.sampled_from(
            (
                *("sid:7", "sid:8", 'msg:"a"', 'content:"a\\;b"', "http.uri", "nocase", "gid:3", "rev:2", "noalert"),
                *("dataset:set,x,type string,save x", "Filestore", "lua:x.lua", "classtype:misc-attack", "\\"),
            )
        ),
        LINES,
    ),
    max_size=6,
).map("; ".join)


@given(options=st.lists(OPTIONS, min_size=1, max_size=8))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
def test_a_text_is_refused_by_us_or_judged_by_suricata_as_one_rule_and_writes_nothing(open_directory, options):
    for text in (f"alert http any any -> any any ({option};)" for option in options):
        set_up = settings_for(FunctionType.IDS, open_directory, rules=(IdsRule(id=7, text=text),))
        try:
            program = DRIVER.render(set_up)
        except FunctionError:
            continue
        lay_out(program, set_up)
        assert len(program.files["local.rules"].splitlines()) == 2
        result = check(program)
        assert result.returncode == 0 or "error parsing signature" in result.stdout, result.stdout
    assert {path.name for path in open_directory.iterdir()} <= {"conf", "eve", "checks", "temp"}
    assert {path.name for path in open_directory.glob("checks/*")} <= {"eve.json"}
