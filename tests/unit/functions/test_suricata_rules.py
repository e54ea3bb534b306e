import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.driver import Settings
from clover.functions.suricata import rules
from clover.functions.suricata.driver import Ids
from clover.spec.configuration import HttpMatch, IdsConfiguration, IdsRule

DIRECTORY = "/run/clover/shop/w/ids"


def settings(*rules):
    return Settings(
        workload="ids",
        function="ids",
        version="v1",
        port=9180,
        configuration=IdsConfiguration(rules=rules),
        generation=3,
        directory=DIRECTORY,
    )


def written(rule):
    (_, line) = Ids().render(settings(rule)).files["local.rules"].splitlines()
    return line


def http(field="uri", contains="evil", **more):
    return IdsRule(id=7, http=HttpMatch(field=field, contains=contains, **more))


def refused(*rules):
    with pytest.raises(FunctionError) as failure:
        Ids().render(settings(*rules))
    return failure.value.problems


def test_a_match_becomes_a_rule_for_its_part_of_the_request():
    rule = IdsRule(id=7, message="a; b", severity=1, http=HttpMatch(field="user-agent", contains="sql map/1"))

    assert written(rule) == (
        'alert http any any -> any any (msg:"a\\; b"; flow:to_server; http.user_agent;'
        ' content:"sql|20|map|2f|1"; nocase; priority:1; sid:7;)'
    )


def test_case_matters_when_it_is_to():
    assert "nocase" not in written(http(case_sensitive=True))
    assert "nocase" in written(http())


def test_a_host_is_looked_for_in_lower_case_which_is_how_suricata_keeps_it():
    assert 'http.host; content:"shop|2e|example"; priority' in written(http("host", "Shop.EXAMPLE"))


def test_headers_are_all_headers_cookies_included():
    assert "http.header.raw;" in written(http("header"))


@given(st.text(min_size=1, max_size=63).filter(str.isprintable))
def test_no_text_leaves_its_content_or_its_message(text):
    line = written(IdsRule(id=7, message=text, http=HttpMatch(field="body", contains=text, case_sensitive=True)))

    message = r'"(?:[^"\\;]|\\["\\;])*"'
    content = re.fullmatch(
        rf"alert http any any -> any any \(msg:{message}; flow:to_server; http\.request_body; "
        r'content:"([A-Za-z0-9| ]+)"; priority:2; sid:7;\)',
        line,
    )
    parts = content.group(1).split("|")
    assert (
        b"".join(bytes.fromhex(part) if odd % 2 else part.encode() for odd, part in enumerate(parts)) == text.encode()
    )


def test_a_text_of_more_bytes_than_suricata_takes_is_refused():
    assert [problem.code for problem in refused(http(contains="é" * 128))] == ["CLV3283"]
    assert written(http(contains="é" * 127))


def test_what_a_text_leaves_out_is_added():
    text = 'alert http any any -> any any (http.uri; content:"a"; )'

    assert written(IdsRule(id=7, text=text, message="found", severity=3)) == (
        'alert http any any -> any any (http.uri; content:"a"; msg:"found"; priority:3; sid:7;)'
    )
    whole = 'alert tcp any any -> any any (msg:"a"; content:"b"; classtype:misc-attack; sid:7; rev:2;)'
    assert written(IdsRule(id=7, text=whole)) == whole


@pytest.mark.parametrize(
    "text",
    [
        'drop http any any -> any any (content:"a";)',
        'Alert http any any -> any any (content:"a";)',
        '# alert http any any -> any any (content:"a";)',
        'alert http any any -> any any (content:"a")',
        'alert http any any -> any any (content:"a";) \\',
        "alert http any any -> any any",
        "alert http any any -> any any (" + 'content:"a"; ' * 620 + ")",
    ],
)
def test_what_is_not_one_alert_rule_is_refused(text):
    assert [problem.code for problem in refused(IdsRule(id=7, text=text))] == ["CLV3280"]


@pytest.mark.parametrize(
    "options",
    [
        "lua:x.lua;",
        "http.uri; LuaJIT : x;",
        "filestore;",
        "filestore:request;",
        "content:\"a\"; dataset:isset,a,type string,load /etc/passwd;",
        "datarep:a,>,1;",
        "filemd5:list;",
        "iprep:src,x,>,1;",
        "bypass;",
        "config:logging disable;",
        'content:"a\\"; lua:x;',
    ],
)  # fmt: skip
def test_an_option_that_reaches_beyond_a_request_is_refused(options):
    text = f"alert http any any -> any any ({options})"

    assert [problem.code for problem in refused(IdsRule(id=7, text=text))] == ["CLV3282"]


def test_every_forbidden_option_is_refused_however_it_is_written():
    for name in rules.FORBIDDEN:
        text = f'alert http any any -> any any (content:"a";{name.upper()} :x;)'
        assert [problem.code for problem in refused(IdsRule(id=7, text=text))] == ["CLV3282"]


def test_a_content_that_only_looks_like_an_option_passes():
    assert written(IdsRule(id=7, text='alert http any any -> any any (content:"lua:x"; http.uri; content:"bypass";)'))


def test_a_sid_is_the_id_or_is_left_out():
    text = 'alert http any any -> any any (content:"a"; sid:{};)'

    assert [problem.code for problem in refused(IdsRule(id=7, text=text.format(8)))] == ["CLV3281"]
    assert "sid:7;" in written(IdsRule(id=7, text=text.format(7)))


def test_all_that_is_wrong_is_told_at_once():
    bad = IdsRule(id=8, text="alert http any any -> any any (lua:x; filestore; sid:9;)")

    problems = refused(http(contains="é" * 200), bad)
    assert [problem.code for problem in problems] == ["CLV3283", "CLV3282", "CLV3282", "CLV3281"]
    assert all(problem.where == "workload 'ids'" for problem in problems)


def test_each_generation_is_checked_in_its_own_folder_and_started_from_the_one_in_force():
    program = Ids().render(settings())

    assert program.check[2] == f"{DIRECTORY}/conf/000003/suricata.yaml"
    assert program.process.argv[2] == f"{DIRECTORY}/conf/current/suricata.yaml"
    assert f'default-rule-path: "{DIRECTORY}/conf/000003"' in program.files["suricata.yaml"]
    assert [companion.name for companion in program.companions] == ["responder"]


def test_its_records_are_where_the_reader_looks_for_them():
    program = Ids().render(settings())

    assert Ids().alert_file(settings()) == f"{DIRECTORY}/eve/eve.json"
    assert "eve" in program.directories
    assert f"{DIRECTORY}/eve" in program.process.argv
