"""What is wrong with the shape of a chain file, in words: from pydantic's errors to problems with places."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clover.errors import Problem
from clover.kit.documents import Document
from clover.spec.chain import FunctionType
from clover.spec.document import (
    ChainDocument,
    FunctionPart,
    GatewayPart,
    MetadataPart,
    SpecPart,
    VersionPart,
    field_names,
)
from clover.spec.nearest import did_you_mean
from clover.spec.violations import Kind, Violation, found, quoted

_Path = tuple[str | int, ...]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
}
_EXPECTED_IN = {
    "to": "the name of a function, or a list of names",
    "command": "a list: the program, then its arguments",
}
_CODES = {Kind.UNKNOWN: "CLV1101", Kind.MISSING: "CLV1102", Kind.KIND: "CLV1103", Kind.VALUE: "CLV1220"}
_TYPES = ", ".join(FunctionType)


def problems_from(error: ValidationError, document: Document) -> Iterator[Problem]:
    """Yield what a person has to fix, where it is written."""
    for details in error.errors(include_url=False):
        yield _MESSAGES.get(details["type"], _wrong_value)(details, document)


def configuration_problem(violation: Violation, path: _Path, document: Document) -> Problem:
    """Return what a person has to fix in the `config` of the function or version at `path`."""
    place = document.mark((*path, "config", *violation.path), key=violation.kind is Kind.UNKNOWN)
    return Problem(
        code=_CODES[violation.kind],
        where=str(place),
        what=f"{_subject(path)}: {violation.sentence('config')}",
        hint=violation.hint,
    )


def mesh_problem(violation: Violation, document: Document) -> Problem:
    """Return what a person has to fix in what the chain says about its mesh."""
    place = document.mark(("spec", "mesh", *violation.path), key=violation.kind is Kind.UNKNOWN)
    return Problem(
        code=_CODES[violation.kind], where=str(place), what=violation.sentence("spec.mesh"), hint=violation.hint
    )


def _unknown_field(details: ErrorDetails, document: Document) -> Problem:
    *container, field = details["loc"]
    known = field_names(_model_at(tuple(container)))
    return _problem(
        "CLV1101",
        document,
        details,
        f"{_subject(container)} has no field {quoted(field)}",
        did_you_mean(str(field), known, otherwise=f"fields: {', '.join(known)}"),
        key=True,
    )


def _missing(details: ErrorDetails, document: Document) -> Problem:
    *container, field = details["loc"]
    hint = {
        "apiVersion": "add 'apiVersion: clover/v1alpha1'",
        "kind": "add 'kind: Chain'",
        "metadata": "add 'metadata: {name: ...}'",
        "type": f"types: {_TYPES}",
    }.get(str(field), f"add '{field}:'")
    return _problem("CLV1102", document, details, f"{_subject(container)} has no {field!r}", hint)


def _wrong_kind(details: ErrorDetails, document: Document) -> Problem:
    subject, field = _subject_and_field(details["loc"])
    value = details["input"]
    expected = _EXPECTED_IN.get(field, _EXPECTED[details["type"]])
    hint = ""
    if field == "command" and isinstance(value, str):
        hint = _as_list(value)
    elif details["type"] == "string_type" and isinstance(value, bool | int | float):
        hint = "write it in quotes"
    return _problem("CLV1103", document, details, f"{subject} is {found(value)}, expected {expected}", hint)


def _not_a_choice(details: ErrorDetails, document: Document) -> Problem:
    field = details["loc"][-1]
    if field != "type":
        subject, _ = _subject_and_field(details["loc"])
        what = f"{subject} is {found(details['input'])}, expected {details['ctx']['expected']}"
        return _problem("CLV1106", document, details, what)
    value = details["input"]
    hint = f"types: {_TYPES}"
    if isinstance(value, str):
        hint = f"{did_you_mean(value, FunctionType)} {hint}".strip()
    what = f"{_subject(details['loc'][:-1])} has the type {quoted(value)}, which does not exist"
    return _problem("CLV1201", document, details, what, hint)


def _no_port(details: ErrorDetails, document: Document) -> Problem:
    subject, _ = _subject_and_field(details["loc"])
    what = f"{subject} is {details['input']}, expected 1 to 65535"
    return _problem("CLV1213", document, details, what)


def _no_address(details: ErrorDetails, document: Document) -> Problem:
    subject, _ = _subject_and_field(details["loc"])
    return _problem(
        "CLV1219",
        document,
        details,
        f"{subject} is {quoted(details['input'])}, expected an IPv4 address",
        "'127.0.0.1' listens for this machine alone, '0.0.0.0' on all its addresses",
    )


def _empty(details: ErrorDetails, document: Document) -> Problem:
    subject, field = _subject_and_field(details["loc"])
    if field == "command":
        return _problem("CLV1215", document, details, f"{subject} is empty", "name the program and its arguments")
    return _problem("CLV1216", document, details, f"{subject} is empty", "add a version, or remove 'versions'")


def _both_forms(details: ErrorDetails, document: Document) -> Problem:
    field = details["ctx"]["field"]
    mark = document.mark((*details["loc"], field), key=True)
    return Problem(
        code="CLV1216",
        where=str(mark),
        what=f"{_subject(details['loc'])} has both {field!r} and 'versions'",
        hint="name the version below 'versions'" if field == "version" else f"write {field!r} in each version",
    )


def _wrong_value(details: ErrorDetails, document: Document) -> Problem:
    subject, _ = _subject_and_field(details["loc"])
    return _problem("CLV1103", document, details, f"{subject} is {found(details['input'])}: {details['msg']}")


_MESSAGES: dict[str, Callable[[ErrorDetails, Document], Problem]] = {
    "extra_forbidden": _unknown_field,
    "missing": _missing,
    "literal_error": _not_a_choice,
    "greater_than_equal": _no_port,
    "less_than_equal": _no_port,
    "ipv4": _no_address,
    "too_short": _empty,
    "both_forms": _both_forms,
    **dict.fromkeys(_EXPECTED, _wrong_kind),
}


def _problem(
    code: str, document: Document, details: ErrorDetails, what: str, hint: str = "", *, key: bool = False
) -> Problem:
    return Problem(code=code, where=str(document.mark(details["loc"], key=key)), what=what, hint=hint)


def _model_at(path: _Path) -> type[ChainDocument | MetadataPart | SpecPart | GatewayPart | VersionPart]:
    match path:
        case ():
            return ChainDocument
        case ("metadata",):
            return MetadataPart
        case ("spec",):
            return SpecPart
        case ("spec", "gateway"):
            return GatewayPart
        case ("spec", "functions", _):
            return FunctionPart
        case _:
            return VersionPart


def _subject(path: list[str | int] | _Path) -> str:
    """Return what a person calls the object at `path`."""
    match tuple(path):
        case ():
            return "the document"
        case ("spec", "gateway"):
            return "the gateway"
        case ("spec", "functions", name):
            return f"function {quoted(name)}"
        case ("spec", "functions", name, "versions", version):
            return f"version {quoted(version)} of function {quoted(name)}"
        case _:
            return repr(".".join(map(str, path)))


def _subject_and_field(path: _Path) -> tuple[str, str]:
    """Return what a person calls the value at `path`, and the field of the format that it belongs to."""
    match path:
        case ("spec", "functions", _, "versions", _, field, *rest) | ("spec", "functions", _, field, *rest) if (
            field != "versions" or not rest
        ):
            end = len(path) - 1 - len(rest)
            item = f"item {int(rest[0]) + 1} of " if rest else ""
            return f"{_subject(path[:end])}: {item}{field!r}", "" if rest else str(field)
        case ("spec", "gateway", field):
            return f"the gateway: {field!r}", "" if field == "to" else str(field)
        case _:
            return _subject(path), ""


def _as_list(command: str) -> str:
    try:
        return f"write [{', '.join(map(json.dumps, shlex.split(command)))}]"
    except ValueError:  # a quote that is not closed
        return ""
