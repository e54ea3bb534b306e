"""The call that drops answers from a cache."""

from __future__ import annotations

import re
from typing import TypeGuard

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.change_record import EVENT
from clover.control.handlers import AttributeValue, Call, Code, Handlers, Surroundings, Violation, call_error
from clover.functions.driver import EngineDownError, EngineError, Purging, Running

_URL = re.compile(
    r"(?:http://(?P<host>[A-Za-z0-9.-]{1,253}(?::\d{1,5})?))?(?P<path>/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]{0,2047})"
)
"""The characters that a URL may have (RFC 3986), without a fragment and without brackets."""


class Purge:
    """`PurgeCache`."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._settings = surroundings.settings
        self._running = surroundings.running
        self._telemetry = surroundings.telemetry

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"PurgeCache": self.purge}

    async def purge(self, request: control_pb2.PurgeCacheRequest, call: Call) -> control_pb2.PurgeCacheResponse:
        """Drop one answer, those that begin alike, or all."""
        host, path, prefix = _what(request)
        running, function, engine = self._running, self._settings.function, self._settings.engine
        if not _purges(running):
            what = f"the engine {engine!r} of {function!r} cannot drop answers"
            raise call_error(Code.UNIMPLEMENTED, "CLV3311", what, where=function)
        try:
            purged = await running.purge(host=host, path=path, prefix=prefix)
        except EngineError as failure:
            code = Code.INTERNAL if isinstance(failure, EngineDownError) else Code.FAILED_PRECONDITION
            what = f"{engine} of {function!r} did not drop answers: {failure}"
            raise call_error(code, "CLV3308", what, where=function, preconditions={"ENGINE": ""}) from failure
        text = f"purged {host}{path}{'*' if prefix else ''}" if host or path else "purged everything"
        text += "" if purged is None else f": {purged}"
        print(f"{function}: {text}", flush=True)
        self._telemetry.emit(EVENT, f"{function}: {text}", _record(text, call), context=call.context)
        return control_pb2.PurgeCacheResponse(purged=purged)


def _record(text: str, call: Call) -> dict[str, AttributeValue]:
    return {
        "log": "change",
        "clover.change.method": call.method,
        "clover.change.outcome": "applied",
        "clover.change.summary": text,
    }


def _what(request: control_pb2.PurgeCacheRequest) -> tuple[str, str, bool]:
    """Return host, path, and whether everything that begins with it is meant. Raises CallError."""
    which = request.WhichOneof("what")
    if which == "everything" and request.everything:
        return "", "", True
    if which not in ("url", "prefix"):
        what = "expected one of 'url', 'prefix' and 'everything'"
        raise convert.invalid((Violation(field="what", what=what),))
    text: str = getattr(request, which)
    match = _URL.fullmatch(text)
    if match is None:
        what = f"found {text[:80]!r}, expected 'http://host/path?query', or '/path?query' for every host"
        raise convert.invalid((Violation(field=which, what=what),))
    return (match["host"] or "").lower(), match["path"], which == "prefix"


def _purges(running: Running | None) -> TypeGuard[Purging]:
    return hasattr(running, "purge")
