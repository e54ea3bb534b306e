"""The methods of the control interface by name, and their messages as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from clover.control._proto import control_pb2
from clover.control.handlers import Violation
from clover.spec.nearest import did_you_mean

_SERVICE = control_pb2.DESCRIPTOR.services_by_name["Ambassador"]
SERVICE: str = _SERVICE.full_name
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method."""

    name: str
    request: type[Message]
    answer: type[Message]
    streams_requests: bool
    streams_answers: bool


METHODS: Mapping[str, Method] = {
    method.name: Method(
        name=method.name,
        request=message_factory.GetMessageClass(method.input_type),
        answer=message_factory.GetMessageClass(method.output_type),
        streams_requests=method.client_streaming,
        streams_answers=method.server_streaming,
    )
    for method in _SERVICE.methods
}


def request_from(method: Method, data: object) -> tuple[Message, tuple[Violation, ...]]:
    """Return the request that `data`, parsed from JSON, means; or everything that keeps it from meaning one."""
    request = method.request()
    violations = tuple(_violations(data, request.DESCRIPTOR, ""))
    if not violations:
        try:
            json_format.ParseDict(cast("dict[str, Any]", data), request, max_recursion_depth=20)
        except (json_format.ParseError, RecursionError, ValueError) as failure:
            violations = (Violation(field="", what=_short(str(failure))),)
    return request, violations


def json_from(message: Message) -> dict[str, Any]:
    """Return a message as JSON, with the fields that have their default."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def _violations(data: object, descriptor: Any, path: str) -> Iterator[Violation]:
    """Yield what of `data` does not fit a message: json_format stops at the first."""
    if not isinstance(data, dict):
        yield Violation(field=path, what=f"found {_shown(data)}, expected an object")
        return
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for key, value in data.items():
        place = f"{path}.{key}" if path else str(key)
        field = fields.get(key)
        if field is None:
            hint = did_you_mean(str(key), [one.json_name for one in descriptor.fields])
            what = f"field {_shown(key)} is not known" + (f"; {hint}" if hint else "")
            yield Violation(field=_short(place), what=what)
        elif value is None:
            continue
        elif field.message_type is None or field.message_type.full_name.startswith("google.protobuf."):
            yield from _leaf(data, key, descriptor, place)
        elif not field.is_repeated:
            yield from _violations(value, field.message_type, place)
        elif isinstance(value, list):
            for number, one in enumerate(value):
                yield from _violations(one, field.message_type, f"{place}[{number}]")
        else:
            yield Violation(field=place, what=f"found {_shown(value)}, expected a list")


def _leaf(data: dict[str, Any], key: str, descriptor: Any, place: str) -> Iterator[Violation]:
    try:
        json_format.ParseDict({key: data[key]}, message_factory.GetMessageClass(descriptor)())
    except (json_format.ParseError, RecursionError, ValueError) as failure:
        what = str(failure).removeprefix(f"Failed to parse {key} field: ").rstrip(".")
        yield Violation(field=place, what=f"found {_shown(data[key])}: {_short(what)}")


def _shown(value: object) -> str:
    return _short(repr(value))


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
