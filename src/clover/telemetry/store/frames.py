"""What senders hand over, cut into rows that the engine reads by itself.

Nothing inside a span or a log record is looked at here: an export request is opened just as far as its list of spans,
and each span's bytes become one row of `otlp.proto`. So a request costs Python a copy of its bytes, and a span that is
not what it claims to be can spoil its own row only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

RESOURCE_FIELD = 1001
"""Number of the field `resource` in `SpanRow` and `LogRow`."""
SCOPE_FIELD = 1002


class MalformedError(ValueError):
    """The bytes are not an OTLP export request."""


def varint(number: int) -> bytes:
    """Return `number` as protobuf and RowBinary write lengths."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(payload: bytes) -> bytes:
    """Return the payload behind its length."""
    return varint(len(payload)) + payload


def _field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + delimited(payload)


@cache
def _envelope() -> Any:
    """
    Return the message class of an export request, opened as far as its list of spans or records.

    Traces and logs have the same field numbers down to there.
    """
    file = descriptor_pb2.FileDescriptorProto(name="clover/envelope.proto", package="clover.envelope", syntax="proto3")
    string, message = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    one, many = (
        descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    for name, fields in {
        "Scope": [("scope", 1, one, string, ""), ("items", 2, many, string, "")],
        "Resource": [("resource", 1, one, string, ""), ("scopes", 2, many, message, ".clover.envelope.Scope")],
        "Request": [("resources", 1, many, message, ".clover.envelope.Resource")],
    }.items():
        kind = file.message_type.add(name=name)
        for field, number, label, type_, type_name in fields:
            kind.field.add(name=field, number=number, label=label, type=type_, type_name=type_name or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("clover.envelope.Request"))


def rows_of(request: bytes) -> list[bytes]:
    """Return one row for each span or log record of an export request, or raise `MalformedError`."""
    return list(_rows(request))


def _rows(request: bytes) -> Iterator[bytes]:
    try:
        envelope = _envelope().FromString(request)
    except DecodeError as failure:
        raise MalformedError(str(failure)) from failure
    for resource in envelope.resources:
        above = _field(RESOURCE_FIELD, resource.resource)
        for scope in resource.scopes:
            suffix = above + _field(SCOPE_FIELD, scope.scope)
            room = len(suffix)
            for item in scope.items:
                yield varint(len(item) + room) + item + suffix


def line_row(*, received_unix_nano: int, resource: Mapping[str, str], text: bytes) -> bytes:
    """Return a row of `lines_in` in the format RowBinary: whole lines of one workload."""
    pairs = b"".join(delimited(key.encode()) + delimited(value.encode()) for key, value in resource.items())
    return b"".join(
        (received_unix_nano.to_bytes(8, "little"), varint(len(resource)), pairs, delimited(text)),
    )
