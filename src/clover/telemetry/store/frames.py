"""What senders hand over, cut into rows that the engine reads by itself.

Nothing inside a span or a log record is looked at here: an export request is opened just as far as its list of spans,
and the bytes of each, followed by those of what it was sent under, become one row. So a request costs Python a copy of
its bytes, and a span that is not what it claims to be can spoil its own row only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError

from clover.telemetry._proto import otlp_pb2

_RESOURCE, _SCOPE = otlp_pb2.Span.RESOURCE_FIELD_NUMBER, otlp_pb2.Span.SCOPE_FIELD_NUMBER
"""Of log records, too."""


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


def rows_of(request: bytes) -> list[bytes]:
    """Return one row for each span or log record of an export request, or raise `MalformedError`."""
    return list(_rows(request))


def _rows(request: bytes) -> Iterator[bytes]:
    try:
        envelope = otlp_pb2.Envelope.FromString(request)
    except DecodeError as failure:
        raise MalformedError(str(failure)) from failure
    for resource in envelope.resources:
        above = _field(_RESOURCE, resource.resource)
        for scope in resource.scopes:
            suffix = above + _field(_SCOPE, scope.scope)
            room = len(suffix)
            for item in scope.items:
                yield varint(len(item) + room) + item + suffix


def line_row(*, received_unix_nano: int, resource: Mapping[str, str], text: bytes) -> bytes:
    """Return a row of `lines_in` in the format RowBinary: whole lines of one workload."""
    pairs = b"".join(delimited(key.encode()) + delimited(value.encode()) for key, value in resource.items())
    return b"".join(
        (received_unix_nano.to_bytes(8, "little"), varint(len(resource)), pairs, delimited(text)),
    )
