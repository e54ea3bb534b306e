"""JSON Schema of the chain file, from the same model that checks it: for editors, and for tools that write chains."""

from __future__ import annotations

from typing import Any

from clover.spec.document import ChainDocument


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    schema = ChainDocument.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
