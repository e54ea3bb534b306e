"""The control agent: takes orders as JSON on a Unix socket, and asks ambassadors over gRPC, through its own sidecar.

Paths and bodies: docs/reference/control.md. A failure is `{"problems": [...], "exitCode": n}`, with the gRPC status and
the trace where there was a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clover.control._proto import control_pb2
from clover.control.client import CallFailedError, Client
from clover.control.methods import METHODS, Method, json_from, request_from
from clover.control.settings import AgentSettings
from clover.control.telemetry import sending
from clover.errors import CloverError, DocumentError, Problem
from clover.kit import unix_server
from clover.spec.nearest import did_you_mean

JSON_BYTES = 1024 * 1024
UPLOAD_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
TIMEOUT_S = 30.0
LONGEST_S = 600.0
_PATHS = {(False, False): "/v1/call", (False, True): "/v1/stream", (True, False): "/v1/upload"}
"""Whether a method streams its requests, and its answers → where it is called."""
_MISSING = ("CLV3335", "CLV3336")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom an order is for."""

    address: str
    """`host:port`; the mesh decides who that is."""
    workload: str
    """'' when the mesh's route rules choose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A call that makes sense."""

    target: Target
    method: Method
    request: Any
    timeout_s: float


class Agent:
    """Carries orders out."""

    def __init__(self, settings: AgentSettings, client: Client) -> None:
        self._functions = settings.functions
        self._client = client

    def functions(self) -> list[Json]:
        """Return whom it may ask."""
        return [asdict(function) for function in self._functions]

    def order(self, body: bytes, *, path: str) -> Order:
        """Return the call that the body of a request means; raises CloverError with everything that is wrong."""
        data = _object(body)
        problems = list(_shape(data))
        function, version, name = (data[key] if isinstance(data.get(key), str) else "" for key in _NAMES)
        target = self._target(function, version) if not problems else None
        if isinstance(target, Problem):
            problems.append(target)
        method = METHODS.get(name)
        if method is None or _PATHS[method.streams_requests, method.streams_answers] != path:
            if not problems or isinstance(data.get("method"), str):
                problems.append(_wrong_method(name, method, path))
            raise DocumentError(*problems)
        request, violations = request_from(method, data.get("request", {}))
        problems += [
            Problem(code="CLV3337", where=f"request.{wrong.field}".rstrip("."), what=wrong.what) for wrong in violations
        ]
        if problems or not isinstance(target, Target):
            raise DocumentError(*problems)
        return Order(target=target, method=method, request=request, timeout_s=float(data.get("timeoutS", TIMEOUT_S)))

    async def call(self, order: Order) -> Json:
        """Return what the ambassador answers."""
        answered = await self._client.call(order.target.address, order.method, order.request, timeout_s=order.timeout_s)
        return {
            "workload": order.target.workload,
            "traceId": answered.trace_id,
            "response": json_from(answered.message),
        }

    async def stream(self, order: Order) -> AsyncIterator[bytes]:
        """Yield what the ambassador answers, one JSON object a line; the last may be problems."""
        answers = self._client.stream(order.target.address, order.method, order.request)
        try:
            async with contextlib.aclosing(answers):
                async for answer in answers:
                    yield _line({"response": json_from(answer)})
        except CallFailedError as failure:
            yield _line(_refusal(failure))

    async def upload(self, query: Json, content: bytes) -> Json:
        """Send a file to a server, and return what its ambassador answers."""
        problems = [_unknown(key, _UPLOAD) for key in query if key not in _UPLOAD]
        expected = query.get("expectedGeneration", "0")
        if not (expected.isascii() and expected.isdecimal() and len(expected) < 19):
            problems.append(_bad("expectedGeneration", f"expectedGeneration is {expected[:40]!r}, expected a number"))
        if not query.get("path"):
            problems.append(_bad("path", "path is missing: where the file is served"))
        target = self._target(query.get("function", ""), query.get("version", ""))
        if isinstance(target, Problem):
            problems.append(target)
        if problems or not isinstance(target, Target):
            raise DocumentError(*problems)
        order = Order(
            target=target,
            method=METHODS["UploadFile"],
            request=list(_chunks(query["path"], int(expected), content)),
            timeout_s=TIMEOUT_S,
        )
        return await self.call(order)

    def _target(self, function: str, version: str) -> Target | Problem:
        """
        Return whom an order is for.

        Without a version, and with several to choose from, that is the function's own service: the mesh's rules choose.
        """
        versions = [one for one in self._functions if one.function == function]
        if not versions:
            hint = did_you_mean(function, {one.function for one in self._functions})
            what = f"the chain has no function {function[:80]!r} with an ambassador"
            return Problem(code="CLV3335", where=f"function {function[:80]}", what=what, hint=hint)
        if not version and len(versions) > 1:
            return Target(address=f"{function}:{versions[0].port}", workload="")
        for one in versions:
            if version in ("", one.version):
                return Target(address=f"{one.host}:{one.port}", workload=one.workload)
        what = f"function {function!r} has no version {version[:80]!r}"
        hint = f"it has {', '.join(one.version for one in versions)}"
        return Problem(code="CLV3335", where=f"function {function}", what=what, hint=hint)


def application(agent: Agent) -> Starlette:
    """Return the agent's API as an ASGI application."""

    async def functions(_: Request) -> Response:
        return JSONResponse({"functions": agent.functions()})

    async def call(request: Request) -> Response:
        return JSONResponse(await agent.call(agent.order(await _bounded(request, JSON_BYTES), path="/v1/call")))

    async def stream(request: Request) -> Response:
        order = agent.order(await _bounded(request, JSON_BYTES), path="/v1/stream")
        return StreamingResponse(agent.stream(order), media_type="application/x-ndjson")

    async def upload(request: Request) -> Response:
        content = await _bounded(request, UPLOAD_BYTES)
        return JSONResponse(await agent.upload(dict(request.query_params), content))

    return Starlette(
        routes=[
            Route("/v1/functions", functions),
            Route("/v1/call", call, methods=["POST"]),
            Route("/v1/stream", stream, methods=["POST"]),
            Route("/v1/upload", upload, methods=["POST"]),
        ],
        exception_handlers={CloverError: _refused, HTTPException: _not_there, Exception: _broken},
    )


@contextlib.asynccontextmanager
async def serving_agent(settings: AgentSettings, client: Client, *, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Take orders for as long as the block runs."""
    orders = application(Agent(settings, client))
    async with unix_server.serving(orders, Path(settings.socket), name="agent", tasks=tasks):
        yield


async def run(settings: AgentSettings) -> None:
    """Take orders until this process is told to stop."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    resource = {
        "service.name": settings.workload,
        "service.namespace": settings.chain,
        "service.instance.id": settings.workload,
        "clover.workload": settings.workload,
    }
    async with (
        asyncio.TaskGroup() as tasks,
        sending(settings.otlp, resource=resource, attributes={"clover.workload": settings.workload}) as telemetry,
        Client(telemetry) as client,
        serving_agent(settings, client, tasks=tasks),
    ):
        await stopped.wait()


_NAMES = ("function", "version", "method")
_CALL = (*_NAMES, "request", "timeoutS")
_UPLOAD = ("function", "version", "path", "expectedGeneration")


def _object(body: bytes) -> Json:
    try:
        data = json.loads(body)
        # JSON can name halves of characters, which no message can hold and no answer could repeat.
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as failure:
        raise DocumentError(_bad("body", f"the body is not JSON: {failure}")) from None
    if not isinstance(data, dict):
        raise DocumentError(_bad("body", 'the body is no object, expected {"function": ..., "method": ...}'))
    return data


def _shape(data: Json) -> Iterator[Problem]:
    """Yield what keeps `data` from being an order at all."""
    for key in data:
        if key not in _CALL:
            yield _unknown(key, _CALL)
    for key in _NAMES:
        if not isinstance(data.get(key, ""), str):
            yield _bad(key, f"{key} is {_shown(data[key])}, expected text")
    for key in ("function", "method"):
        if key not in data:
            yield _bad(key, f"{key} is missing")
    timeout = data.get("timeoutS", TIMEOUT_S)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= LONGEST_S:
        yield _bad(
            "timeoutS", f"timeoutS is {_shown(timeout)}, expected seconds, more than 0 and at most {LONGEST_S:g}"
        )


def _wrong_method(name: str, method: Method | None, path: str) -> Problem:
    where = f"method {name[:80]}"
    if method is None:
        hint = did_you_mean(name, METHODS)
        return Problem(code="CLV3336", where=where, what=f"there is no method {name[:80]!r}", hint=hint)
    right = _PATHS[method.streams_requests, method.streams_answers]
    return Problem(code="CLV3336", where=where, what=f"{name!r} is called at {right!r}, not at {path!r}")


def _chunks(path: str, expected_generation: int, content: bytes) -> Iterator[control_pb2.UploadFileRequest]:
    yield control_pb2.UploadFileRequest(path=path, expected_generation=expected_generation)
    for begin in range(0, len(content), CHUNK_BYTES):
        yield control_pb2.UploadFileRequest(chunk=content[begin : begin + CHUNK_BYTES])


async def _bounded(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise DocumentError(_bad("body", f"the body is larger than {most} bytes"))
    return bytes(body)


def _unknown(key: str, known: tuple[str, ...]) -> Problem:
    return Problem(
        code="CLV3337", where=key[:80], what=f"field {key[:80]!r} is not known", hint=did_you_mean(key, known)
    )


def _bad(where: str, what: str) -> Problem:
    return Problem(code="CLV3337", where=where, what=what)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _line(data: Json) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode(errors="replace") + b"\n"


def _refusal(failure: CloverError) -> Json:
    data: Json = {"problems": [problem.as_json() for problem in failure.problems], "exitCode": failure.exit_code}
    if isinstance(failure, CallFailedError):
        data |= {"grpc": asdict(failure.answer), "traceId": failure.trace_id}
    return data


def _refused(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, CloverError)  # noqa: S101 - registered for this class alone
    # An order of which only the name is wrong is for something that is not there.
    missing = all(problem.code in _MISSING for problem in failure.problems)
    return JSONResponse(_refusal(failure), status_code=404 if missing else 422)


def _not_there(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101 - registered for this class alone
    problem = Problem(
        code="CLV3337",
        where=f"{request.method} {request.url.path}",
        what=f"the control agent does not have this: {failure.detail}",
        hint="docs/reference/control.md lists what it has",
    )
    return JSONResponse(
        {"problems": [problem.as_json()], "exitCode": DocumentError.exit_code},
        status_code=failure.status_code,
        headers=failure.headers,
    )


def _broken(request: Request, failure: Exception) -> Response:
    # Starlette raises it again after this answer, and so it gets into the workload's log with its traceback.
    problem = Problem(
        code="CLV3338",
        where=f"{request.method} {request.url.path}",
        what=f"the control agent failed to answer: {type(failure).__name__}: {str(failure)[:500]}",
        hint="this is a bug in Clover; clover logs control-agent has the traceback",
    )
    return JSONResponse({"problems": [problem.as_json()], "exitCode": 1}, status_code=500)
