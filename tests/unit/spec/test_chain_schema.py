"""The JSON Schema says what the loader accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

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
    assert function["engine"]["anyOf"][0]["enum"] == ["command", "haproxy", "modsecurity", "nginx"]


def test_a_target_is_one_name_or_a_list(schema):
    assert schema["$defs"]["VersionPart"]["properties"]["to"]["anyOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ]
