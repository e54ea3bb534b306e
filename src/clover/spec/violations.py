"""What is wrong with a configuration, in words: from pydantic's errors to a path, a sentence and a hint.

Whoever asks adds the place: a chain file the line and column, an ambassador the field of a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, get_args

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clover.kit.documents import kind_of
from clover.spec.configuration import seconds_of
from clover.spec.nearest import did_you_mean

Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a duration such as '30s', '1m30s' or '500ms'",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "tuple_type": "a list",
}
_HEADERS = "the name of a header, or one with '*' at one end such as 'x-custom-*'"
_PATTERN_OF = {
    "path": "a path: '/', then letters, digits and . _ ~ / -",
    "uncachedPaths": "a path: '/', then letters, digits and . _ ~ / -",
    "hosts": "a host name in lower case such as 'shop.example', or '*.' and one",
    "contentType": "a media type such as 'text/html; charset=utf-8'",
    "to": "a path, or a URL that begins with http:// or https:// and has a path",
    "name": "letters, digits, '-' and '_', 64 at most",
    "trustDomain": "a host name in lower case such as 'cluster.local'",
    "trustDomainAliases": "a host name in lower case such as 'cluster.local'",
    "statusOnError": "an HTTP status such as '403'",
    "pathPrefix": "a path that begins with '/'",
    "includeRequestHeadersInCheck": _HEADERS,
    "headersToUpstreamOnAllow": _HEADERS,
    "headersToDownstreamOnDeny": _HEADERS,
    "headersToDownstreamOnAllow": _HEADERS,
}
"""What a field's pattern says, in words."""


class Kind(StrEnum):
    """In which way something is wrong."""

    UNKNOWN = "unknown"
    """A field that does not exist."""
    MISSING = "missing"
    """A field without a default that is not there."""
    KIND = "kind"
    """Text where a number is expected, and the like."""
    VALUE = "value"
    """A value of the right kind that is none of those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that a configuration may not say."""

    kind: Kind
    path: Path
    """Field names as people write them, and places in lists, counted from 0; () is the whole configuration."""
    about: Path
    """What the sentence speaks of: `path`, or of an unknown or missing field what it belongs to."""
    what: str
    """The sentence without its subject: `is the number 0, expected 1 to 256`."""
    hint: str = ""

    def sentence(self, root: str) -> str:
        """Return the sentence, of a configuration that is the field `root` of something; '': that stands alone."""
        return self.of(shown((root, *self.about) if root else self.about))

    def of(self, subject: str) -> str:
        """Return the sentence about what the reader calls `subject`; '': the whole."""
        return f"{subject!r} {self.what}" if subject else f"the configuration {self.what}"


def checked(model: type[_Model], data: object) -> tuple[_Model | None, tuple[Violation, ...]]:
    """Return the configuration that `data` (mappings, lists, scalars) means; None, and all that is wrong with it."""
    try:
        return model.model_validate(data, by_alias=True, by_name=False), ()
    except ValidationError as error:
        return None, tuple(_violation(details, model) for details in error.errors(include_url=False))


def shown(path: Path) -> str:
    """Return a path as people write it: `sites[0].locations[2].path`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def typed(path: Path) -> str:
    """Return a path as people type it in a command: `block-policy.dry-run`."""
    return re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", shown(path))


def found(value: Any) -> str:
    """Return kind and value of something small, or the kind alone."""
    if isinstance(value, str):
        return f"text {quoted(value)}"
    if isinstance(value, bool | int | float):
        return f"{kind_of(value).replace('a ', 'the ', 1)} {json.dumps(value)}"
    return kind_of(value)


def quoted(value: object) -> str:
    """Quote a value, cut when it is longer than anybody reads."""
    text = repr(value)
    return text if len(text) <= 82 else f"{text[:80]}…"


def _violation(details: ErrorDetails, model: type[BaseModel]) -> Violation:
    context = details.get("ctx", {})
    path = (*details["loc"], *context.get("path", ()))
    value = details["input"]
    kind, about, hint = Kind.VALUE, path, ""
    match details["type"]:
        case "extra_forbidden":
            fields = _fields_of(_model_at(model, path[:-1]))
            kind, about, what = Kind.UNKNOWN, path[:-1], f"has no field {quoted(path[-1])}"
            hint = did_you_mean(str(path[-1]), fields, otherwise=f"fields: {', '.join(fields)}")
        case "missing":
            kind, about, what = Kind.MISSING, path[:-1], f"has no {path[-1]!r}"
            hint = f"add '{path[-1]}:'"
        case type_ if type_ in _EXPECTED:
            kind, what = Kind.KIND, f"is {found(value)}, expected {_EXPECTED[type_]}"
            if type_ == "string_type" and isinstance(value, bool | int | float):
                hint = "write it in quotes"
        case "literal_error":
            choices = [str(choice) for choice in get_args(_annotation_at(model, path))]
            what = f"is {found(value)}, expected {context['expected']}"
            hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        case "greater_than_equal" | "less_than_equal":
            what = f"is {found(value)}, expected {_range(model, path)}"
        case "too_long" | "string_too_long":
            items = "characters" if isinstance(value, str) else "items"
            what = f"has {len(value)} {items}, expected {context['max_length']} at most"
        case "too_short" | "string_too_short":
            what = "is empty"
        case "string_pattern_mismatch":
            field = next(str(step) for step in reversed(path) if isinstance(step, str))
            what = f"is {found(value)}, expected {_PATTERN_OF.get(field, 'text that matches ' + context['pattern'])}"
        case _ if isinstance(value, dict | list):
            what = details["msg"]
        case _:
            what = f"is {found(value)}, {details['msg']}"
    return Violation(kind=kind, path=path, about=about, what=what, hint=hint)


def _fields_of(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _field_at(model: type[BaseModel], path: Path) -> Any:
    """Return pydantic's description of the last field on `path`."""
    *way, last = (step for step in path if isinstance(step, str))
    (field,) = (
        field for name, field in _model_at(model, tuple(way)).model_fields.items() if last == (field.alias or name)
    )
    return field


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel]:
    for step in path:
        if isinstance(step, str):
            model = next(_models_in(_field_at(model, (step,)).annotation))
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the model of a field, which may be optional, or one of many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _annotation_at(model: type[BaseModel], path: Path) -> Any:
    return _field_at(model, path).annotation


def _range(model: type[BaseModel], path: Path) -> str:
    field = _field_at(model, path)
    limits = tuple(_limits((*field.metadata, field.annotation)))
    unit = "s" if any(getattr(rule, "func", None) is seconds_of for rule in field.metadata) else ""
    least = next(limit.ge for limit in limits if isinstance(limit, Ge))
    most = next(limit.le for limit in limits if isinstance(limit, Le))
    return f"{least}{unit} to {most}{unit}"


def _limits(parts: tuple[Any, ...]) -> Iterator[Ge | Le]:
    """Yield the limits of a number, however deep they stand in a type."""
    for part in parts:
        if isinstance(part, Ge | Le):
            yield part
        else:
            yield from _limits((*getattr(part, "metadata", ()), *get_args(part)))
