"""Configurations as people write them, and as the JSON of the control interface has them.

The two differ in little: `least-connections` against `ALGORITHM_LEAST_CONNECTIONS`, and a default that is left out
against protobuf's zero.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clover.errors import CloverError, DocumentError, MeshError, Problem
from clover.kit import documents
from clover.kit.documents import Document
from clover.spec import violations
from clover.spec.configuration import MODELS, Configuration
from clover.spec.nearest import did_you_mean
from clover.spec.violations import Path, Violation

FIELDS = {
    "firewall": "firewall",
    "load-balancer": "loadBalancer",
    "cache": "cache",
    "ids": "ids",
    "server": "server",
}
"""Type of a function → the field of `clover.control.v1.Configuration` that holds its configuration."""
ENUMS = {
    "action": "ACTION",
    "algorithm": "ALGORITHM",
    "field": "FIELD",
    "match": "MATCH",
    "mode": "MODE",
    "operator": "OPERATOR",
    "state": "BACKEND_STATE",
    "target": "TARGET",
}
"""Field with one of several words → what its words begin with in protobuf."""
UNSPECIFIED = "_UNSPECIFIED"
_STEP = re.compile(r"\.([a-z0-9_]+)|\[([0-9]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A configuration that somebody wrote in a file."""

    configuration: Configuration
    document: Document
    field: str
    """Below which it stands."""

    def place(self, path: Path) -> str:
        """Return where in the file the field at `path` stands."""
        return str(self.document.mark((self.field, *path)))


def to_wire(type_: str, configuration: Configuration) -> dict[str, Any]:
    """Return the `Configuration` message, whole: with every default written out."""
    return {FIELDS[type_]: _outward(configuration.model_dump(mode="json", by_alias=True, exclude_none=True))}


def rule_to_wire(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a configuration, such as one rule, as its message."""
    converted: dict[str, Any] = _outward(rule)
    return converted


def from_wire(type_: str, message: Mapping[str, Any], *, where: str) -> Configuration:
    """
    Return the configuration that a `Configuration` message means.

    Raises MeshError when this Clover cannot read it: the ambassador is of another release.
    """
    data = inward(message.get(FIELDS[type_], {}))
    configuration, wrong = violations.checked(MODELS[type_], data)
    if configuration is None:
        raise MeshError(
            Problem(
                code="CLV5212",
                where=where,
                what=f"the ambassador told a configuration that cannot be read: {wrong[0].sentence('')}",
                hint="the chain may have been brought up by another version of Clover: clover down, then clover up",
            )
        )
    return configuration


def authored(type_: str, configuration: Configuration) -> dict[str, Any]:
    """Return the document that `clover control FUNCTION apply` takes."""
    return {FIELDS[type_]: configuration.as_json()}


def inward(value: Any, field: str = "") -> Any:
    """Return a value of protobuf's JSON as people write it, without what was never set."""
    if isinstance(value, Mapping):
        converted = {key: inward(item, key) for key, item in value.items()}
        return {key: item for key, item in converted.items() if not _unset(item)}
    if isinstance(value, list):
        return [inward(item) for item in value]
    if field in ENUMS and isinstance(value, str):
        return "" if value.endswith(UNSPECIFIED) else value.removeprefix(f"{ENUMS[field]}_").lower().replace("_", "-")
    return value


def _unset(value: Any) -> bool:
    # A duration of nothing is "0s", and no other field may be 0 or empty and mean it.
    return value is None or value == "" or (value == 0 and value is not False)


def _outward(value: Any, field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _outward(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_outward(item) for item in value]
    if field in ENUMS and isinstance(value, str):
        return f"{ENUMS[field]}_{value.upper().replace('-', '_')}"
    return value


def path_of(field: str, type_: str) -> Path | None:
    """Return the path that an ambassador calls `load_balancer.backends[0].host`; None of what is no field of it."""
    root = type_.replace("-", "_")
    if not re.fullmatch(rf"{root}(?:{_STEP.pattern})*", field):
        return None
    return tuple(
        int(place) if place else re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)
        for name, place in _STEP.findall(field.removeprefix(root))
    )


@contextlib.contextmanager
def fields_placed(type_: str, place: Callable[[Path], str]) -> Iterator[None]:
    """Within, what an ambassador says of a field is said of where `place` has it: where somebody wrote it."""
    try:
        yield
    except CloverError as failure:
        paths = [path_of(problem.where, type_) for problem in failure.problems]
        if all(path is None for path in paths):
            raise
        raise type(failure)(
            *(
                problem if path is None else replace(problem, where=place(path))
                for problem, path in zip(failure.problems, paths, strict=True)
            )
        ) from None


def parse(text: str, source: str, *, type_: str, function: str) -> Written:
    """Return what a document means for a function. Raises DocumentError with all its problems."""
    found = documents.parse(text, source)
    if len(found) != 1:
        what = f"{source!r} has {len(found)} documents, expected one" if found else "there is no document in it"
        where = str(found[1].mark()) if found else source
        hint = "put each configuration in a file of its own" if found else ""
        raise DocumentError(Problem(code="CLV5207", where=where, what=what, hint=hint))
    (document,) = found
    field = FIELDS[type_]
    if problems := tuple(_misplaced(document, field, type_=type_, function=function)):
        raise DocumentError(*problems)
    configuration, wrong = violations.checked(MODELS[type_], document.data[field])
    if configuration is None:
        raise DocumentError(*documents.worth_reading((_placed(one, document, field) for one in wrong), source))
    return Written(configuration=configuration, document=document, field=field)


def _misplaced(document: Document, field: str, *, type_: str, function: str) -> Iterator[Problem]:
    """Yield what is wrong with the outermost mapping, whose only key says whose configuration it is."""
    for key in document.data:
        if key == field:
            continue
        where = str(document.mark((key,), key=True))
        if key in FIELDS.values():
            other = next(name for name, known in FIELDS.items() if known == key)
            yield Problem(
                code="CLV5213",
                where=where,
                what=f"{key!r} configures a function of type {other!r}, and {function!r} is of type {type_!r}",
                hint=f"clover control {function} show -o yaml prints what fits",
            )
        else:
            yield Problem(
                code="CLV5214",
                where=where,
                what=f"a configuration has no field {violations.quoted(key)}",
                hint=did_you_mean(key, FIELDS.values(), otherwise=f"write everything below '{field}:'"),
            )
    if field not in document.data and not set(document.data) & set(FIELDS.values()):
        yield Problem(
            code="CLV5214",
            where=str(document.mark()),
            what=f"the document has no {field!r}, which is what configures {function!r}",
            hint=f"clover control {function} show -o yaml prints one",
        )


def _placed(violation: Violation, document: Document, field: str) -> Problem:
    at_key = violation.kind in (violations.Kind.UNKNOWN, violations.Kind.MISSING)
    return Problem(
        code="CLV5214",
        where=str(document.mark((field, *violation.path), key=at_key)),
        what=violation.sentence(field),
        hint=violation.hint,
    )
