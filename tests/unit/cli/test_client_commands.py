"""The client commands against the real API server: what they ask, what they print, how they end."""

import json
import socket

import pytest
import yaml


def test_without_a_running_chain_every_command_says_how_to_start_one(clover, run_root):
    for command in (
        ["status"], ["traces"], ["trace"], ["get"], ["logs", "waf"], ["proxy", "waf"], ["alerts"], ["changes"],
        ["control"], ["control", "waf"], ["control", "waf", "set", "mode=off"], ["ids", "rule", "list"],
        ["firewall", "list"], ["lost"],
    ):  # fmt: skip
        assert clover(*command) == (
            2,
            "",
            f"{run_root}: error: no chain is up [CLV5201]\n    hint: clover up PATH\n",
        )


def test_the_remains_of_a_killed_chain_do_not_count(clover, run_root):
    (run_root / "dead").mkdir()
    (run_root / "dead" / "lock").touch()
    (run_root / "dead" / "node.json").write_text('{"chain": "dead", "pid": 1}')

    assert clover("status")[0] == 2


def test_of_several_chains_one_must_be_named(clover, bring_up, monkeypatch):
    bring_up("sdc")
    bring_up("shop")

    code, _, said = clover("get")
    assert (code, "several chains are up: sdc, shop" in said, "--chain sdc" in said) == (2, True, True)
    assert clover("get", "--chain", "shop")[0] == 0
    monkeypatch.setenv("CLOVER_CHAIN", "shop")
    assert clover("get")[0] == 0
    code, _, said = clover("get", "--chain", "shp")
    assert (code, "the chain 'shp' is not up (up: sdc, shop)" in said) == (2, True)


def test_a_node_that_does_not_answer_is_a_problem_of_the_mesh(clover, bring_up):
    folder = bring_up("sdc")
    (folder / "up.json").write_text("{}", encoding="utf-8")
    (folder / "api.sock").unlink()

    code, _, said = clover("status")

    assert (code, "the node of chain 'sdc' does not answer: [Errno 2]" in said) == (5, True)


def test_a_node_that_does_not_answer_yet_is_not_to_be_taken_down(clover, bring_up):
    folder = bring_up("sdc")
    (folder / "api.sock").unlink()

    code, _, said = clover("status")

    assert (code, "another command is bringing it up" in said, "clover down" in said) == (5, True, False)


def test_something_else_on_the_socket_is_no_traceback(clover, bring_up):
    folder = bring_up("sdc")
    (folder / "api.sock").unlink()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "api.sock"))

        assert clover("status")[0] == 5


def test_status_as_json_is_the_answer_of_the_node(clover, bring_up):
    bring_up("sdc")

    code, out, _ = clover("status", "--json")

    assert (code, [entry["workload"] for entry in json.loads(out)["workloads"]]) == (
        0,
        ["http-lb-v1", "http-lb-v2", "web-cache"],
    )


def test_traces_sends_each_filter_in_the_units_of_the_api(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover(
        "traces", "--service", "http-lb", "--status", "5xx", "--min-duration", "1.5s", "--since", "1m30s",
        "--attribute", "http.method=GET", "--attribute", "x=a=b", "--limit", "5",
    )  # fmt: skip

    assert (code, out) == (0, "no traces fit\n")
    query, attributes = node.asked.pop()
    assert attributes == ["http.method=GET", "x=a=b"]
    del query["attribute"]
    assert query == {"service": "http-lb", "status": "5xx", "minDurationMs": "1500", "sinceS": "90", "limit": "5"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "5"],
        ["--min-duration", "x"],
        ["--attribute", "novalue"],
        ["--since", "-1s"],
        ["--since", "99999999999999d"],
    ],
)
def test_a_filter_that_says_nothing_is_refused_before_the_node_is_asked(clover, bring_up, node, wrong):
    bring_up("sdc")

    code, _, said = clover("traces", *wrong)

    assert (code, "[CLV5206]" in said, node.asked) == (2, True, [])


def test_a_whole_traceresponse_header_names_a_trace(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("trace", "00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01")

    assert node.asked == [("0af7651916cd43dd8448eb211c80319c", 3.0)]
    assert (code, "blocked by the firewall's rules" in out) == (0, True)


def test_trace_as_json_keeps_the_names_that_scripts_rely_on(clover, bring_up):
    bring_up("sdc")

    trace = json.loads(clover("trace", "latest", "--json")[1])

    assert {"traceId", "complete", "durationMs", "spans", "logs"} <= trace.keys()
    assert {
        "spanId",
        "parentSpanId",
        "service",
        "name",
        "kind",
        "startUnixNano",
        "durationMs",
        "status",
        "attributes",
    } <= (trace["spans"][0].keys())


def test_apply_sends_every_file_of_a_folder_and_speaks_kubectls_words(clover, bring_up, node, tmp_path):
    bring_up("sdc")
    (tmp_path / "b.yml").write_text("b: 1\n")
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "notes.txt").write_text("no policy")

    code, out, _ = clover("apply", str(tmp_path))

    assert (code, out) == (0, "virtualservice/http-lb configured\n10 sidecars acknowledged in 12.3 ms\n")
    assert node.asked == [([(f"{tmp_path}/a.yaml", "a: 1\n"), (f"{tmp_path}/b.yml", "b: 1\n")], False)]


def test_a_dry_run_says_so_and_acknowledges_nothing(clover, bring_up, node, tmp_path):
    bring_up("sdc")
    (tmp_path / "a.yaml").write_text("a: 1\n")

    assert clover("apply", "--dry-run", str(tmp_path))[1] == "virtualservice/http-lb configured (dry run)\n"
    assert node.asked[0][1] is True


def test_everything_that_cannot_be_read_is_told_at_once_and_nothing_is_sent(clover, bring_up, node, tmp_path):
    bring_up("sdc")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").mkdir()

    code, _, said = clover("apply", str(tmp_path / "lost.yaml"), str(tmp_path / "binary.yaml"), str(tmp_path / "empty"))

    assert (code, node.asked) == (2, [])
    assert [word for word in ("CLV1001", "CLV1002", "CLV5207") if word in said] == ["CLV1001", "CLV1002", "CLV5207"]


@pytest.mark.parametrize("command", [["apply"], ["diff"], ["delete", "-f"]], ids=" ".join)
def test_a_folder_that_may_not_be_read_is_no_traceback(clover, bring_up, node, tmp_path, monkeypatch, command):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    bring_up("sdc")

    with monkeypatch.context() as patched:
        patched.setattr("clover.cli.yaml_files.os.scandir", refuse)
        answer = clover(*command, str(tmp_path))

    said = f"{tmp_path}: error: {str(tmp_path)!r} cannot be read: Permission denied [CLV1001]\n"
    assert (answer, node.asked) == ((2, "", said), [])


def test_every_file_of_a_folder_that_cannot_be_read_is_told_and_what_is_below_it_is_not_meant(clover, tmp_path):
    (tmp_path / "a.yaml").symlink_to("nowhere")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "below.yaml").mkdir()
    (tmp_path / "below.yaml" / "c.yaml").write_bytes(b"\xff\xfe")

    code, _, said = clover("apply", str(tmp_path))

    assert (code, [line.partition(": ")[0] for line in said.splitlines() if " error: " in line]) == (
        2,
        [f"{tmp_path}/a.yaml", f"{tmp_path}/b.yaml:1:1"],
    )


def test_files_without_a_document_are_not_applied_in_silence(clover, bring_up, tmp_path):
    bring_up("sdc")
    (tmp_path / "empty.yaml").touch()

    code, out, said = clover("apply", str(tmp_path / "empty.yaml"))

    assert (code, out, "there is no document in it [CLV5207]" in said) == (2, "", True)


def test_what_the_node_refuses_is_printed_with_its_exit_code(clover, bring_up, tmp_path):
    bring_up("sdc")
    (tmp_path / "vs.yaml").write_text("bad: true\n")

    assert clover("apply", str(tmp_path / "vs.yaml")) == (
        2,
        "",
        "vs.yaml:3:5: error: it is bad [CLV4404]\n    hint: make it good\n",
    )


def test_get_knows_short_names_and_shows_the_split(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("get", "vs/http-lb")

    assert node.asked == [("VirtualService", "http-lb", "")]
    assert (code, out.splitlines()[1].split(maxsplit=4)) == (
        0,
        ["VirtualService", "http-lb", "default", "http-lb", "http-lb@v1 90%, http-lb@v2 10%"],
    )


def test_get_takes_several_kinds_with_commas_as_kubectl_does(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("get", "vs,dr,virtualservices", "-o", "json")

    assert node.asked == [("VirtualService", "", ""), ("DestinationRule", "", "")]
    assert (code, len(json.loads(out)["items"])) == (0, 2)


def test_what_get_prints_as_yaml_can_be_applied(clover, bring_up):
    bring_up("sdc")

    (document,) = yaml.safe_load_all(clover("get", "-o", "yaml")[1])

    assert (document["kind"], document["metadata"]["name"]) == ("VirtualService", "http-lb")


def test_delete_wants_a_kind_and_a_name(clover, bring_up, node):
    bring_up("sdc")

    said = "virtualservice/http-lb deleted\n10 sidecars acknowledged in 3.00 ms\n"
    assert clover("delete", "vs/http-lb") == (0, said, "")
    assert node.asked == [([("VirtualService", "http-lb", "")], [], False, False)]
    for wrong in (["vs"], ["vs/"], ["/x"], ["a/b/c"], ["vs", "a", "b"], ["vs/a", "b"], []):
        assert clover("delete", *wrong)[0] == 2


def test_delete_takes_files_folders_and_standard_input_as_kubectl_does(clover, bring_up, node, tmp_path, monkeypatch):
    bring_up("sdc")
    (tmp_path / "b.yaml").write_text("b: 1\n")
    (tmp_path / "a.yaml").write_text("a: 1\n")
    monkeypatch.setattr("clover.cli.yaml_files.standard_input", lambda: "c: 1\n")

    code, out, _ = clover("delete", "-f", str(tmp_path), "-f", "-", "--dry-run")

    texts = [(f"{tmp_path}/a.yaml", "a: 1\n"), (f"{tmp_path}/b.yaml", "b: 1\n"), ("stdin", "c: 1\n")]
    assert node.asked == [([], texts, True, False)]
    assert (code, out.splitlines()[-1]) == (0, "gateway/stdin deleted (dry run)")


@pytest.mark.parametrize(
    "wrong", [["vs/a", "-f", "x.yaml"], ["-f", "x.yaml", "-n", "shop"], ["-f", "/nowhere/x.yaml"]], ids=" ".join
)
def test_a_deletion_that_says_two_things_or_nothing_readable_is_refused(clover, bring_up, node, wrong):
    bring_up("sdc")

    assert (clover("delete", *wrong)[0], node.asked) == (2, [])


def test_what_is_not_there_need_not_be_an_error(clover, bring_up, tmp_path):
    bring_up("sdc")
    (tmp_path / "a.yaml").touch()

    assert clover("delete", "-f", str(tmp_path / "a.yaml"))[0] == 2
    assert clover("delete", "-f", str(tmp_path / "a.yaml"), "--ignore-not-found") == (0, "nothing of it is there\n", "")


def test_a_diff_shows_what_an_apply_would_change_and_ends_with_1_as_kubectls(clover, bring_up, node, tmp_path):
    bring_up("sdc")
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "same.yaml").write_text("same: 1\n")

    code, out, said = clover("diff", "-f", str(tmp_path / "a.yaml"))

    assert (code, said, node.asked[0][1]) == (1, "", True)
    assert out.splitlines()[:2] == [
        "--- in force: virtualservice/http-lb -n default",
        "+++ applied: virtualservice/http-lb -n default",
    ]
    assert [line for line in out.splitlines()[2:] if line[0] in "+-"] == ["-    - http-lb", "+    - web"]
    assert clover("diff", str(tmp_path / "same.yaml")) == (0, "", "")
    assert clover("diff")[0] == 2


def test_what_a_diff_finds_is_for_programs_too(clover, bring_up, tmp_path):
    bring_up("sdc")
    (tmp_path / "a.yaml").write_text("a: 1\n")

    code, out, _ = clover("diff", str(tmp_path / "a.yaml"), "--json")

    assert (code, json.loads(out)["resources"][0]["before"]["spec"]) == (1, {"hosts": ["http-lb"]})


def test_kind_and_name_may_be_two_words_as_kubectl_takes_them(clover, bring_up, node):
    bring_up("sdc")

    assert clover("get", "vs", "http-lb")[0] == clover("delete", "vs", "http-lb", "-n", "shop")[0] == 0
    assert node.asked == [
        ("VirtualService", "http-lb", ""),
        ([("VirtualService", "http-lb", "shop")], [], False, False),
    ]


def test_what_get_prints_as_json_is_a_list_as_kubectl_prints_it(clover, bring_up):
    bring_up("sdc")

    said = json.loads(clover("get", "-o", "json")[1])

    assert (said["apiVersion"], said["kind"], len(said["items"])) == ("v1", "List", 1)


@pytest.mark.parametrize("command", [["get"], ["get", "vs/http-lb"], ["proxy", "gateway", "listeners"]], ids=" ".join)
def test_json_is_asked_for_in_either_way(clover, bring_up, command):
    bring_up("sdc")

    assert clover(*command, "--json") == clover(*command, "-o", "json")
    assert json.loads(clover(*command, "--json")[1])


def test_apply_takes_files_as_kubectl_does(clover, bring_up, tmp_path):
    bring_up("sdc")
    (tmp_path / "a.yaml").write_text("kind: A")

    assert clover("apply", "-f", str(tmp_path / "a.yaml")) == clover("apply", str(tmp_path / "a.yaml"))
    assert "name a file, a folder, or - for standard input" in clover("apply")[2]


def test_proxy_asks_the_sidecar_of_one_version(clover, bring_up, node):
    bring_up("sdc")

    assert clover("proxy", "http-lb@v2", "listeners") == (0, "no listeners\n", "")
    assert clover("proxy", "gateway", "listeners", "-o", "json")[1] == '{\n  "listener_statuses": []\n}\n'
    assert node.asked == [("http-lb-v2", "listeners"), ("gateway", "listeners")]


def test_a_function_with_several_versions_wants_one_named_and_an_unknown_one_lists_what_there_is(clover, bring_up):
    bring_up("sdc")

    assert "name one: http-lb@v1, http-lb@v2" in clover("proxy", "http-lb")[2]
    assert "it has: gateway, http-lb@v1, http-lb@v2, web-cache@v1" in clover("proxy", "http-lp")[2]
    assert "it has: http-lb@v1, http-lb@v2" in clover("proxy", "http-lb@v3")[2]


def test_logs_of_several_versions_carry_the_workloads_name(clover, bring_up):
    folder = bring_up("sdc")
    for workload in ("http-lb-v1", "http-lb-v2"):
        logs = folder / "w" / workload / "logs"
        logs.mkdir(parents=True)
        (logs / "engine.log").write_text(f"one from {workload}\ntwo\nthree\n")

    assert clover("logs", "http-lb@v2", "--tail", "1")[1] == "three\n"
    assert clover("logs", "http-lb", "--tail", "3")[1].splitlines() == [
        "http-lb-v1: one from http-lb-v1",
        "http-lb-v1: two",
        "http-lb-v1: three",
        "http-lb-v2: one from http-lb-v2",
        "http-lb-v2: two",
        "http-lb-v2: three",
    ]


def test_the_way_out_of_the_chain_has_a_log_of_its_own(clover, bring_up):
    logs = bring_up("sdc") / "w" / "gateway" / "logs"
    logs.mkdir(parents=True)

    code, _, said = clover("logs", "way-out")
    assert (code, "nothing leads out of the chain" in said, "[CLV5080]" in said) == (2, True, True)

    (logs / "way-out.log").write_text("api.example.com:443: no answer\n")
    assert clover("logs", "way-out") == (0, "api.example.com:443: no answer\n", "")


def test_a_function_without_an_ambassador_is_not_answered_with_nothing(clover, bring_up):
    bring_up("sdc")

    code, _, said = clover("logs", "web-cache", "--ambassador")

    assert (code, "'web-cache@v1' has no ambassador [CLV5080]" in said) == (2, True)


def test_alerts_are_rows_with_the_request_that_they_are_about(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("alerts", "--since", "15m", "--limit", "7", "--function", "ids")

    assert node.asked == [{"sinceS": "900", "function": "ids", "limit": "7"}]
    assert code == 0
    assert "a scanner  GET shop.example/search?q=shoes" in out.splitlines()[1]


def test_who_follows_gets_a_line_for_each_until_the_chain_ends(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("alerts", "--follow")

    assert node.asked == [("alerts", {"limit": "100", "follow": "true"})]
    assert (code, [line.split()[4] for line in out.splitlines()[1:]]) == (0, ["192.0.2.7", "2001:db8:1234:5678::1"])
    assert [json.loads(line)["ruleId"] for line in clover("alerts", "-f", "--json")[1].splitlines()] == [9000001] * 2


def test_changes_as_json_are_the_nodes_answer(clover, bring_up, node):
    bring_up("sdc")

    assert [change["function"] for change in json.loads(clover("changes", "--json")[1])] == ["mesh", "http-lb", "waf"]
    assert clover("changes", "--since", "soon")[0] == 2


def test_what_was_lost_is_listed_with_the_reason(clover, bring_up, node):
    bring_up("sdc")

    code, out, _ = clover("lost", "--function", "web")

    assert (code, node.asked) == (0, [{"function": "web", "limit": "100"}])
    assert "denied by AuthorizationPolicy default/web (rule 1)" in out


def test_traces_of_control_calls_are_asked_for_by_name(clover, bring_up, node):
    bring_up("sdc")

    clover("traces", "--control")

    assert node.asked[0][0]["control"] == "true"


def test_down_says_so_when_the_run_folder_is_somebody_elses(clover, run_root, monkeypatch):
    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(run_root), "iterdir", denied)

    assert clover("down", "--all") == (
        3,
        "",
        f"{run_root}: error: it cannot be read: Permission denied [CLV2105]\n"
        "    hint: set CLOVER_RUN to a folder of your own\n",
    )
