"""Protobuf messages to configurations, and back: one walk over descriptors for every type, with no field named here.

The names agree by construction: a model's field is called as the message's, and an enum's value `least-connections` is
`ALGORITHM_LEAST_CONNECTIONS`. In a message, zero, empty and unspecified mean left out, so the model's default holds;
lists, truth values, and what can be told to be absent (messages, durations) mean what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clover.control._proto import control_pb2
from clover.control.handlers import CallError, Code, Violation
from clover.errors import Problem
from clover.spec.configuration import MODELS, Configuration, Part

P = TypeVar("P", bound=Part)
M = TypeVar("M", bound=Message)

Descriptor = Any
"""Of a message, a field or an enum: the protobuf library has two implementations of each."""

_DURATION = "google.protobuf.Duration"
_SHOWN = 80
"""So much of a wrong value is repeated to whoever sent it."""


def configuration_from(message: control_pb2.Configuration, *, type_: str) -> Configuration:
    """Return the configuration of a function of this type. Raises CallError that names each field that is wrong."""
    wanted = type_.replace("-", "_")
    found = message.WhichOneof("type")
    if found != wanted:
        what = f"found {found!r}" if found else "found none"
        problem = Problem(
            code="CLV3300", where="configuration", what=f"the function is a {type_}: expected {wanted!r}, {what}"
        )
        violation = Violation(field=found or wanted, what=f"expected {wanted!r}: the function is a {type_}")
        raise CallError(code=Code.INVALID_ARGUMENT, problems=(problem,), violations=(violation,))
    return part_from(getattr(message, wanted), MODELS[type_], path=wanted)


def part_from(message: Message, model: type[P], *, path: str) -> P:
    """Return the value that `message`, found at `path`, means. Raises CallError that names each field that is wrong."""
    violations = tuple(_unknown(message, path))
    try:
        part = model.model_validate(_plain(message))
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
        violations += tuple(_violation(error, message.DESCRIPTOR, path) for error in errors)
    else:
        if not violations:
            return part
    raise invalid(violations)


def invalid(violations: tuple[Violation, ...]) -> CallError:
    """Return the error of a request in which these fields are wrong."""
    problems = tuple(Problem(code="CLV3303", where=one.field, what=f"{one.field}: {one.what}") for one in violations)
    return CallError(code=Code.INVALID_ARGUMENT, problems=problems, violations=violations)


def message_from(configuration: Configuration) -> control_pb2.Configuration:
    """Return the message that says all of a configuration, also what has its default."""
    type_ = next(name for name, model in MODELS.items() if type(configuration) is model)
    message = control_pb2.Configuration()
    inner = getattr(message, type_.replace("-", "_"))
    inner.SetInParent()
    _fill(inner, configuration)
    return message


def part_message(part: Part, kind: type[M]) -> M:
    """Return the message of this kind that says all of `part`."""
    message = kind()
    _fill(message, part)
    return message


def word_from(enum: Descriptor, number: int) -> str | int | None:
    """Return the word for an enum's value; None for unspecified, and the number itself when it has no name."""
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(_prefix(enum)).lower().replace("_", "-")


def number_from(enum: Descriptor, word: str) -> int:
    """Return the enum's value for a word."""
    number: int = enum.values_by_name[_prefix(enum) + word.upper().replace("-", "_")].number
    return number


def seconds_from(duration: Duration) -> float:
    """Return the length of time in seconds, to the microsecond."""
    return round(duration.seconds + duration.nanos / 1e9, 6)


def set_seconds(duration: Duration, value_s: float) -> None:
    """Let the message say this length of time, to the microsecond."""
    microseconds = round(value_s * 1e6)
    whole, rest = divmod(abs(microseconds), 1_000_000)
    sign = -1 if microseconds < 0 else 1
    duration.seconds, duration.nanos = sign * whole, sign * rest * 1000
    duration.SetInParent()


def timestamp(at: float) -> Timestamp:
    """Return a point in time, in Unix seconds, to the microsecond."""
    stamp = Timestamp()
    stamp.FromMicroseconds(round(at * 1e6))
    return stamp


def _prefix(enum: Descriptor) -> str:
    zero: str = enum.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


def _plain(message: Message) -> dict[str, Any]:
    """Return what a message says as the JSON that its model reads, without what is left out."""
    data: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            data[field.camelcase_name] = [_plain_value(field, item) for item in value]
        elif field.message_type is not None:
            if message.HasField(field.name):
                data[field.camelcase_name] = _plain_value(field, value)
        elif field.type == FieldDescriptor.TYPE_BOOL or value:
            data[field.camelcase_name] = _plain_value(field, value)
    return data


def _plain_value(field: Descriptor, value: Any) -> Any:
    if field.message_type is None:
        return value if field.enum_type is None else word_from(field.enum_type, value)
    return seconds_from(value) if field.message_type.full_name == _DURATION else _plain(value)


def _fill(message: Message, part: Part) -> None:
    for field in message.DESCRIPTOR.fields:
        value = getattr(part, field.name)
        if value is None:
            continue
        if field.is_repeated:
            items = getattr(message, field.name)
            if field.message_type is None:
                items.extend(value)
            else:
                for item in value:
                    _fill(items.add(), item)
        elif field.message_type is None:
            setattr(message, field.name, number_from(field.enum_type, value) if field.enum_type else value)
        elif field.message_type.full_name == _DURATION:
            set_seconds(getattr(message, field.name), value)
        else:
            inner = cast(Message, getattr(message, field.name))
            inner.SetInParent()
            _fill(inner, value)


def _unknown(message: Message, path: str) -> Iterator[Violation]:
    """Yield the fields that this version does not know: what somebody asked for is refused rather than ignored."""
    for unknown in cast(Iterable[Any], UnknownFieldSet(message)):
        yield Violation(
            field=path, what=f"has the field number {unknown.field_number}, which this version does not know"
        )
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.full_name == _DURATION:
            continue
        if field.is_repeated:
            for index, item in enumerate(value):
                yield from _unknown(item, f"{path}.{field.name}[{index}]")
        else:
            yield from _unknown(value, f"{path}.{field.name}")


def _violation(error: ErrorDetails, descriptor: Descriptor, path: str) -> Violation:
    place = descriptor
    # A rule about several fields together says in its context which of them breaks it.
    for step in (*error["loc"], *error.get("ctx", {}).get("path", ())):
        if isinstance(step, int):
            path = f"{path}[{step}]"
            continue
        field = place.fields_by_camelcase_name.get(step) if place else None
        if field is None:
            break
        path, place = f"{path}.{field.name}", field.message_type
    what = error["msg"][:1].lower() + error["msg"][1:]
    found = error["input"]
    if error["type"] == "missing":
        what = "is missing"
    elif isinstance(found, str | int | float):
        shown = repr(found)
        what = f"{what}; found {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + ' ...'}"
    return Violation(field=path, what=what)
