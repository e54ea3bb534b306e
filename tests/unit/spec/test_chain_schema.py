"""The JSON Schema says what the loader accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from clover.spec.configuration import MODELS
from clover.spec.document import (
    ChainDocument,
    FunctionPart,
    GatewayPart,
    MetadataPart,
    SpecPart,
    VersionPart,
    field_names,
)
from clover.spec.engines import ENGINES
from clover.spec.schema import json_schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def objects_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema["$defs"].values()


def test_it_is_plain_json_of_a_named_draft(schema):
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_is_described(schema):
    for part in objects_in(schema):
        assert part["description"]
        for field, value in part["properties"].items():
            assert value.get("description"), f"{part['title']}.{field}"


@pytest.mark.parametrize("model", [ChainDocument, MetadataPart, SpecPart, GatewayPart, FunctionPart, VersionPart])
def test_it_has_the_fields_of_the_model_and_no_others(schema, model):
    (part,) = (part for part in objects_in(schema) if part["title"] == model.__name__)

    assert tuple(part["properties"]) == field_names(model)
    assert part["additionalProperties"] is False


def test_it_lists_types_and_engines(schema):
    function = schema["$defs"]["FunctionPart"]["properties"]

    assert function["type"]["enum"] == [str(type_) for type_ in ENGINES]
    assert function["engine"]["anyOf"][0]["enum"] == sorted(
        {engine for engines in ENGINES.values() for engine in engines}
    )


@pytest.mark.parametrize(("type_", "model"), MODELS.items())
def test_a_config_is_that_of_the_type_of_its_function(schema, type_, model):
    (told,) = (
        choice["then"]["properties"]
        for choice in schema["$defs"]["FunctionPart"]["allOf"]
        if choice["if"]["properties"]["type"]["const"] == type_
    )

    assert told["config"]["anyOf"][0] == {"$ref": f"#/$defs/{model.__name__}"}
    assert told["versions"]["additionalProperties"]["properties"]["config"] == told["config"]
    assert tuple(schema["$defs"][model.__name__]["properties"]) == field_names(model)


def test_a_length_of_time_is_text_or_seconds_between_limits(schema):
    assert schema["$defs"]["CacheConfiguration"]["properties"]["grace"] == {
        "type": ["string", "number"],
        "pattern": r"^(?:\d{1,6}(?:\.\d{1,6})?(?:ms|s|m|h))+$",
        "minimum": 0,
        "maximum": 86400,
        "default": 60.0,
        "description": "How long an answer that is too old is still given when no fresh one can be had.",
    }


def test_every_reference_leads_somewhere(schema):
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))

    assert references <= set(schema["$defs"])


def test_a_target_is_one_name_or_a_list(schema):
    assert schema["$defs"]["VersionPart"]["properties"]["to"]["anyOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ]
