"""Every rule of the chain file, each with the message, the place and the hint that its author sees."""

from __future__ import annotations

import pytest

from clover.errors import Problem
from clover.spec import load

HEAD = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: edge}
spec:
"""
GATEWAY = "  gateway: {to: a}\n"


def check(text: str) -> tuple[Problem, ...]:
    return load.inspect_text(text, "chain.yaml")[1]


def check_functions(*functions: str, gateway: str = GATEWAY) -> tuple[Problem, ...]:
    """Check a chain whose functions stand on lines 7, 8 ..., four columns in."""
    return check(HEAD + gateway + "  functions:\n" + "".join(f"    {function}\n" for function in functions))


def only(problems: tuple[Problem, ...]) -> str:
    (problem,) = problems
    return str(problem)


def codes(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.code for problem in problems]


SERVER = "a: {type: server}"
A_NAME = "expected the name of a function, or a list of names"
QUOTES = "write it in quotes"


class TestDocument:
    def test_an_empty_file_is_not_a_chain(self):
        assert only(check("# nothing\n")) == (
            "chain.yaml: error: 'chain.yaml' is empty, expected a document of kind 'Chain' [CLV1105]\n"
            "    hint: 'clover schema' prints what a chain file may say"
        )

    def test_a_second_document_is_refused_where_it_begins(self):
        text = HEAD + GATEWAY + f"  functions: {{{SERVER}}}\n---\nkind: VirtualService\n"

        assert only(check(text)) == (
            "chain.yaml:8:1: error: 'chain.yaml' has 2 documents, expected one of kind 'Chain' [CLV1104]\n"
            "    hint: keep policies in files of their own: 'clover apply FILE' reads them"
        )

    def test_a_document_of_another_kind_gets_one_problem_however_wrong_its_fields(self):
        assert only(check("apiVersion: v1\nkind: Service\nspec: {ports: []}\n")) == (
            "chain.yaml:2:7: error: the document is of kind 'Service', expected 'Chain' [CLV1106]\n"
            "    hint: 'clover apply FILE' is for policies"
        )

    def test_another_version_of_the_format_is_refused(self):
        text = HEAD.replace("v1alpha1", "v9") + GATEWAY + f"  functions: {{{SERVER}}}\n"

        assert only(check(text)) == (
            "chain.yaml:1:13: error: 'apiVersion' is text 'clover/v9', expected 'clover/v1alpha1' [CLV1106]"
        )

    def test_bad_yaml_is_refused_at_its_place(self):
        assert [(problem.code, problem.where) for problem in check(HEAD + "  gateway: {to: a\n  functions:\n")] == [
            ("CLV1004", "chain.yaml:6:12")
        ]

    def test_what_is_missing_is_named_with_what_to_add(self):
        assert [(problem.where, problem.what, problem.hint) for problem in check("kind: Chain\n")] == [
            ("chain.yaml:1:1", "the document has no 'apiVersion'", "add 'apiVersion: clover/v1alpha1'"),
            ("chain.yaml:1:1", "the document has no 'metadata'", "add 'metadata: {name: ...}'"),
            ("chain.yaml:1:1", "the document has no 'spec'", "add 'spec:'"),
        ]


class TestShape:
    def test_a_misspelt_field_is_answered_with_the_nearest_one(self):
        assert only(check_functions("a: {type: server, comand: [x]}")) == (
            "chain.yaml:7:23: error: function 'a' has no field 'comand' [CLV1101]\n    hint: did you mean 'command'?"
        )

    def test_a_field_that_resembles_nothing_is_answered_with_all_there_are(self):
        assert only(check_functions(SERVER, gateway="  gateway: {to: a, zzz: 1}\n")) == (
            "chain.yaml:5:20: error: the gateway has no field 'zzz' [CLV1101]\n    hint: fields: to, port, address"
        )

    def test_a_misspelt_field_of_a_version_names_the_version(self):
        problem, *_ = check_functions(
            "a: {type: load-balancer, versions: {v1: {engin: nginx, to: b}}}", "b: {type: server}"
        )

        assert str(problem) == (
            "chain.yaml:7:46: error: version 'v1' of function 'a' has no field 'engin' [CLV1101]\n"
            "    hint: did you mean 'engine'?"
        )

    def test_a_function_without_a_type_is_told_the_types(self):
        assert only(check_functions("a: {to: b}", "b: {type: server}")) == (
            "chain.yaml:7:5: error: function 'a' has no 'type' [CLV1102]\n"
            "    hint: types: firewall, load-balancer, cache, server"
        )

    def test_a_function_without_a_body_is_refused(self):
        assert only(check_functions("a:")) == (
            "chain.yaml:7:7: error: function 'a' is nothing, expected a mapping [CLV1103]"
        )

    @pytest.mark.parametrize(
        ("function", "what", "hint"),
        [
            ("{type: server, port: '80'}", "function 'a': 'port' is text '80', expected a whole number", ""),
            ("{type: server, port: 8.5}", "function 'a': 'port' is the number 8.5, expected a whole number", ""),
            ("{type: server, port: yes}", "function 'a': 'port' is the boolean true, expected a whole number", ""),
            ("{type: cache, to: }", f"function 'a': 'to' is nothing, {A_NAME}", ""),
            ("{type: cache, to: {b: 1}}", f"function 'a': 'to' is a mapping, {A_NAME}", ""),
            ("{type: cache, to: [b, 1]}", "function 'a': item 2 of 'to' is the number 1, expected text", QUOTES),
            ("{type: cache, to: [[b]]}", "function 'a': item 1 of 'to' is a list, expected text", ""),
            ("{type: server, version: 2}", "function 'a': 'version' is the number 2, expected text", QUOTES),
            ("{type: server, versions: [v1]}", "function 'a': 'versions' is a list, expected a mapping", ""),
            (
                "{type: server, command: python3 'my server.py'}",
                "function 'a': 'command' is text \"python3 'my server.py'\", "
                "expected a list: the program, then its arguments",
                'write ["python3", "my server.py"]',
            ),
        ],
    )  # fmt: skip
    def test_a_value_of_the_wrong_kind_says_what_is_expected(self, function, what, hint):
        (problem,) = check_functions(f"a: {function}")

        assert (problem.code, problem.what, problem.hint) == ("CLV1103", what, hint)

    def test_a_gateway_sends_to_one_function(self):
        assert only(check_functions(SERVER, gateway="  gateway: {to: [a]}\n")) == (
            "chain.yaml:5:17: error: the gateway: 'to' is a list, expected text [CLV1103]"
        )

    def test_a_label_value_must_be_text(self):
        text = HEAD.replace("edge}", "edge, labels: {tier: 1}}") + GATEWAY + f"  functions: {{{SERVER}}}\n"

        assert only(check(text)) == (
            "chain.yaml:3:39: error: 'metadata.labels.tier' is the number 1, expected text [CLV1103]\n"
            "    hint: write it in quotes"
        )


class TestTypesAndEngines:
    def test_an_unknown_type_is_told_the_types(self):
        assert only(check_functions("a: {type: ids}")) == (
            "chain.yaml:7:15: error: function 'a' has the type 'ids', which does not exist [CLV1201]\n"
            "    hint: types: firewall, load-balancer, cache, server"
        )

    def test_a_misspelt_type_is_answered_with_the_nearest_one(self):
        (problem,) = check_functions("a: {type: loadbalancer}")

        assert problem.hint == "did you mean 'load-balancer'? types: firewall, load-balancer, cache, server"

    @pytest.mark.parametrize("engine", ["varnish", "suricata", "snort"])
    def test_an_unknown_engine_is_told_the_engines_of_the_type(self, engine):
        assert only(check_functions(f"a: {{type: cache, engine: {engine}, to: b}}", "b: {type: server}")) == (
            f"chain.yaml:7:30: error: function 'a' is a cache, which has no engine {engine!r} [CLV1202]\n"
            "    hint: engines of a cache: nginx"
        )

    def test_a_misspelt_engine_is_answered_with_the_nearest_one(self):
        (problem,) = check_functions("a: {type: load-balancer, engine: ha-proxy, to: b}", "b: {type: server}")

        assert problem.hint == "did you mean 'haproxy'? engines of a load-balancer: haproxy, nginx"

    def test_an_engine_of_another_type_is_refused(self):
        (problem,) = check_functions("a: {type: server, engine: haproxy}")

        assert (problem.code, problem.hint) == ("CLV1202", "engines of a server: nginx, command")

    def test_each_of_several_versions_names_its_engine(self):
        versions = "a: {type: load-balancer, versions: {v1: {to: b}, v2: {engine: nginx, to: b}}}"

        assert only(check_functions(versions, "b: {type: server}")) == (
            "chain.yaml:7:41: error: version 'v1' of function 'a' has no engine; "
            "each of several versions names its own [CLV1203]\n"
            "    hint: add 'engine:' with one of haproxy, nginx"
        )

    def test_a_version_with_a_command_needs_no_engine(self):
        assert check_functions("a: {type: server, versions: {v1: {command: [x]}, v2: {engine: nginx}}}") == ()

    def test_a_single_version_has_the_default_engine_of_its_type(self):
        assert check_functions("a: {type: load-balancer, versions: {v1: {to: b}}}", "b: {type: server}") == ()

    @pytest.mark.parametrize("field", ["engine: nginx", "to: b", "command: [x]", "version: v1"])
    def test_a_function_is_written_with_versions_or_without(self, field):
        name = field.split(":")[0]

        (problem,) = check_functions(f"a: {{type: server, {field}, versions: {{v1: {{}}}}}}")

        assert (problem.code, problem.where) == ("CLV1216", "chain.yaml:7:23")
        assert problem.what == f"function 'a' has both {name!r} and 'versions'"

    def test_versions_are_at_least_one(self):
        assert only(check_functions("a: {type: server, versions: {}}")) == (
            "chain.yaml:7:33: error: function 'a': 'versions' is empty [CLV1216]\n"
            "    hint: add a version, or remove 'versions'"
        )


class TestCommands:
    def test_the_engine_command_needs_a_command(self):
        assert only(check_functions("a: {type: server, engine: command}")) == (
            "chain.yaml:7:31: error: function 'a' has the engine 'command' and no command [CLV1215]\n"
            "    hint: add 'command:' with the program and its arguments"
        )

    def test_a_command_is_not_empty(self):
        assert only(check_functions("a: {type: server, command: []}")) == (
            "chain.yaml:7:32: error: function 'a': 'command' is empty [CLV1215]\n"
            "    hint: name the program and its arguments"
        )

    def test_the_program_of_a_command_is_not_empty(self):
        assert codes(check_functions("a: {type: server, command: [' ', x]}")) == ["CLV1215"]

    def test_only_a_server_runs_a_command(self):
        assert only(check_functions("a: {type: cache, command: [x], to: b}", "b: {type: server}")) == (
            "chain.yaml:7:31: error: function 'a' is a cache; only a server runs a command [CLV1215]\n"
            "    hint: remove 'command', or write 'type: server'"
        )

    def test_a_command_and_another_engine_exclude_each_other(self):
        assert only(check_functions("a: {type: server, engine: nginx, command: [x]}")) == (
            "chain.yaml:7:31: error: function 'a' has both the engine 'nginx' and a command [CLV1215]\n"
            "    hint: remove one of them"
        )


class TestTargets:
    def test_a_misspelt_target_is_reported_where_it_is_written_with_the_nearest_name(self):
        assert only(check_functions("a: {type: cache, to: [servr1]}", "server1: {type: server}")) == (
            "chain.yaml:7:27: error: function 'a' sends to 'servr1', which is not in the chain [CLV1204]\n"
            "    hint: did you mean 'server1'?"
        )

    def test_a_target_that_resembles_nothing_is_answered_with_all_functions(self):
        (problem,) = check_functions("a: {type: cache, to: [b, qqqq]}", "b: {type: server}")

        assert problem.hint == "functions of this chain: a, b"

    def test_the_target_of_a_version_names_the_version(self):
        versions = "a: {type: load-balancer, versions: {v1: {engine: nginx, to: bb}, v2: {engine: nginx, to: b}}}"

        assert only(check_functions(versions, "b: {type: server}")) == (
            "chain.yaml:7:65: error: version 'v1' of function 'a' sends to 'bb', which is not in the chain [CLV1204]\n"
            "    hint: did you mean 'b'?"
        )

    def test_a_gateway_that_leads_nowhere_is_one_problem(self):
        assert only(check_functions("web: {type: server}", gateway="  gateway: {to: wbe}\n")) == (
            "chain.yaml:5:17: error: the gateway sends to 'wbe', which is not in the chain [CLV1204]\n"
            "    hint: did you mean 'web'?"
        )

    def test_a_gateway_without_a_target_is_one_problem(self):
        assert only(check_functions("web: {type: server}", gateway="  gateway: {}\n")) == (
            "chain.yaml:5:3: error: the gateway has no 'to' [CLV1102]\n    hint: add 'to:'"
        )

    def test_a_chain_without_a_gateway_is_one_problem(self):
        assert only(check_functions("web: {type: server}", gateway="")) == (
            "chain.yaml:4:1: error: 'spec' has no 'gateway' [CLV1102]\n    hint: add 'gateway:'"
        )

    def test_a_mirror_goes_to_a_function_of_the_chain(self):
        assert only(check_functions("a: {type: server, mirrorTo: ids}")) == (
            "chain.yaml:7:33: error: function 'a' mirrors to 'ids', which is not in the chain [CLV1204]\n"
            "    hint: functions of this chain: a"
        )

    def test_a_function_that_has_another_problem_still_counts_as_existing(self):
        assert codes(check_functions("a: {type: cache, to: b}", "b: {type: sever}")) == ["CLV1201"]

    def test_a_target_is_named_once(self):
        assert only(check_functions("a: {type: cache, to: [b, b]}", "b: {type: server}")) == (
            "chain.yaml:7:30: error: function 'a' sends to 'b' twice [CLV1208]\n"
            "    hint: name it once; a VirtualService can give it more weight"
        )

    @pytest.mark.parametrize("type_", ["firewall", "load-balancer", "cache"])
    def test_what_is_no_server_sends_somewhere(self, type_):
        assert only(check_functions(f"a: {{type: {type_}}}")) == (
            f"chain.yaml:7:5: error: function 'a' is a {type_} and sends nowhere [CLV1206]\n"
            "    hint: add 'to:' with the function that gets its requests"
        )

    @pytest.mark.parametrize("type_", ["firewall", "load-balancer", "cache"])
    def test_what_is_no_server_may_send_to_several(self, type_):
        assert check_functions(f"a: {{type: {type_}, to: [b, c]}}", "b: {type: server}", "c: {type: server}") == ()

    def test_a_server_sends_nowhere(self):
        assert str(check_functions("a: {type: server, to: b}", "b: {type: server}")[0]) == (
            "chain.yaml:7:27: error: function 'a' is a server and sends to 'b'; a server answers by itself [CLV1207]\n"
            "    hint: remove 'to', or choose another type"
        )


class TestCycles:
    def test_a_cycle_is_reported_once_as_a_path(self):
        assert only(check_functions("a: {type: cache, to: b}", "b: {type: cache, to: a}")) == (
            "chain.yaml:8:26: error: function 'b' sends back to where its requests come from: a → b → a [CLV1205]\n"
            "    hint: remove one of these steps"
        )

    def test_the_way_into_a_cycle_is_not_part_of_it(self):
        (problem,) = check_functions(
            "a: {type: cache, to: b}", "b: {type: cache, to: [c, d]}", "c: {type: cache, to: b}", "d: {type: server}"
        )

        assert problem.what.endswith(": b → c → b")

    def test_a_function_that_sends_to_itself_is_a_cycle(self):
        (problem,) = check_functions("a: {type: cache, to: a}")

        assert problem.what.endswith(": a → a")

    def test_a_copy_of_a_request_must_come_to_an_end_too(self):
        (problem,) = check_functions("a: {type: cache, to: b}", "b: {type: server, mirrorTo: a}")

        assert (problem.code, problem.where) == ("CLV1205", "chain.yaml:8:33")

    def test_a_function_that_mirrors_to_itself_is_a_cycle(self):
        assert codes(check_functions("a: {type: server, mirrorTo: a}")) == ["CLV1205"]

    def test_two_cycles_are_two_problems(self):
        found = check_functions(
            "a: {type: cache, to: [b, c]}",
            "b: {type: cache, to: a}",
            "c: {type: cache, to: [d]}",
            "d: {type: cache, to: c}",
        )

        assert [problem.what.rsplit(": ", 1)[1] for problem in found] == ["a → b → a", "c → d → c"]

    def test_two_ways_to_one_function_are_no_cycle(self):
        assert check_functions(
            "a: {type: cache, to: [b, c]}", "b: {type: cache, to: d}", "c: {type: cache, to: d}", "d: {type: server}"
        ) == ()  # fmt: skip


class TestReachability:
    def test_a_function_that_gets_no_requests_is_a_warning(self):
        assert only(check_functions(SERVER, "b: {type: server}")) == (
            "chain.yaml:8:5: warning: function 'b' gets no requests: nothing leads to it from the gateway [CLV1214]\n"
            "    hint: name it in a 'to', or remove it"
        )

    def test_a_warning_does_not_stop_the_chain(self):
        chain, problems = load.inspect_text(
            HEAD + GATEWAY + f"  functions: {{{SERVER}, b: {{type: server}}}}\n", "chain.yaml"
        )

        assert chain is not None
        assert codes(problems) == ["CLV1214"]

    def test_a_mirror_reaches_what_it_copies_to(self):
        assert check_functions("a: {type: server, mirrorTo: b}", "b: {type: server}") == ()

    def test_a_misspelt_target_does_not_make_the_right_one_unreachable_too(self):
        assert codes(check_functions("a: {type: cache, to: bb}", "b: {type: server}")) == ["CLV1204"]

    def test_nothing_is_called_unreachable_while_what_leads_there_may_be_unreadable(self):
        assert codes(check_functions("a: {type: cache, too: b}", "b: {type: server}")) == ["CLV1101"]

    def test_a_chain_without_functions_is_refused(self):
        assert "CLV1218" in codes(check(HEAD + GATEWAY + "  functions: {}\n"))


class TestNames:
    @pytest.mark.parametrize("name", ["Web", "web_1", "1web", "-web", "web-", "w.b", "wéb", "'web '", "w" * 41, "''"])
    def test_a_function_is_named_like_a_host(self, name):
        found = check_functions(SERVER, f"{name}: {{type: server}}")

        assert codes(tuple(problem for problem in found if problem.severity == "error")) == ["CLV1210"]
        assert found[0].where == "chain.yaml:8:5"

    def test_a_name_that_is_nearly_right_is_offered_right(self):
        (problem,) = check_functions("Web_Cache: {type: server}", gateway="  gateway: {to: Web_Cache}\n")

        assert problem.hint.endswith("e.g. 'web-cache'")

    @pytest.mark.parametrize("name", ["a", "w" * 40, "a-1", "clover-server1"])
    def test_a_label_is_a_name(self, name):
        assert check_functions(f"{name}: {{type: server}}", gateway=f"  gateway: {{to: {name}}}\n") == ()

    def test_a_version_is_named_like_a_host(self):
        assert codes(check_functions("a: {type: server, versions: {V1: {}}}")) == ["CLV1210"]

    def test_a_version_may_begin_with_a_digit(self):
        assert check_functions("a: {type: server, version: '2'}") == ()

    @pytest.mark.parametrize(("metadata", "column"), [("name: Edge", 18), ("name: edge, namespace: a.b", 35)])
    def test_the_chain_and_its_namespace_are_labels(self, metadata, column):
        text = HEAD.replace("name: edge", metadata) + GATEWAY + f"  functions: {{{SERVER}}}\n"

        assert [(problem.code, problem.where) for problem in check(text)] == [("CLV1210", f"chain.yaml:3:{column}")]

    @pytest.mark.parametrize("name", ["gateway", "control-agent", "localhost"])
    def test_a_reserved_name_is_refused(self, name):
        (problem,) = check_functions(f"{name}: {{type: server}}", gateway=f"  gateway: {{to: {name}}}\n")

        assert problem.code == "CLV1211"

    def test_no_two_workloads_have_one_name(self):
        found = check_functions(
            "a: {type: cache, to: [b, b-v1]}",
            "b: {type: server, versions: {v1: {engine: nginx}, v2: {engine: nginx}}}",
            "b-v1: {type: server}",
        )

        assert only(found) == (
            "chain.yaml:9:5: error: function 'b-v1' and function 'b' both have a workload 'b-v1' [CLV1212]\n"
            "    hint: rename one of them"
        )


class TestPortsAndAddresses:
    @pytest.mark.parametrize("port", [0, -1, 65536, 10**12])
    def test_a_port_has_sixteen_bits(self, port):
        assert only(check_functions(SERVER, gateway=f"  gateway: {{to: a, port: {port}}}\n")) == (
            f"chain.yaml:5:26: error: the gateway: 'port' is {port}, expected 1 to 65535 [CLV1213]"
        )

    @pytest.mark.parametrize(
        ("port", "owner"),
        [(50054, "its ambassador's"), (15000, "one of its sidecar's"), (15090, "one of its sidecar's")],
    )
    def test_a_port_that_its_companions_listen_on_is_taken(self, port, owner):
        assert only(check_functions(f"a: {{type: server, port: {port}}}")) == (
            f"chain.yaml:7:29: error: function 'a' listens on port {port}, which is {owner} [CLV1213]\n"
            "    hint: ports 50054 and 15000 to 15090 are taken; choose another"
        )

    @pytest.mark.parametrize("port", [1, 80, 9180, 14999, 15091, 65535])
    def test_any_other_port_is_free(self, port):
        assert check_functions(f"a: {{type: server, port: {port}}}") == ()

    @pytest.mark.parametrize("address", ["localhost", "'::1'", "127.0.0.1:80", "256.1.1.1", "''"])
    def test_a_gateway_listens_on_an_ipv4_address(self, address):
        (problem,) = check_functions(SERVER, gateway=f"  gateway: {{to: a, address: {address}}}\n")

        assert (problem.code, problem.where) == ("CLV1219", "chain.yaml:5:29")

    def test_a_chain_has_a_limit_of_workloads(self):
        many = [f"s{number}: {{type: server}}" for number in range(64)]

        assert codes(check_functions(*many, "a: {type: cache, to: s1}")) == ["CLV1217"]
        assert "CLV1217" not in codes(check_functions(*many))


def test_all_problems_come_at_once_in_the_order_of_the_file():
    found = check_functions(
        "a: {type: cach, to: x}",
        "b: {type: cache, engine: nginz, to: c}",
        "c: {type: load-balancer, to: [b, zz]}",
        "D: {type: server, port: 70000}",
        gateway="  gateway: {to: aa, prt: 1}\n",
    )

    assert [(problem.code, problem.where) for problem in found] == [
        ("CLV1101", "chain.yaml:5:21"),
        ("CLV1201", "chain.yaml:7:15"),
        ("CLV1202", "chain.yaml:8:30"),
        ("CLV1205", "chain.yaml:9:35"),
        ("CLV1204", "chain.yaml:9:38"),
        ("CLV1213", "chain.yaml:10:29"),
    ]
