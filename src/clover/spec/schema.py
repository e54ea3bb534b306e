"""JSON Schema of the chain file, from the same model that checks it: for editors, and for tools that write chains."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from clover.spec.document import ChainDocument, FunctionPart, GatewayPart, MetadataPart, SpecPart, VersionPart

_MODELS: tuple[type[BaseModel], ...] = (
    ChainDocument, MetadataPart, SpecPart, GatewayPart, FunctionPart, VersionPart,
)  # fmt: skip


class _Generate(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names: they say nothing that the name does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    schema = ChainDocument.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generate)
    descriptions = {model.__name__: dict(_descriptions(model)) for model in _MODELS}
    descriptions[FunctionPart.__name__] |= descriptions[VersionPart.__name__]
    for part in (schema, *schema["$defs"].values()):
        for field, text in descriptions[part["title"]].items():
            part["properties"][field]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _descriptions(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """
    Yield each field of a model, as its author writes it, and the text that stands below it in the source.

    Pydantic can do this too (`use_attribute_docstrings`), but for every command that loads a chain.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  (what a class's source is)
    for statement, below in pairwise(definition.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield model.model_fields[name].alias or name, inspect.cleandoc(text)
