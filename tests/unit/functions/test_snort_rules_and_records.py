"""Snort: rules, records and the words of a reload. The records are made as Snort's source and manual say it writes them
(`src/loggers/alert_json.cc`), not recorded from a running one."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.alerts import Join
from clover.functions.driver import EngineDownError, EngineError, How, Settings
from clover.functions.snort import driver, records, running
from clover.functions.snort.rules import SAW_ANYTHING, SAW_HEAD
from clover.spec.configuration import HttpMatch, IdsConfiguration, IdsRule

DRIVER = driver.Ids()
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEAD = (
    f"host: shop.example-shadow\r\nuser-agent: evil\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n"
    "x-forwarded-for: 198.51.100.7,10.0.0.2\r\n\r\n"
).encode()


def settings(*rules: IdsRule, directory: str = "/run/clover/x/w/ids-v1") -> Settings:
    return Settings(
        workload="ids-v1",
        function="ids",
        version="v1",
        port=9180,
        configuration=IdsConfiguration(rules=rules),
        directory=directory,
    )


def rule(rendered: IdsRule) -> str:
    """Return the line that a rule becomes."""
    (line,) = DRIVER.render(settings(rendered)).files[driver.RULES].splitlines()[1:]
    return line


def http(field: str, contains: str, **more: object) -> IdsRule:
    return IdsRule(id=7, message="m", http=HttpMatch(field=field, contains=contains, **more))


def refusal(text: str) -> list[str]:
    with pytest.raises(FunctionError) as refused:
        DRIVER.render(settings(IdsRule(id=7, text=text)))
    return [problem.code for problem in refused.value.problems]


# Rules


@pytest.mark.parametrize(
    ("field", "buffer", "revision"),
    [
        ("user-agent", "http_header:field user-agent", SAW_HEAD),
        ("uri", "http_uri", SAW_HEAD),
        ("method", "http_method", SAW_HEAD),
        ("host", "http_header:field host", SAW_HEAD),
        ("header", "http_raw_header", SAW_HEAD),
        ("body", "http_raw_body", SAW_ANYTHING),
    ],
)
def test_a_match_becomes_a_rule_of_snort(field, buffer, revision):
    assert rule(http(field, "evil")) == (
        f'alert http ( msg:"m"; flow:to_server; {buffer}; content:"evil",nocase; priority:2; sid:7; rev:{revision}; )'
    )


def test_what_means_something_in_a_rule_is_written_as_hexadecimal():
    assert 'content:"a|3b 22 5c 7c|b|c3 a9|";' in rule(http("uri", 'a;"\\|b\u00e9', case_sensitive=True))


def test_a_message_has_no_signs_that_break_a_record():
    assert "msg:\"say 'a/b', c\"" in rule(IdsRule(id=7, message='say "a\\b"; c', http=http("uri", "x").http))


@given(contains=st.text(min_size=1, max_size=60).filter(str.isprintable), message=st.text(max_size=40))
def test_whatever_is_looked_for_a_rule_is_one_line_with_the_options_it_should_have(contains, message):
    message = "".join(sign for sign in message if sign.isprintable())
    line = rule(IdsRule(id=7, message=message, http=HttpMatch(field="uri", contains=contains)))

    strings = re.findall(r'"([^"\\]*)"', line)
    assert len(strings) == 2
    bare = re.sub(r'"[^"\\]*"', "S", line)
    assert bare == "alert http ( msg:S; flow:to_server; http_uri; content:S,nocase; priority:2; sid:7; rev:2; )"
    content = b"".join(
        bytes.fromhex(part) if odd % 2 else part.encode() for odd, part in enumerate(strings[1].split("|"))
    )
    assert content == contains.encode()


def test_a_rule_in_snorts_language_gets_what_it_lacks_and_clovers_revision():
    assert rule(IdsRule(id=7, message="m", text='alert http (http_uri; content:"a;)#"; rev:9;)')) == (
        'alert http ( http_uri; content:"a;)#"; msg:"m"; priority:2; sid:7; rev:2; )'
    )
    assert rule(IdsRule(id=7, text='alert tcp any any -> any 80 ( msg:"x"; content:"a"; priority:1; sid:7; )')) == (
        'alert tcp any any -> any 80 ( msg:"x"; content:"a"; priority:1; sid:7; rev:1; )'
    )


@pytest.mark.parametrize(
    ("options", "revision"),
    [
        ('http_header:field cookie; pcre:"/a/"', SAW_HEAD),
        ('http_uri; content:"a"; http_client_body; content:"b"', SAW_ANYTHING),
        ('content:"a"; http_uri; content:"b"', SAW_ANYTHING),
        ('file_data; content:"b"', SAW_ANYTHING),
        ("dsize:>1", SAW_ANYTHING),
        ("flow:to_server", SAW_ANYTHING),
    ],
)
def test_only_a_rule_that_looks_at_heads_alone_is_one_whose_records_show_the_head(options, revision):
    assert f"rev:{revision};" in rule(IdsRule(id=7, text=f"alert http ( {options}; )"))


@pytest.mark.parametrize(
    "text",
    [
        "drop http ( http_uri; )",
        "alert http",
        "alert http ( )",
        "alert http ( http_uri )",
        'alert http ( content:"a; )',
        'alert http ( content:"a\\"; )',
        "alert http ( http_uri; ) alert http ( http_uri; )",
        "alert http ( http_uri; ) # more",
        "alert http ( http_uri; /* ) ; )",
        "alert http ( http_uri; # ; )",
        "alert http ( http_uri;; )",
        "include /etc/passwd",
        "alert http ( (http_uri;) )",
        "alert /* http ( http_uri; )",
    ],
)
def test_what_is_not_one_whole_rule_is_refused(text):
    assert refusal(text) == ["CLV3260"]


def test_a_rule_that_does_more_than_look_is_refused_for_everything_at_once():
    text = 'alert http ( REPLACE:"x"; gid:116; sid:8; msg:"a\\"b"; http_uri; )'

    assert refusal(text) == ["CLV3262", "CLV3262", "CLV3261", "CLV3263"]


@given(st.text(max_size=80).filter(str.isprintable))
def test_no_text_leaves_its_line(text):
    try:
        line = rule(IdsRule(id=7, text=f"alert http ( {text}; )"))
    except FunctionError:
        return
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
    assert bare.startswith("alert http ( ")
    assert bare.endswith("; )")
    assert bare.count("(") == bare.count(")") == 1
    assert "#" not in bare
    assert "/*" not in bare


def test_the_configuration_names_the_rules_of_its_generation():
    program = DRIVER.render(replace(settings(), generation=3))

    assert "include = '/run/clover/x/w/ids-v1/conf/000003/local.rules'" in program.files[driver.CONFIGURATION]
    assert "print('clover: generation 3')" in program.files[driver.CONFIGURATION]
    assert program.check[:4] == ("snort", "-c", "/run/clover/x/w/ids-v1/conf/000003/snort.lua", "-T")
    assert "/run/clover/x/w/ids-v1/conf/current/snort.lua" in program.process.argv
    assert DRIVER.alert_file(settings()) == "/run/clover/x/w/ids-v1/records/alert_json.txt"


# Records


def record(data: bytes = HEAD, **more: object) -> bytes:
    """Return a line as Snort writes it: with spaces around its colons and commas."""
    fields = {
        "seconds": 1795401793,
        "timestamp": "26/11/23-05:43:13.250000",
        "pkt_num": 12,
        "gid": 1,
        "sid": 7,
        "rev": SAW_HEAD,
        "priority": 1,
        "src_ap": "127.0.0.6:40000",
        "dst_ap": "127.0.0.1:9180",
        "dir": "C2S",
        "msg": "evil",
        "b64_data": base64.b64encode(data).decode(),
        **more,
    }
    return ("{ " + ", ".join(f'"{name}" : {json.dumps(value)}' for name, value in fields.items()) + " }").encode()


def read(line: bytes):
    return tuple(records.Reader().read(line, now=5.0))


def test_a_record_of_a_head_becomes_an_alert_that_names_its_trace_and_its_client():
    (alert,) = read(record())

    assert (alert.rule_id, alert.message, alert.severity, alert.time) == (7, "evil", 1, 1795401793.25)
    assert (alert.join, alert.trace_id, alert.span_id) == (Join.TRACE_ID, TRACE, SPAN)
    assert (alert.client, alert.host) == ("198.51.100.7", "shop.example")


def test_a_head_may_come_with_its_request_line():
    (alert,) = read(record(b"POST /a?b HTTP/1.1\r\n" + HEAD + b"x-forwarded-for: 203.0.113.1\r\n"))

    assert (alert.method, alert.url, alert.client, alert.trace_id) == ("POST", "/a?b", "198.51.100.7", TRACE)


@pytest.mark.parametrize("host", ["a-shadow:", "a-shadow:b", "[::1]-shadow", "a-shadow\r\nhost: b-shadow"])
def test_no_host_hides_that_a_request_is_a_copy(host):
    head = f"host: {host}\r\nx-forwarded-for: 203.0.113.9, 198.51.100.7,10.0.0.2\r\n\r\n"

    assert records.head_from(head.encode()).client == "198.51.100.7"


def test_nothing_is_taken_from_what_may_be_a_body():
    for line in (record(rev=SAW_ANYTHING), record(dir="S2C")):
        (alert,) = read(line)
        assert (alert.join, alert.trace_id, alert.client, alert.host) == (Join.NONE, "", "", "")
        assert alert.rule_id == 7


def test_without_data_an_alert_is_still_one():
    (alert,) = read(b'{ "seconds" : 1, "gid" : 1, "sid" : 9, "rev" : 2, "msg" : "x" }')

    assert (alert.rule_id, alert.time, alert.severity, alert.join) == (9, 1.0, 3, Join.NONE)


def test_two_traces_are_none():
    (alert,) = read(record(HEAD.replace(b"\r\n\r\n", f"\r\ntraceparent: 00-{'1' * 32}-{SPAN}-01\r\n\r\n".encode())))

    assert (alert.join, alert.trace_id) == (Join.NONE, "")


def test_one_record_has_one_id_and_another_another():
    assert read(record())[0].id == read(record())[0].id
    assert len({read(line)[0].id for line in (record(), record(pkt_num=13), record(sid=8))}) == 3


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"sid":"7"}', b'{"sid":true}', b"[" * 100_000, b"\xff"])
def test_nonsense_gives_no_alert(line):
    assert read(line) == ()


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read_as_a_line_and_as_a_head(data):
    read(data)
    records.head_from(data)
    for alert in read(record(data)):
        assert not alert.client or re.fullmatch(r"[0-9a-f.:]+", alert.client)
        assert re.fullmatch(r"(?:[0-9a-f]{32})?", alert.trace_id)
        for text in (alert.method, alert.url, alert.host, alert.message):
            text.encode()


@given(
    st.dictionaries(
        st.sampled_from(records.FIELDS.split()),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False), st.lists(st.integers())
        ),
    )
)
def test_fields_of_any_kind_raise_nothing(fields):
    for alert in read(record(**fields)):
        alert.message.encode()


header_value = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(before=st.lists(header_value, max_size=3), after=st.lists(header_value, max_size=3), body=st.binary(max_size=60))
def test_a_head_is_found_whatever_stands_beside_it_and_behind_it(before, after, body):
    lines = [f"x-{n}: {value}" for n, value in enumerate(before)]
    lines += [f"traceparent: 00-{TRACE}-{SPAN}-01", "X-Forwarded-For:198.51.100.7 "]
    lines += [f"y-{n}: {value}" for n, value in enumerate(after)]

    head = records.head_from("\r\n".join([*lines, "", ""]).encode() + body)

    assert (head.trace, head.client) == ((TRACE, SPAN), "198.51.100.7")


# A running Snort, as far as it can be known without one


@pytest.fixture
def way(tmp_path) -> running.SnortRunning:
    (tmp_path / "logs").mkdir()
    return running.SnortRunning(directory=str(tmp_path), argv=("snort", "-c", str(tmp_path)))


def says(way: running.SnortRunning, text: str) -> None:
    with Path(way.directory, "logs", "engine.log").open("a") as log:
        log.write(text)


async def test_a_snort_that_does_not_run_is_down(way):
    given = settings()
    for attempt in (way.change(given, given), way.confirm(given, How.RELOAD), way.statistics()):
        with pytest.raises(EngineDownError):
            await attempt


async def test_what_was_read_at_the_start_is_in_force(way):
    says(way, "o)~   Snort++ 3.1\nclover: generation 4\nCommencing packet processing\n")

    await way.confirm(replace(settings(), generation=4), How.NONE)


async def test_a_reload_is_in_force_when_snort_says_that_it_is_complete(way):
    says(way, "clover: generation 1\n")
    way._said_before = way._log_size()
    wanted = replace(settings(), generation=2)
    assert not way._is_in_force(2)
    says(way, "clover: generation 2\n")
    assert not way._is_in_force(2)
    says(way, "== reload complete\n")

    await way.confirm(wanted, How.RELOAD)
    assert not way._is_in_force(1)


async def test_a_reload_that_fails_is_told_in_snorts_words(way):
    way._said_before = 0
    says(way, "ERROR: local.rules:2 unknown rule option: nonsense.\nReload failed! bad config []\n")

    with pytest.raises(EngineError, match=r"unknown rule option: nonsense\.; Reload failed! bad config"):
        await way.confirm(settings(), How.RELOAD)
