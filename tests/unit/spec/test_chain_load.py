"""Chain files become chains: defaults, places, examples, and properties over any chain and any text."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import DocumentError, Mark
from clover.kit import yaml_text
from clover.spec import load
from clover.spec.chain import Chain, FunctionType, Version
from clover.spec.configuration import (
    MODELS,
    Backend,
    CacheConfiguration,
    FirewallConfiguration,
    LoadBalancerConfiguration,
    ServerConfiguration,
    completed,
)
from clover.spec.document import API_VERSION
from clover.spec.engines import ENGINES
from clover.spec.rules import RESERVED_NAMES
from harness import configurations

EXAMPLES = Path(__file__).parents[3] / "examples"

TEXT = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata:
  name: edge
  namespace: shop
spec:
  gateway: {to: waf, port: 8088, address: 0.0.0.0}
  functions:
    waf:
      type: firewall
      to: lb
      mirrorTo: app
      config: {paranoiaLevel: 2}
    lb:
      type: load-balancer
      versions:
        v1: {engine: haproxy, to: app}
        v2:
          engine: nginx
          to:
            - cache
            - app
    cache: {type: cache, config: {grace: 1m30s, backends: [{host: app, weight: 3, state: drain}]}}
    app: {type: server, command: [python3, -m, http.server], port: 8000, version: blue}
"""


@pytest.fixture(scope="module")
def chain() -> Chain:
    return load.parse(TEXT, "edge.yaml")


class TestValues:
    def test_the_chain_has_its_name_namespace_and_gateway(self, chain):
        assert (chain.name, chain.namespace) == ("edge", "shop")
        assert (chain.gateway.to, chain.gateway.port, chain.gateway.address) == ("waf", 8088, "0.0.0.0")

    def test_functions_keep_the_order_of_the_file(self, chain):
        assert list(chain.functions) == ["waf", "lb", "cache", "app"]

    def test_a_function_without_an_engine_has_the_default_of_its_type(self, chain):
        assert chain.functions["waf"].versions[0].engine == "modsecurity"
        assert chain.functions["cache"].versions[0].engine == "nginx"

    @pytest.mark.parametrize(
        ("type_", "engine"),
        [("firewall", "modsecurity"), ("load-balancer", "haproxy"), ("cache", "nginx"), ("server", "nginx")],
    )
    def test_each_type_has_a_default_engine(self, type_, engine):
        to = "" if type_ == "server" else ", to: b"
        text = TEXT[: TEXT.index("    waf:")] + f"    waf: {{type: {type_}{to}}}\n    b: {{type: server}}\n"

        assert load.parse(text, "edge.yaml").functions["waf"].versions[0].engine == engine

    def test_what_a_function_is_told_has_the_backends_of_its_targets(self, chain):
        v1, v2 = chain.functions["lb"].versions

        assert v1.configuration == LoadBalancerConfiguration(backends=(Backend(host="app"),))
        assert v2.configuration == LoadBalancerConfiguration(backends=(Backend(host="cache"), Backend(host="app")))
        assert chain.functions["app"].versions[0].configuration == ServerConfiguration()

    def test_a_config_is_told_to_its_function_beside_the_backends_of_to(self, chain):
        assert chain.functions["waf"].versions[0].configuration == FirewallConfiguration(
            paranoia_level=2, backends=(Backend(host="lb"),)
        )

    def test_the_backends_of_a_config_are_its_targets(self, chain):
        (version,) = chain.functions["cache"].versions

        assert version.to == ("app",)
        assert version.configuration == CacheConfiguration(
            grace=90, backends=(Backend(host="app", weight=3, state="drain"),)
        )

    def test_a_target_may_be_written_without_a_list(self, chain):
        v1, v2 = chain.functions["lb"].versions

        assert (v1.to, v2.to) == (("app",), ("cache", "app"))

    def test_a_command_is_an_engine(self, chain):
        (version,) = chain.functions["app"].versions

        assert (version.name, version.engine) == ("blue", "command")
        assert version.command == ("python3", "-m", "http.server")

    def test_ports_have_defaults(self, chain):
        assert chain.functions["app"].port == 8000
        assert chain.functions["waf"].port == 9180
        assert load.load(EXAMPLES / "minimal").gateway.port == 8080

    def test_the_gateway_listens_on_loopback_unless_told_otherwise(self):
        assert load.load(EXAMPLES / "minimal").gateway.address == "127.0.0.1"


class TestPlaces:
    def place(self, mark: Mark | None) -> str:
        assert mark is not None
        return f"{mark.line}:{mark.column}"

    def test_each_part_knows_where_it_is_written(self, chain):
        waf, lb, app = (chain.functions[name] for name in ("waf", "lb", "app"))

        assert self.place(chain.mark) == "4:9"
        assert self.place(chain.namespace_mark) == "5:14"
        assert self.place(chain.gateway.mark) == "7:3"
        assert self.place(chain.gateway.to_mark) == "7:17"
        assert self.place(waf.mark) == "9:5"
        assert self.place(waf.mirror_mark) == "12:17"
        assert self.place(app.port_mark) == "24:68"
        assert [self.place(version.mark) for version in lb.versions] == ["17:9", "18:9"]
        assert [self.place(version.engine_mark) for version in lb.versions] == ["17:22", "19:19"]
        assert self.place(waf.versions[0].config_mark) == "13:7"

    def test_a_single_target_and_those_of_a_list_each_have_their_place(self, chain):
        v1, v2 = chain.functions["lb"].versions

        assert [self.place(mark) for mark in v1.to_marks] == ["17:35"]
        assert [self.place(mark) for mark in v2.to_marks] == ["21:15", "22:15"]

    def test_a_backend_that_is_a_target_stands_where_its_host_is_written(self, chain):
        (version,) = chain.functions["cache"].versions

        assert [self.place(mark) for mark in version.to_marks] == ["23:67"]
        assert version.backend_marks == version.to_marks


class TestFiles:
    def test_a_folder_means_its_chain_file(self):
        chain = load.load(EXAMPLES / "sdc")

        assert chain == load.load(EXAMPLES / "sdc" / "chain.yaml")
        assert chain.mark.file == str(EXAMPLES / "sdc" / "chain.yaml")

    def test_a_chain_knows_the_folder_that_its_commands_start_in(self):
        assert load.load(EXAMPLES / "own-server").directory == str(EXAMPLES / "own-server")

    def test_a_folder_without_a_chain_file_says_what_is_looked_for(self, tmp_path):
        _, (problem,) = load.inspect(tmp_path)

        assert str(problem) == (
            f"{tmp_path}/chain.yaml: error: '{tmp_path}/chain.yaml' does not exist [CLV1001]\n"
            "    hint: name a chain file, or a folder with a file 'chain.yaml'"
        )

    def test_a_wrong_chain_raises_all_its_problems(self):
        with pytest.raises(DocumentError) as caught:
            load.parse(TEXT.replace("to: lb", "to: bl").replace("type: cache", "type: cash"), "edge.yaml")

        assert [problem.code for problem in caught.value.problems] == ["CLV1204", "CLV1201"]

    @pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
    def test_every_example_is_sound(self, path):
        chain, problems = load.inspect(path)

        assert problems == ()
        assert chain is not None

    def test_the_sample_is_the_service_delivery_controller(self):
        chain = load.load(EXAMPLES / "sdc")

        assert (len(chain.functions), len(list(chain.workloads()))) == (9, 10)
        assert {function.type for function in chain.functions.values()} == set(FunctionType)


_names = st.from_regex("[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda name: name not in RESERVED_NAMES)
_ports = st.integers(1, 14999)
_configs: dict[FunctionType, dict[str, Any]] = {
    FunctionType.FIREWALL: {"mode": "off", "blockPolicy": {"window": "1m"}},
    FunctionType.LOAD_BALANCER: {"algorithm": "source"},
    FunctionType.CACHE: {"uncachedPaths": ["/a"]},
    FunctionType.IDS: {"rules": [{"id": 1, "http": {"field": "uri", "contains": "'"}}]},
    FunctionType.SERVER: {"sites": [{"locations": [{"path": "/", "respond": {"body": "a\nb"}}]}]},
}


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, Any]:
    """Any sound chain: each function sends only to functions after it, copies to any of them, the last is a server."""
    names = draw(st.lists(_names, min_size=1, max_size=6, unique=True))
    types = [draw(st.sampled_from(list(FunctionType))) for _ in names[1:]] + [FunctionType.SERVER]
    if types[0] is FunctionType.IDS:
        types[0] = FunctionType.CACHE
    functions = {}
    for place, (name, type_) in enumerate(zip(names, types, strict=True), start=1):
        answering = [name for name, type_ in zip(names[place:], types[place:], strict=True) if type_ != "ids"]
        functions[name] = draw(_functions(type_, answering, names[place:]))
    return {
        "apiVersion": API_VERSION,
        "kind": "Chain",
        "metadata": {"name": draw(_names), "labels": draw(st.dictionaries(_names, _names, max_size=1))},
        "spec": {"gateway": {"to": names[0], "port": draw(_ports)}, "functions": functions},
    }


@st.composite
def _functions(draw: st.DrawFn, type_: FunctionType, answering: list[str], later: list[str]) -> dict[str, Any]:
    def version() -> dict[str, Any]:
        engine = draw(st.sampled_from(ENGINES[type_]))
        found: dict[str, Any] = {"engine": engine}
        if engine == "command":
            # Never like `1e100`, which PyYAML writes without quotes and Kubernetes reads as a number.
            arguments = st.text(string.printable, max_size=5).map(lambda text: f"--{text}")
            found["command"] = ["serve", *draw(st.lists(arguments, max_size=2))]
        elif draw(st.booleans()):
            found["config"] = _configs[type_]
        if type_ in (FunctionType.SERVER, FunctionType.IDS):
            return found
        to = draw(st.lists(st.sampled_from(answering), min_size=1, unique=True))
        backends = [{"host": name, "weight": draw(st.integers(1, 256))} for name in to]
        match draw(st.sampled_from(["to", "config", "both"])):
            case "config":
                found["config"] = found.get("config", {}) | {"backends": backends}
            case "both":
                found["config"] = found.get("config", {}) | {"backends": backends[:1]}
                found["to"] = to
            case _:
                found["to"] = to[0] if len(to) == 1 and draw(st.booleans()) else to
        return found

    found: dict[str, Any] = {"type": str(type_)}
    if later and draw(st.booleans()):
        found["mirrorTo"] = draw(st.sampled_from(later))
    if draw(st.booleans()):
        found["port"] = draw(_ports)
    if draw(st.booleans()):
        # Longer than any name of `_names`, so that no workload is named like another function.
        return found | {"versions": {f"{draw(_names)}-version-{number}": version() for number in (1, 2)}}
    return found | version()


def _written(chain: Chain) -> dict[str, Any]:
    """Return the document that says what `chain` says, everything spelled out."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Chain",
        "metadata": {"name": chain.name, "namespace": chain.namespace},
        "spec": {
            "gateway": {"to": chain.gateway.to, "port": chain.gateway.port, "address": chain.gateway.address},
            "functions": {
                function.name: {
                    "type": str(function.type),
                    "port": function.port,
                    "mirrorTo": function.mirror_to,
                    "versions": {
                        version.name: {
                            "engine": version.engine,
                            "to": list(version.to),
                            "command": list(version.command) or None,
                            "config": None if version.command else version.configuration.as_json(),
                        }
                        for version in function.versions
                    },
                }
                for function in chain.functions.values()
            },
        },
    }


def _without_marks(value: Any) -> Any:
    if isinstance(value, Mark):
        return None
    if isinstance(value, Version):
        value = replace(value, backend_marks=())  # there are none of backends that follow from `to`
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _without_marks(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, dict):
        return {key: _without_marks(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_without_marks, value))
    return value


@given(document=_documents(), flow=st.sampled_from([True, False, None]))
def test_a_sound_chain_means_the_same_however_it_is_written(document, flow):
    chain = load.parse(yaml.safe_dump(document, default_flow_style=flow, sort_keys=False), "chain.yaml")
    again = load.parse(yaml_text.dump(_written(chain)), "chain.yaml")

    assert list(chain.functions) == list(document["spec"]["functions"])
    assert _without_marks(chain) == _without_marks(again)


@given(configuration=configurations.configurations)
def test_any_configuration_can_be_told_by_a_chain_file(configuration):
    if backends := tuple(
        backend.model_copy(update={"port": None}) for backend in getattr(configuration, "backends", ())
    ):
        configuration = configuration.model_copy(update={"backends": backends})
    type_ = next(type_ for type_, model in MODELS.items() if isinstance(configuration, model))
    names = [backend.host for backend in backends] or ["server"]
    forwards = hasattr(configuration, "backends")
    function = {"type": type_, "config": configuration.as_json()}
    if forwards and not backends:
        function["to"] = names
        configuration = completed(configuration, to=tuple(names))
    document = {
        "apiVersion": API_VERSION,
        "kind": "Chain",
        "metadata": {"name": "any"},
        "spec": {
            "gateway": {"to": "first" if forwards else names[0]},
            "functions": {"first": function, **{name: {"type": "server"} for name in names}},
        },
    }

    chain = load.parse(yaml_text.dump(document), "chain.yaml")

    assert chain.functions["first"].versions[0].configuration == configuration


def _paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for step, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            yield from _paths(inner, (*path, step))


_wrong = st.sampled_from([None, "", "a", 0, -1, True, 1.5, [], [[]], {}, {"a": 1}, [None], "é" * 50, "->", 2**40])


@given(data=st.data(), document=_documents())
def test_a_chain_with_anything_in_the_wrong_place_gives_a_chain_or_problems_with_places(data, document):
    *way, last = data.draw(st.sampled_from(list(_paths(document))))
    container = document
    for step in way:
        container = container[step]
    container[last] = data.draw(_wrong)

    chain, problems = load.inspect_text(yaml.safe_dump(document, sort_keys=False), "chain.yaml")

    assert (chain is None) == any(problem.severity == "error" for problem in problems)
    assert all(re.match(r"chain\.yaml:[1-9]\d*:[1-9]\d*$", problem.where) for problem in problems)
    assert all(len(str(problem)) < 1000 for problem in problems)


_pieces = st.sampled_from([*re.findall(r"\s+|[\w.-]+|.", TEXT), "\t", "- ", "&a ", "*a", "!x ", "'", "|", "\0", "{}"])


@given(st.text() | st.lists(_pieces, max_size=80).map("".join))
def test_any_text_gives_a_chain_or_problems(text):
    chain, problems = load.inspect_text(text, "chain.yaml")

    assert (chain is None) == any(problem.severity == "error" for problem in problems)


@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 60), put=st.text(max_size=5) | _pieces)
def test_a_chain_with_any_piece_replaced_gives_a_chain_or_problems(start, length, put):
    chain, problems = load.inspect_text(TEXT[:start] + put + TEXT[start + length :], "chain.yaml")

    assert (chain is None) == any(problem.severity == "error" for problem in problems)
