"""JSON Schema of the chain file, from the same model that checks it: for editors, and for tools that write chains."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from clover.spec import configuration
from clover.spec.document import ChainDocument, FunctionPart, GatewayPart, MetadataPart, SpecPart, VersionPart
from clover.spec.mesh_config import MeshSettings

_MODELS: tuple[type[BaseModel], ...] = (
    ChainDocument, MetadataPart, SpecPart, GatewayPart, FunctionPart, VersionPart,
)  # fmt: skip
_TEMPLATE = "#/$defs/{model}"


class _Generate(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names: they say nothing that the name does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    schema = ChainDocument.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generate)
    schema["$defs"] |= _configurations()
    schema["$defs"][SpecPart.__name__]["properties"]["mesh"] = {
        "anyOf": [{"$ref": _TEMPLATE.format(model=MeshSettings.__name__)}, {"type": "null"}]
    }
    schema["$defs"][FunctionPart.__name__]["allOf"] = [_told(type_) for type_ in configuration.MODELS]
    descriptions = {model.__name__: dict(_descriptions(model)) for model in (*_MODELS, *_parts(configuration.Part))}
    for part in (schema, *schema["$defs"].values()):
        for field, text in descriptions[part["title"]].items():
            part["properties"][field] |= {"description": text} | _limits(part["properties"][field])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _configurations() -> dict[str, Any]:
    """Return the definitions of what functions are told."""
    models = [(model, "validation") for model in (*configuration.MODELS.values(), MeshSettings)]
    _, schema = models_json_schema(models, by_alias=True, ref_template=_TEMPLATE, schema_generator=_Generate)  # type: ignore[arg-type]
    return dict(schema["$defs"])


def _told(type_: str) -> dict[str, Any]:
    """Return what a function of this type, and each of its versions, has for a `config`."""
    model = configuration.MODELS[type_].__name__
    config = {"properties": {"config": {"anyOf": [{"$ref": _TEMPLATE.format(model=model)}, {"type": "null"}]}}}
    return {
        "if": {"properties": {"type": {"const": type_}}, "required": ["type"]},
        "then": {"properties": {**config["properties"], "versions": {"additionalProperties": config}}},
    }


def _limits(field: dict[str, Any]) -> dict[str, Any]:
    """Return the limits of a length of time by the names that JSON Schema has for them: pydantic leaves its own."""
    return {name: field.pop(own) for own, name in (("ge", "minimum"), ("le", "maximum")) if own in field}


def _parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for part in model.__subclasses__():
        yield part
        yield from _parts(part)


def _descriptions(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """
    Yield each field of a model, as its author writes it, and the text that stands below it in the source.

    Pydantic can do this too (`use_attribute_docstrings`), but for every command that loads a chain.
    """
    for base in model.__bases__:
        if base is not BaseModel and issubclass(base, BaseModel):
            yield from _descriptions(base)
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  (what a class's source is)
    for statement, below in pairwise(definition.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield model.model_fields[name].alias or name, inspect.cleandoc(text)
