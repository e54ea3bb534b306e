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
            "    hint: types: firewall, load-balancer, cache, ids, server"
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
        assert only(check_functions("a: {type: router}")) == (
            "chain.yaml:7:15: error: function 'a' has the type 'router', which does not exist [CLV1201]\n"
            "    hint: types: firewall, load-balancer, cache, ids, server"
        )

    def test_a_misspelt_type_is_answered_with_the_nearest_one(self):
        (problem,) = check_functions("a: {type: loadbalancer}")

        assert problem.hint == "did you mean 'load-balancer'? types: firewall, load-balancer, cache, ids, server"

    @pytest.mark.parametrize("engine", ["squid", "suricata", "snort"])
    def test_an_unknown_engine_is_told_the_engines_of_the_type(self, engine):
        assert only(check_functions(f"a: {{type: cache, engine: {engine}, to: b}}", "b: {type: server}")) == (
            f"chain.yaml:7:30: error: function 'a' is a cache, which has no engine {engine!r} [CLV1202]\n"
            "    hint: engines of a cache: nginx, varnish"
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
            "    hint: name it once; a 'weight' in its backends, or a VirtualService, can give it more"
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

    def test_what_is_sent_to_an_ids_would_get_no_answer(self):
        assert only(check_functions("a: {type: cache, to: nids}", "nids: {type: ids}")) == (
            "chain.yaml:7:26: error: function 'a' sends to 'nids', "
            "which is an ids: it looks at copies and answers nobody [CLV1222]\n"
            "    hint: write 'mirrorTo: nids' in the function whose requests it shall see"
        )

    def test_the_gateway_does_not_lead_to_an_ids(self):
        assert only(check_functions("nids: {type: ids}", gateway="  gateway: {to: nids}\n")) == (
            "chain.yaml:5:17: error: the gateway sends to 'nids', "
            "which is an ids: it looks at copies and answers nobody [CLV1222]\n"
            "    hint: send to the first function, and give it 'mirrorTo: nids'"
        )

    def test_an_ids_ends_the_chain(self):
        found = check_functions("a: {type: server, mirrorTo: b}", "b: {type: ids, to: c}", "c: {type: server}")

        assert only(found) == (
            "chain.yaml:8:24: error: function 'b' is an ids and sends to 'c'; an ids answers nobody [CLV1207]\n"
            "    hint: remove 'to', or choose another type"
        )

    def test_copies_may_go_to_an_ids(self):
        assert check_functions("a: {type: server, mirrorTo: nids}", "nids: {type: ids}") == ()

    def test_a_copy_to_the_function_that_gets_the_request_is_a_warning(self):
        assert only(check_functions("a: {type: cache, to: b, mirrorTo: b}", "b: {type: server}")) == (
            "chain.yaml:7:39: warning: function 'a' both sends and mirrors to 'b', "
            "which gets each of these requests twice [CLV1225]\n"
            "    hint: mirror to another function, or remove 'mirrorTo'"
        )


class TestConfigurations:
    def test_a_value_that_does_not_exist_is_answered_with_those_that_do(self):
        assert only(check_functions("a: {type: firewall, to: b, config: {mode: detect}}", "b: {type: server}")) == (
            "chain.yaml:7:47: error: function 'a': 'config.mode' is text 'detect', "
            "expected 'blocking', 'detection-only' or 'off' [CLV1220]\n"
            "    hint: did you mean 'detection-only'?"
        )

    def test_a_misspelt_field_is_answered_with_the_nearest_one_however_deep(self):
        found = check_functions("a: {type: cache, config: {backends: [{host: b, wait: 2}]}}", "b: {type: server}")

        assert only(found) == (
            "chain.yaml:7:52: error: function 'a': 'config.backends[0]' has no field 'wait' [CLV1101]\n"
            "    hint: did you mean 'weight'?"
        )

    def test_a_field_of_another_type_is_answered_with_all_there_are(self):
        (problem,) = check_functions("a: {type: cache, to: b, config: {algorithm: x}}", "b: {type: server}")

        assert problem.hint == "fields: backends, defaultTtl, grace, maxSizeMib, uncachedPaths"

    def test_fields_are_written_in_camel_case_only(self):
        (problem,) = check_functions("a: {type: cache, to: b, config: {default_ttl: 1s}}", "b: {type: server}")

        assert (problem.code, problem.hint) == ("CLV1101", "did you mean 'defaultTtl'?")

    @pytest.mark.parametrize(
        ("config", "code", "what"),
        [
            ("{paranoiaLevel: 5}", "CLV1220", "'config.paranoiaLevel' is the number 5, expected 1 to 4"),
            ("{paranoiaLevel: '2'}", "CLV1103", "'config.paranoiaLevel' is text '2', expected a whole number"),
            ("{excludedRules: [0]}", "CLV1220", "'config.excludedRules[0]' is the number 0, expected 1 to 9999999"),
            ("{excludedRules: 1}", "CLV1103", "'config.excludedRules' is the number 1, expected a list"),
            ("{blockPolicy: {}, mode: [x]}", "CLV1220",
             "'config.mode' is a list, expected 'blocking', 'detection-only' or 'off'"),
            ("{blockPolicy: {dryRun: 1}}", "CLV1103",
             "'config.blockPolicy.dryRun' is the number 1, expected true or false"),
            ("{blockPolicy: {window: 0s}}", "CLV1220",
             "'config.blockPolicy.window' is text '0s', expected 1s to 86400s"),
            ("{blockPolicy: {window: soon}}", "CLV1220",
             "'config.blockPolicy.window' is text 'soon', expected a duration such as '30s', '1m30s' or '500ms'"),
            ("{deniedNetworks: [10.0.0.256]}", "CLV1220", "'config.deniedNetworks[0]' is text '10.0.0.256', "
             "expected an IP address or network such as '10.0.0.0/8'"),
            ("{rules: [{id: 100000, target: uri}]}", "CLV1102", "'config.rules[0]' has no 'value'"),
            ("{rules: [{id: 100000, target: uri, value: ''}]}", "CLV1220", "'config.rules[0].value' is empty"),
            ("{rules: [{id: 100000, target: header, value: x}]}", "CLV1220",
             "'config.rules[0]' has the target 'header' and no 'name'"),
            ('{rules: [{id: 100000, target: uri, value: "a\\nb"}]}', "CLV1220", "'config.rules[0].value' is text "
             "'a\\nb', expected text without line breaks and control characters"),
        ],
    )  # fmt: skip
    def test_a_wrong_value_says_where_it_is_and_what_is_expected(self, config, code, what):
        (problem,) = check_functions(f"a: {{type: firewall, to: b, config: {config}}}", "b: {type: server}")

        assert (problem.code, problem.what) == (code, f"function 'a': {what}")

    def test_an_answer_is_of_one_kind(self):
        (problem,) = check_functions("a: {type: server, config: {sites: [{locations: [{path: /}]}]}}")

        assert (problem.where, problem.what) == (
            "chain.yaml:7:53",
            "function 'a': 'config.sites[0].locations[0]' has none or several of 'respond', 'redirect' and 'files', "
            "expected one",
        )

    def test_a_config_of_a_version_names_the_version(self):
        (problem,) = check_functions("a: {type: server, versions: {v2: {engine: nginx, config: {site: []}}}}")

        assert problem.what == "version 'v2' of function 'a': 'config' has no field 'site'"

    def test_a_config_stands_in_each_of_several_versions(self):
        (problem,) = check_functions("a: {type: server, config: {}, versions: {v1: {engine: nginx}}}")

        assert (problem.code, problem.hint) == ("CLV1216", "write 'config' in each version")

    def test_a_wrong_config_and_a_wrong_field_beside_it_are_both_reported(self):
        found = check_functions("a: {type: server, prt: 1, config: {site: []}}")

        assert [(problem.code, problem.where) for problem in found] == [
            ("CLV1101", "chain.yaml:7:23"), ("CLV1101", "chain.yaml:7:40")
        ]  # fmt: skip

    def test_a_config_that_is_no_mapping_is_refused(self):
        assert codes(check_functions("a: {type: server, config: [x]}")) == ["CLV1103"]

    def test_a_server_with_a_command_is_told_nothing(self):
        assert only(check_functions("a: {type: server, command: [x], config: {}}")) == (
            "chain.yaml:7:37: error: function 'a' runs a command and has a 'config', "
            "which only Clover's engines follow [CLV1224]\n"
            "    hint: remove 'config', or 'command'"
        )

    def test_each_id_of_an_ids_is_there_once(self):
        rules = "[{id: 1, text: x}, {id: 2, text: x}, {id: 1, text: y}]"
        (problem,) = check_functions("a: {type: server, mirrorTo: b}", f"b: {{type: ids, config: {{rules: {rules}}}}}")

        assert (problem.where, problem.what) == (
            "chain.yaml:8:73",
            "function 'b': 'config.rules[2]' has the id 1 a second time",
        )


class TestBackends:
    def test_backends_say_where_requests_go(self):
        assert check_functions("a: {type: cache, config: {backends: [{host: b}]}}", "b: {type: server}") == ()

    def test_a_misspelt_backend_is_reported_where_it_is_written_with_the_nearest_name(self):
        found = check_functions("a: {type: cache, config: {backends: [{host: servr}]}}", "server: {type: server}")

        assert only(found) == (
            "chain.yaml:7:49: error: function 'a' sends to 'servr', which is not in the chain [CLV1204]\n"
            "    hint: did you mean 'server'?"
        )

    def test_a_backend_may_lead_back_as_little_as_a_target(self):
        (problem,) = check_functions(
            "a: {type: cache, to: b}", "b: {type: cache, config: {backends: [{host: a}]}}"
        )  # fmt: skip

        assert (problem.code, problem.where) == ("CLV1205", "chain.yaml:8:49")

    def test_a_backend_is_one_of_the_targets_when_there_are_some(self):
        found = check_functions(
            "a: {type: cache, to: b, config: {backends: [{host: b}, {host: c}]}}",
            "b: {type: server}",
            "c: {type: server}",
        )

        assert only(found) == (
            "chain.yaml:7:67: error: function 'a' has the backend 'c', which is not in its 'to' [CLV1221]\n"
            "    hint: add it to 'to', or remove 'to': the backends say where requests go"
        )

    def test_a_target_need_not_be_a_backend_yet(self):
        assert check_functions(
            "a: {type: cache, to: [b, c], config: {backends: [{host: b}]}}", "b: {type: server}", "c: {type: server}"
        ) == ()  # fmt: skip

    def test_a_backend_is_dialled_where_it_listens(self):
        found = check_functions("a: {type: cache, config: {backends: [{host: b, port: 80}]}}", "b: {type: server}")

        assert only(found) == (
            "chain.yaml:7:49: error: function 'a' dials the backend 'b' on port 80, "
            "and function 'b' listens on 9180 [CLV1223]\n"
            "    hint: remove 'port'"
        )

    @pytest.mark.parametrize("other", ["{host: b}", "{host: b, weight: 2}", "{host: b, port: 9180}"])
    def test_a_backend_is_there_once(self, other):
        (problem,) = check_functions(
            f"a: {{type: cache, config: {{backends: [{{host: b}}, {other}]}}}}", "b: {type: server}"
        )

        assert problem.where.startswith(("chain.yaml:7:5", "chain.yaml:7:6"))
        assert problem.code in ("CLV1208", "CLV1220")

    def test_a_function_whose_backends_cannot_be_read_is_not_said_to_send_nowhere(self):
        found = check_functions("a: {type: cache, config: {backends: [{hst: b}]}}", "b: {type: server}")

        assert codes(found) == ["CLV1102", "CLV1101"]


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

    def test_an_ids_is_reached_by_a_mirror(self):
        assert only(check_functions(SERVER, "b: {type: ids}")).endswith("hint: name it in a 'mirrorTo', or remove it")

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


def test_an_authorizer_of_the_mesh_gets_requests_though_nothing_leads_to_it():
    provider = "{name: mine, envoyExtAuthzGrpc: {service: b.default.svc.cluster.local, port: 9180}}"
    mesh = f"  mesh: {{config: {{extensionProviders: [{provider}]}}}}\n"

    assert codes(check_functions(SERVER, "b: {type: server}")) == ["CLV1214"]
    assert check_functions(SERVER, "b: {type: server}", gateway=GATEWAY + mesh) == ()
