"""The store's tables, as statements for the engine to run when it opens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources

from jinja2 import Environment, StrictUndefined

_TABLES = resources.files("clover.telemetry.store") / "schema.sql.j2"
_MESSAGES = resources.files("clover.telemetry._proto") / "clover/telemetry/v1/otlp.proto"


def format_schema(message: str) -> str:
    """Return the engine's setting for input made of `message`s of `otlp.proto`."""
    quoted = str(_MESSAGES).replace("\\", "\\\\").replace("'", "\\'")
    return f"format_schema = '{quoted}:{message}'"


def version() -> str:
    """
    Return what tells one layout of the tables from another.

    Tables of another layout are not read: a store keeps a day or so, which is not worth a migration.
    """
    text = "".join(file.read_text(encoding="utf-8") for file in (_TABLES, _MESSAGES))
    return f"v-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def statements(*, retention_hours: int) -> Iterator[str]:
    """Yield the statements that make what is missing, in order; running them again changes nothing that is kept."""
    source = _TABLES.read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 (it is SQL, and all ours)
    text = environment.from_string(source).render(retention_hours=retention_hours)
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    for statement in without_comments.split(";\n"):
        if statement.strip():
            yield statement.strip()
