"""`clover control`, `ids` and `firewall` against the real control agent: what they ask and print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from stub_ambassadors import TRACE_ID

from clover.cli.control import MOST_BYTES
from clover.control import convert, uploads
from clover.spec.configuration import Backend, CacheConfiguration, LoadBalancerConfiguration


def asked_for(controlled, type_="load-balancer"):
    (request,) = controlled.requests("Apply")
    return convert.configuration_from(request.configuration, type_=type_)


# ---- looking


def test_without_a_function_every_function_is_listed(clover, controlled, golden):
    code, out, _ = clover("control")

    assert code == 0
    golden("cli/control-functions.txt", out)
    assert [one["workload"] for one in json.loads(clover("control", "--json")[1])["functions"]][:2] == [
        "access-control-v1",
        "http-lb-v1",
    ]


def test_show_tells_of_each_version_and_is_the_default_verb(clover, controlled, golden, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    code, out, _ = clover("control", "http-lb")

    assert code == 0
    golden("cli/control-show.txt", out)
    assert clover("control", "http-lb", "show")[1] == out


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("function", ["access-control", "http-lb@v1", "http-lb@v2", "ids", "web", "web-cache"])
def test_what_show_prints_can_be_applied_and_changes_nothing(clover, controlled, tmp_path, form, function):
    _, text, _ = clover("control", function, "show", "-o", form)
    (tmp_path / f"c.{form}").write_text(text)

    code, out, _ = clover("control", function, "apply", str(tmp_path / f"c.{form}"))

    assert (code, ": unchanged (generation 3)  trace 4bf9" in out) == (0, True)


def test_the_configuration_is_shown_as_people_write_it(clover, controlled):
    document = yaml.safe_load(clover("control", "http-lb@v2", "show", "-o", "yaml")[1])

    assert document == {
        "loadBalancer": {
            "backends": [{"host": "web-cache", "weight": 3}, {"host": "web-cache2", "state": "drain"}],
            "algorithm": "least-connections",
        }
    }
    assert json.loads(clover("control", "cache", "show", "-o", "json")[1])["cache"]["defaultTtl"] == "90s"


def test_show_as_json_has_everything_in_one_list(clover, controlled):
    first, second = json.loads(clover("control", "http-lb", "show", "--json")[1])

    assert (first["generation"], first["engineReady"], first["appliedAt"]) == (3, True, "2026-09-21T14:13:20Z")
    assert second["configuration"]["loadBalancer"]["algorithm"] == "least-connections"
    several = json.loads(clover("control", "http-lb", "show", "-o", "json")[1])
    assert several == [first["configuration"], second["configuration"]]


def test_of_several_versions_a_change_wants_one_named_and_a_misspelt_one_lists_what_there_is(clover, controlled):
    assert clover("control", "load-balancer", "show")[0] == 0
    code, _, said = clover("control", "load-balancer", "set", "algorithm=random")
    assert code == 2
    assert "'http-lb' has 2 versions, each with a configuration of its own [CLV5204]" in said
    assert "name one: http-lb@v1, http-lb@v2" in said
    code, _, said = clover("control", "http-lp", "show")
    assert (code, "'http-lp' is not in the chain [CLV5203]" in said) == (2, True)


def test_without_an_agent_the_command_says_where_to_look(clover, bring_up):
    bring_up("sdc")

    code, _, said = clover("control", "http-lb", "show")

    assert (code, "the control agent of chain 'sdc' does not answer: [Errno 2]" in said) == (5, True)
    assert "[CLV5211]" in said


# ---- changing


def test_set_changes_what_was_read_and_expects_its_generation(clover, controlled):
    code, out, _ = clover("control", "http-lb@v2", "set", "algorithm=random", "backends.web-cache.weight=50")

    assert code == 0
    assert out == f"http-lb@v2: generation 3 → 4 by reload in 212 ms  trace {TRACE_ID}\n"
    assert asked_for(controlled) == LoadBalancerConfiguration(
        backends=(Backend(host="web-cache", weight=50), Backend(host="web-cache2", state="drain")), algorithm="random"
    )
    (request,) = controlled.requests("Apply")
    assert (request.expected_generation, request.dry_run) == (3, False)


def test_set_to_what_is_there_changes_nothing(clover, controlled):
    assert clover("control", "http-lb@v2", "set", "algorithm=least-connections") == (
        0,
        f"http-lb@v2: unchanged (generation 3)  trace {TRACE_ID}\n",
        "",
    )


def test_a_change_by_somebody_else_in_between_is_a_conflict_with_its_trace(clover, controlled):
    controlled.overtaken = True

    code, out, said = clover("control", "http-lb@v2", "set", "algorithm=random")

    assert (code, out) == (4, "")
    assert "generation 4 is in force, not the expected 3 [CLV3301]" in said
    assert f"hint: clover trace {TRACE_ID}" in said


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("clover get ap", f"hint: clover get ap; clover trace {TRACE_ID}\n"),
        (f"clover trace {TRACE_ID} says which", f"hint: clover trace {TRACE_ID} says which\n"),
    ],
)
def test_the_trace_of_a_failed_call_is_named_once(clover, controlled, hint, said):
    controlled.hint = hint

    assert clover("control", "http-lb@v2")[2].endswith(said)


def test_a_dry_run_prints_what_would_change_and_changes_nothing(clover, controlled, golden):
    code, out, _ = clover("control", "http-lb@v2", "set", "backends+=web-cache3", "--dry-run")

    assert code == 0
    golden("cli/control-dry-run.txt", out)
    assert controlled.requests("Apply")[0].dry_run
    assert "generation 3" in clover("control", "http-lb@v2")[1]


def test_everything_wrong_with_several_changes_is_told_at_once_and_nothing_is_sent(clover, controlled):
    code, _, said = clover("control", "http-lb@v2", "set", "algorithm=rnd", "colour=red", "backends.web.weight=1")

    assert (code, controlled.requests("Apply")) == (2, [])
    assert [line.split(": error: ")[0] for line in said.splitlines() if "error: " in line] == [
        "colour=red",
        "backends.web.weight=1",
        "algorithm=rnd",
    ]
    code, _, said = clover("control", "http-lb@v2", "set", "algorithm", "=x")
    assert (code, said.count("[CLV5206]"), controlled.requests("Get")[1:]) == (2, 2, [])


def test_apply_brings_a_whole_configuration_into_force(clover, controlled, tmp_path):
    (tmp_path / "cache.yaml").write_text("cache:\n  backends: [{host: web}]\n  grace: 1m30s\n")

    code, out, _ = clover("control", "cache", "apply", str(tmp_path / "cache.yaml"), "--diff", "--expect", "3")

    assert code == 0
    assert asked_for(controlled, "cache") == CacheConfiguration(backends=(Backend(host="web"),), grace=90.0)
    assert controlled.requests("Apply")[0].expected_generation == 3
    assert out.startswith(f"web-cache@v1: generation 3 → 4 by reload in 212 ms  trace {TRACE_ID}\n---")
    assert "\n-defaultTtl: 90s\n+grace: 90s\n" in out


def test_a_field_that_an_ambassador_refuses_is_named_as_it_was_typed_or_where_it_stands_in_the_file(
    clover, controlled, tmp_path
):
    code, _, said = clover("control", "http-lb@v1", "set", "backends+=nobody")
    assert (code, said.startswith("backends+=nobody: error: 'nobody' is no function [CLV3302]")) == (4, True)
    (tmp_path / "lb.yaml").write_text("loadBalancer:\n  backends:\n    - host: web-cache\n    - host: nobody\n")

    code, _, said = clover("control", "http-lb@v1", "apply", str(tmp_path / "lb.yaml"))

    assert (code, said.startswith(f"{tmp_path}/lb.yaml:4:13: error: 'nobody' is no function")) == (4, True)


def test_a_file_for_another_type_says_what_the_function_is(clover, controlled, tmp_path):
    (tmp_path / "cache.yaml").write_text("# mine\ncache: {}\n")

    code, _, said = clover("control", "http-lb@v1", "apply", str(tmp_path / "cache.yaml"))

    assert (code, controlled.requests("Apply")) == (2, [])
    assert f"{tmp_path}/cache.yaml:2:1: error: 'cache' configures a function of type 'cache', and 'http-lb@v1'" in said


def test_a_change_as_json_has_its_steps(clover, controlled):
    told = json.loads(clover("control", "http-lb@v1", "set", "algorithm=random", "--json")[1])

    assert (told["generation"], told["changed"], told["method"], told["tookMs"]) == (4, True, "reload", 212.0)
    assert told["steps"][1] == {"name": "check", "durationMs": 50.0}
    assert (told["function"], told["version"], told["traceId"]) == ("http-lb", "v1", TRACE_ID)


def test_watch_prints_a_line_for_each_status_and_ends_with_what_went_wrong(clover, controlled):
    code, out, said = clover("control", "http-lb@v2", "watch", "--interval", "500ms")

    assert (code, len(out.splitlines())) == (4, 2)
    assert "http-lb@v2  generation 3  ready  changing  requests_total=12" in out.splitlines()[0]
    assert "the engine has died" in said
    (request,) = controlled.requests("Watch")
    assert request.interval.ToMilliseconds() == 500


# ---- what only some types have


def test_backends_are_told_with_what_the_engine_says(clover, controlled, golden):
    code, out, _ = clover("control", "http-lb@v2", "backends")

    assert code == 0
    golden("cli/control-backends.txt", out)
    told = json.loads(clover("control", "http-lb@v2", "backends", "--json")[1])
    assert told["backends"][1]["backend"] == {"host": "web-cache2", "weight": 1, "state": "drain"}


@pytest.mark.parametrize(
    ("verb", "state", "weight"), [("drain", 2, 0), ("ready", 1, 0), ("disable", 3, 0), ("weight", 0, 7)]
)
def test_a_backend_is_told_apart_by_host_and_port(clover, controlled, verb, state, weight):
    more = [str(weight)] if weight else []

    assert clover("control", "http-lb@v2", verb, "web-cache:9180", *more)[0] == 0

    (request,) = controlled.requests("SetBackendState")
    assert (request.host, request.port, request.state, request.weight) == ("web-cache", 9180, state, weight)


@pytest.mark.parametrize("host", ["", ":1", "web:", "web:x", "web:²"])
def test_a_backend_that_is_none_is_refused_before_anybody_is_asked(clover, controlled, host):
    assert clover("control", "http-lb@v2", "drain", host)[0] == 2
    assert controlled.asked == []


def test_a_verb_for_another_type_says_what_the_function_is(clover, controlled):
    assert (
        "'web@v1' is a function of type 'server', expected 'cache' [CLV5213]"
        in clover("control", "web", "purge", "--all")[2]
    )
    assert "expected 'server'" in clover("control", "cache", "files", "list")[2]
    assert "expected 'firewall'" in clover("firewall", "list", "--function", "web")[2]


def test_purge_takes_one_url_one_prefix_or_everything(clover, controlled):
    assert clover("control", "cache", "purge", "http://shop/a") == (
        0,
        f"web-cache@v1: purged http://shop/a: 2 answers  trace {TRACE_ID}\n",
        "",
    )
    assert clover("control", "cache", "purge", "/img/*")[1].startswith("web-cache@v1: purged /img/*  trace")
    assert clover("control", "cache", "purge", "--all")[1].startswith("web-cache@v1: purged everything  trace")
    url, prefix, everything = controlled.requests("PurgeCache")
    assert (url.url, prefix.prefix, everything.everything) == ("http://shop/a", "/img/", True)
    assert clover("control", "cache", "purge")[0] == clover("control", "cache", "purge", "/", "--all")[0] == 2


def test_files_are_listed_uploaded_and_deleted(clover, controlled, tmp_path):
    (tmp_path / "page.html").write_bytes(b"<p>\xff")

    assert "a/index.html  5.1 kB" in clover("control", "web", "files", "list")[1]
    code, out, _ = clover("control", "web", "files", "upload", str(tmp_path / "page.html"), "a/ü.html")
    assert (code, out.startswith("web@v1: generation 3 → 4")) == (0, True)
    first, content = controlled.requests("UploadFile")[0]
    assert (first.path, content.chunk) == ("a/ü.html", b"<p>\xff")
    assert "unchanged" in clover("control", "web", "files", "delete", "a/index.html")[1]
    assert clover("control", "web", "files", "upload", str(tmp_path / "no"), "x")[0] == 2


def test_the_path_of_a_file_may_be_written_as_in_a_url(clover, controlled, tmp_path):
    (tmp_path / "a.txt").write_text("a")

    assert clover("control", "web", "files", "upload", str(tmp_path / "a.txt"), "/docs/a.txt")[0] == 0
    assert clover("control", "web", "files", "delete", "/a/index.html")[0] == 0
    assert controlled.requests("UploadFile")[0][0].path == "docs/a.txt"
    assert controlled.requests("DeleteFile")[0].path == "a/index.html"


def test_a_file_without_an_end_is_not_read_for_ever(clover, controlled):
    code, _, said = clover("control", "web", "files", "upload", "/dev/zero", "zero")

    assert MOST_BYTES == uploads.MOST_BYTES
    assert (code, said[-10:]) == (2, "[CLV3317]\n")
    assert "/dev/zero: error: '/dev/zero' is larger than 16 MiB" in said
    assert controlled.requests("UploadFile") == []


# ---- rules


def test_rules_are_listed_as_they_were_written(clover, controlled, golden):
    golden("cli/ids-rules.txt", clover("ids", "rule", "list")[1])
    assert json.loads(clover("ids", "rule", "list", "--json")[1])["rules"][0]["http"] == {
        "field": "user-agent",
        "contains": "scan",
        "caseSensitive": False,
    }


def test_a_rule_gets_the_next_free_id_and_is_told_with_what_takes_it_out(clover, controlled):
    code, out, _ = clover("ids", "rule", "add", "--user-agent", "asafaweb.com")

    assert (code, out.splitlines()[1]) == (0, "rule 9000001: clover ids rule remove 9000001 takes it out again")
    (request,) = controlled.requests("AddRule")
    assert (request.rule.id, request.rule.severity, request.rule.message) == (
        9_000_001,
        2,
        "user-agent contains asafaweb.com",
    )
    assert (request.rule.http.field, request.rule.http.contains, request.expected_generation) == (1, "asafaweb.com", 3)


def test_a_rule_in_the_engines_language_keeps_its_sid_or_gets_one(clover, controlled):
    own = 'alert http any any -> any any (msg:"x"; content:"y"; sid:77;)'

    assert clover("ids", "rule", "add", own)[0] == 0
    assert clover("ids", "rule", "add", 'alert http any any -> any any (msg:"x")', "--id", "9")[0] == 0
    first, second = controlled.requests("AddRule")
    assert (first.rule.id, first.rule.text) == (77, own)
    assert (second.rule.id, second.rule.text) == (9, 'alert http any any -> any any (msg:"x"; sid:9;)')


@pytest.mark.parametrize(
    "arguments",
    [[], ["--uri", "a", "--host", "b"], ["x", "--uri", "a"], ["(sid:7;)", "--id", "8"], ["alert"], ["--uri", "a\nb"]],
)
def test_a_rule_that_is_none_is_refused_before_it_is_sent(clover, controlled, arguments):
    assert clover("ids", "rule", "add", *arguments)[0] == 2
    assert controlled.requests("AddRule") == []


def test_an_id_that_no_rule_can_have_is_refused_and_none_chosen_in_its_place(clover, controlled):
    code, _, said = clover("ids", "rule", "add", "--uri", "x", "--id", "0")

    assert (code, "--id" in said, controlled.requests("AddRule")) == (2, True, [])


def test_a_rule_is_removed_by_its_id(clover, controlled):
    assert clover("ids", "rule", "remove", "9000000")[0] == 0
    assert controlled.requests("RemoveRule")[0].id == 9_000_000


# ---- blocks


def test_blocked_clients_are_listed_with_what_led_to_it(clover, controlled, golden, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")

    golden("cli/firewall-list.txt", clover("firewall", "list")[1])


def test_a_client_is_blocked_for_a_while_and_unblocked(clover, controlled):
    code, out, _ = clover("firewall", "block", "192.0.2.7", "--for", "10m", "--reason", "why not")
    assert (code, out.startswith("access-control@v1: blocked 192.0.2.7 until 2026-09-21 ")) == (0, True)
    (request,) = controlled.requests("Block")
    assert (request.duration.ToSeconds(), request.reason) == (600, "why not")
    assert "access-control@v1: unblocked 192.0.2.7" in clover("firewall", "unblock", "192.0.2.7")[1]
    assert "unchanged (192.0.2.8 was not blocked)" in clover("firewall", "unblock", "192.0.2.8")[1]


def test_a_long_time_is_sent_as_it_is(clover, controlled):
    assert clover("firewall", "block", "192.0.2.7", "--for", "1234567s")[0] == 0
    assert clover("firewall", "block", "192.0.2.7", "--for", "10000h")[0] == 0
    assert [one.duration.ToMilliseconds() for one in controlled.requests("Block")] == [1_234_567_000, 36_000_000_000]


@pytest.mark.parametrize("wrong", [["nobody"], ["192.0.2.0/24"], ["192.0.2.7", "--for", "10"]])
def test_a_block_that_means_nothing_is_refused_before_it_is_sent(clover, controlled, wrong):
    code, _, said = clover("firewall", "block", *wrong)

    assert (code, "[CLV5206]" in said, controlled.asked) == (2, True, [])


# ---- start-up


def test_the_commands_load_neither_grpc_nor_protobuf():
    script = (
        "import sys; from clover.cli.main import main; main(sys.argv[1:]); "
        "print({'grpc', 'google.protobuf', 'starlette', 'clover.spec.configuration'} & sys.modules.keys())"
    )
    for arguments in (["control", "http-lb", "set", "--help"], ["firewall", "block", "--help"], ["ids", "--help"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()", arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["firewall", "block", "192.0.2.7", "--for", "99999999999d"], "expected at most 10000d"),
        (["ids", "rule", "remove", "99999999999999999999999"], "less than or equal to 2147483647"),
        (["ids", "rule", "add", "--uri", "x", "--id", "99999999999999999999999"], "less than or equal to 2147483647"),
        (["control", "http-lb@v2", "drain", "web:99999999999"], "expected HOST or HOST:PORT"),
        (
            ["control", "http-lb@v2", "set", "algorithm=x", "--expect", "9" * 23],
            "less than or equal to 9223372036854775807",
        ),
        (["control", "access-control", "set", "anomaly-threshold=" + "9" * 21], "expected 1 to 1000"),
    ],
)
def test_a_number_that_nothing_could_hold_is_told_with_its_range(clover, controlled, arguments, expected):
    code, _, said = clover(*arguments)

    assert (code, expected in said) == (2, True), said
