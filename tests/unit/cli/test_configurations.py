"""Configurations as people write them against those of the control interface."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from clover.cli import configurations
from clover.control import convert
from clover.control._proto import control_pb2 as pb
from clover.control.methods import json_from
from clover.errors import DocumentError, MeshError
from clover.spec.configuration import MODELS

WRITTEN = {
    "firewall": {
        "backends": [{"host": "web", "port": 81, "weight": 2, "state": "disabled"}],
        "mode": "detection-only",
        "paranoiaLevel": 3,
        "excludedRules": [920350],
        "rules": [
            {"id": 100_001, "target": "user-agent", "operator": "begins-with", "value": "x", "action": "log"},
            {"id": 100_002, "target": "header", "name": "X-Y", "value": "MODE_OFF"},
        ],
        "deniedNetworks": ["10.0.0.0/8"],
        "blockPolicy": {"threshold": 1, "window": "1.5s", "dryRun": True},
    },
    "load-balancer": {"backends": [{"host": "a"}, {"host": "b", "state": "drain"}], "algorithm": "source"},
    "cache": {"defaultTtl": "0s", "grace": "1.5s", "maxSizeMib": 8, "uncachedPaths": ["/a"]},
    "ids": {
        "rules": [
            {"id": 1, "severity": 4, "http": {"field": "uri", "contains": "ALGORITHM_RANDOM", "caseSensitive": True}},
            {"id": 2, "text": "alert"},
        ]
    },
    "server": {
        "sites": [
            {
                "hosts": ["a.example"],
                "locations": [
                    {"path": "/", "match": "prefix", "files": True},
                    {"path": "/x", "respond": {"status": 404, "body": "no\n"}},
                    {"path": "/y", "redirect": {"to": "/x", "status": 308}},
                ],
            }
        ]
    },
}


@pytest.mark.parametrize("type_", MODELS)
def test_both_forms_mean_the_same_to_an_ambassador(type_):
    configuration = MODELS[type_].model_validate(WRITTEN[type_])

    message = json_format.ParseDict(configurations.to_wire(type_, configuration), pb.Configuration())

    assert convert.configuration_from(message, type_=type_) == configuration
    told = json_from(convert.message_from(configuration))
    assert configurations.from_wire(type_, told, where="f") == configuration
    assert configurations.authored(type_, configuration) == {configurations.FIELDS[type_]: WRITTEN[type_]}


@pytest.mark.parametrize("type_", MODELS)
def test_defaults_that_nobody_wrote_come_back_as_defaults(type_):
    message = pb.Configuration()
    getattr(message, configurations.FIELDS[type_].replace("B", "_b")).SetInParent()

    assert configurations.from_wire(type_, json_from(message), where="f") == MODELS[type_]()


def test_every_enum_of_a_configuration_has_its_prefix():
    prefixes = {}

    def visit(message):
        for field in message.fields:
            if field.enum_type:
                prefixes[field.json_name] = field.enum_type.values[0].name.removesuffix(configurations.UNSPECIFIED)
            elif field.message_type and field.message_type.file is message.file:
                visit(field.message_type)

    visit(pb.Configuration.DESCRIPTOR)
    assert prefixes == configurations.ENUMS
    assert {field.json_name for field in pb.Configuration.DESCRIPTOR.fields} == set(configurations.FIELDS.values())
    assert set(configurations.FIELDS) == set(MODELS)


def test_a_configuration_of_another_release_is_a_problem_of_the_chain():
    with pytest.raises(MeshError, match="CLV5212"):
        configurations.from_wire("cache", {"cache": {"colour": "red"}}, where="web-cache@v1")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("loadBalancer:\n  algoritm: random\n", ["f.yaml:2:3: 'loadBalancer' has no field 'algoritm'"]),
        (
            "loadBalancer:\n  backends:\n  - {host: a, weight: 0}\n  - {weight: many}\n",
            [
                "f.yaml:3:23: 'loadBalancer.backends[0].weight' is the number 0, expected 1 to 256",
                "f.yaml:4:5: 'loadBalancer.backends[1]' has no 'host'",
                "f.yaml:4:14: 'loadBalancer.backends[1].weight' is text 'many', expected a whole number",
            ],
        ),
        ("{}", ["f.yaml:1:1: the document has no 'loadBalancer', which is what configures 'lb@v1'"]),
        ("loadBlancer: {}", [
            "f.yaml:1:1: a configuration has no field 'loadBlancer'",
            "f.yaml:1:1: the document has no 'loadBalancer', which is what configures 'lb@v1'",
        ]),
        ("loadBalancer: {}\nx: 1", ["f.yaml:2:1: a configuration has no field 'x'"]),
        ("server: {}", [
            "f.yaml:1:1: 'server' configures a function of type 'server', and 'lb@v1' is of type 'load-balancer'",
        ]),
        ("", ["f.yaml: there is no document in it"]),
        ("a: 1\n---\nb: 1", ["f.yaml:3:1: 'f.yaml' has 2 documents, expected one"]),
        ("loadBalancer: [", [
            "f.yaml:2:1: the YAML is malformed: while parsing a flow node, did not find expected node content",
        ]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_where_it_is_written(text, problems):
    with pytest.raises(DocumentError) as caught:
        configurations.parse(text, "f.yaml", type_="load-balancer", function="lb@v1")

    assert [f"{one.where}: {one.what}" for one in caught.value.problems] == problems


@pytest.mark.parametrize("type_", MODELS)
def test_json_is_read_like_yaml(type_):
    text = json.dumps({configurations.FIELDS[type_]: WRITTEN[type_]})

    assert configurations.parse(text, "f", type_=type_, function="f").configuration.as_json() == WRITTEN[type_]
