"""Are these header names and values that Envoy takes, and that may be changed?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from clover.mesh.istio.finding import Finding, Path, cut
from clover.mesh.istio.kinds.virtual_service import HeaderOperations

HOST_HEADERS = frozenset({"host", ":authority"})
"""Setting one of them rewrites the authority."""
MATCHABLE_PSEUDO_HEADERS = frozenset({":authority", ":method", ":path", ":scheme"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_MAX_VALUE_BYTES = 16384
_MAX_CHANGES = 1000
"""Envoy takes no more changes of one message."""

_COMMAND = re.compile(r"%%|%(?P<name>[A-Z][A-Z_0-9]*)(?:\((?P<argument>[^()%]*)\))?(?::[0-9]{1,4})?%")
_PLAIN_COMMANDS = frozenset(
    {
        "ACCESS_LOG_TYPE",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "CONNECTION_ID",
        "CONNECTION_TERMINATION_DETAILS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DURATION",
        "FILTER_CHAIN_NAME",
        "HOSTNAME",
        "PATH",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "REQUEST_DURATION",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_DURATION",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "ROUTE_NAME",
        "SPAN_ID",
        "START_TIME",
        "STREAM_ID",
        "TRACE_ID",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_CONNECTION_ID",
        "UPSTREAM_HOST",
        "UPSTREAM_HOST_NAME",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_LOCAL_PORT",
        "UPSTREAM_PROTOCOL",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
    }
)
_COMMANDS_OF_A_HEADER = frozenset({"REQ", "RESP", "TRAILER"})
_HEADER_ARGUMENT = re.compile(r":?[!#$&'*+.^_`|~0-9A-Za-z-]{1,256}(?:\?:?[!#$&'*+.^_`|~0-9A-Za-z-]{1,256})?")


def is_header_name(name: str) -> bool:
    """Tell whether HTTP allows the name for a header."""
    return _TOKEN.fullmatch(name) is not None


def value_problem(value: str) -> str:
    """Return what is wrong with a value, in which `%` begins one of Envoy's commands."""
    if len(value.encode("utf-8", "replace")) > _MAX_VALUE_BYTES:
        return f"it is longer than {_MAX_VALUE_BYTES} bytes"
    position = 0
    while (position := value.find("%", position)) >= 0:
        found = _COMMAND.match(value, position)
        if found is None:
            return f"{cut(value)!r} has a '%' that begins no command; write '%%' for a percent sign"
        if found["name"] and not _is_command(found["name"], found["argument"]):
            return f"{cut(found[0])!r} is not a command that Clover's proxies know"
        position = found.end()
    return ""


def change_findings(operations: HeaderOperations, path: Path, *, may_set_host: bool) -> Iterator[Finding]:
    """Yield what is wrong with changes to the headers of one message."""
    for field, names in (("set", operations.set), ("add", operations.add), ("remove", operations.remove)):
        for index, name in enumerate(names):
            here = (*path, field, index if field == "remove" else name)
            if name.lower() in HOST_HEADERS and field == "set" and may_set_host:
                continue
            if problem := _name_problem(name):
                yield Finding(code="CLV4212", path=here, what=problem, hint=_host_hint(name))
            if isinstance(names, Mapping) and (problem := value_problem(names[name])):
                yield Finding(code="CLV4212", path=here, what=problem)
    if len(operations.set) + len(operations.add) > _MAX_CHANGES:
        yield Finding(code="CLV4212", path=path, what=f"more than {_MAX_CHANGES} headers are changed")


def _name_problem(name: str) -> str:
    if name.lower() in HOST_HEADERS:
        return f"the header {name!r} cannot be changed here"
    if name.startswith(":"):
        return f"the pseudo-header {cut(name)!r} cannot be changed"
    return "" if is_header_name(name) else f"{cut(name)!r} is not a header name"


def _host_hint(name: str) -> str:
    return "use 'rewrite.authority' of the rule" if name.lower() in HOST_HEADERS else ""


def _is_command(name: str, argument: str | None) -> bool:
    if name in _COMMANDS_OF_A_HEADER:
        return argument is not None and _HEADER_ARGUMENT.fullmatch(argument) is not None
    return name in _PLAIN_COMMANDS and argument is None
