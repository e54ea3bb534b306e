"""The node's HTTP API, on a Unix socket that only its owner may open.

Paths and bodies: docs/reference/api.md. A failure is `{"problems": [...], "exitCode": n}` with a status of 4xx or 5xx.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clover.errors import CloverError, DocumentError, Problem
from clover.kit import unix_server

BODY_BYTES = 4 * 1024 * 1024
"""A larger request is refused: policies are text that people write."""
WAIT_S = 30.0
"""The longest that a caller may wait for a trace to become complete."""

Json = dict[str, Any]


class Node(Protocol):
    """What answers the API's questions. Every method may raise CloverError, whose problems become the answer."""

    async def status(self) -> Json:
        """Return the chain, its workloads and its problems."""
        ...

    async def apply(self, documents: Sequence[tuple[str, str]], *, dry_run: bool) -> Json:
        """Apply named texts of Istio resources, all or none."""
        ...

    def resources(self, kind: str, name: str, namespace: str) -> Json:
        """Return the Istio resources in force; an empty argument selects all."""
        ...

    async def delete(self, kind: str, name: str, namespace: str) -> Json:
        """Delete one Istio resource."""
        ...

    async def delete_all(
        self,
        named: Sequence[tuple[str, str, str]],
        documents: Sequence[tuple[str, str]],
        *,
        dry_run: bool,
        ignore_missing: bool,
    ) -> Json:
        """Delete Istio resources by kind, name and namespace, and those that texts are about; all or none."""
        ...

    async def traces(self, query: Mapping[str, str], attributes: Sequence[str]) -> list[Json]:
        """Return summaries of the traces that fit the query, newest first."""
        ...

    async def trace(self, key: str, *, wait_s: float) -> Json:
        """Return one trace whole, waiting for it to become complete."""
        ...

    async def alerts(self, query: Mapping[str, str]) -> list[Json]:
        """Return alerts that fit the query, oldest first."""
        ...

    async def changes(self, query: Mapping[str, str]) -> list[Json]:
        """Return changes that fit the query, oldest first."""
        ...

    async def lost(self, query: Mapping[str, str]) -> list[Json]:
        """Return requests and connections that proxies ended themselves, oldest first."""
        ...

    def following(self, what: str, query: Mapping[str, str]) -> AsyncIterator[Json | None]:
        """Yield `alerts` or `changes` as they come; None when nothing has come for a while."""
        ...

    async def proxy(self, workload: str, what: str) -> bytes:
        """Return JSON from the admin interface of a workload's sidecar."""
        ...


def application(node: Node) -> Starlette:
    """Return the API as an ASGI application."""

    async def status(_: Request) -> Response:
        return JSONResponse(await node.status())

    async def apply(request: Request) -> Response:
        body = _object(await _bounded(request))
        documents = [(str(entry["name"]), str(entry["text"])) for entry in body.get("documents", ())]
        return JSONResponse(await node.apply(documents, dry_run=body.get("dryRun", False)))

    async def resources(request: Request) -> Response:
        query = request.query_params
        return JSONResponse(node.resources(query.get("kind", ""), query.get("name", ""), query.get("namespace", "")))

    async def delete(request: Request) -> Response:
        path = request.path_params
        return JSONResponse(await node.delete(path["kind"], path["name"], request.query_params.get("namespace", "")))

    async def delete_all(request: Request) -> Response:
        body = _deletion(await _bounded(request))
        named = [(str(one["kind"]), str(one["name"]), str(one.get("namespace") or "")) for one in body["resources"]]
        documents = [(str(one["name"]), str(one["text"])) for one in body["documents"]]
        dry_run, ignore_missing = body.get("dryRun", False), body.get("ignoreNotFound", False)
        return JSONResponse(await node.delete_all(named, documents, dry_run=dry_run, ignore_missing=ignore_missing))

    async def traces(request: Request) -> Response:
        query = request.query_params
        return JSONResponse(await node.traces(dict(query), query.getlist("attribute")))

    async def trace(request: Request) -> Response:
        wait_s = min(_number(request.query_params.get("waitS", "0"), "waitS"), WAIT_S)
        return JSONResponse(await node.trace(request.path_params["key"], wait_s=wait_s))

    async def alerts(request: Request) -> Response:
        query = dict(request.query_params)
        if _truth(query.get("follow", "false")):
            return _lines(node.following("alerts", query))
        return JSONResponse(await node.alerts(query))

    async def changes(request: Request) -> Response:
        query = dict(request.query_params)
        if _truth(query.get("follow", "false")):
            return _lines(node.following("changes", query))
        return JSONResponse(await node.changes(query))

    async def lost(request: Request) -> Response:
        return JSONResponse(await node.lost(dict(request.query_params)))

    async def proxy(request: Request) -> Response:
        path = request.path_params
        return Response(await node.proxy(path["workload"], path["what"]), media_type="application/json")

    return Starlette(
        routes=[
            Route("/v1/status", status),
            Route("/v1/resources", resources),
            Route("/v1/resources", apply, methods=["POST"]),
            Route("/v1/resources/{kind}/{name}", delete, methods=["DELETE"]),
            Route("/v1/deletions", delete_all, methods=["POST"]),
            Route("/v1/traces", traces),
            Route("/v1/traces/{key}", trace),
            Route("/v1/alerts", alerts),
            Route("/v1/changes", changes),
            Route("/v1/lost", lost),
            Route("/v1/proxies/{workload}/{what}", proxy),
        ],
        exception_handlers={CloverError: _refused, HTTPException: _unknown, Exception: _broken},
    )


@contextlib.asynccontextmanager
async def serving_api(path: Path, node: Node, *, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Serve the API on the Unix socket at `path` for as long as the block runs."""
    async with unix_server.serving(application(node), path, name="api", tasks=tasks):
        yield


def _refused(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, CloverError)  # noqa: S101 - registered for this class alone
    missing = any(problem.code in ("CLV4404", "CLV6013", "CLV5404") for problem in failure.problems)
    return JSONResponse(
        {"problems": [problem.as_json() for problem in failure.problems], "exitCode": failure.exit_code},
        status_code=404 if missing else 422,
    )


def _unknown(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101 - registered for this class alone
    problem = Problem(
        code="CLV5003",
        where=f"{request.method} {request.url.path}",
        what=f"the API does not have this: {failure.detail}",
        hint="docs/reference/api.md lists what it has",
    )
    return JSONResponse(
        {"problems": [problem.as_json()], "exitCode": DocumentError.exit_code},
        status_code=failure.status_code,
        headers=failure.headers,
    )


def _broken(request: Request, failure: Exception) -> Response:
    # Starlette raises it again after this answer, and so it gets into the node's log with its traceback.
    problem = Problem(
        code="CLV5002",
        where=f"{request.method} {request.url.path}",
        what=f"the node failed to answer: {type(failure).__name__}: {str(failure)[:500]}",
        hint="this is a bug in Clover; the traceback is in node.log of the chain's run folder",
    )
    return JSONResponse({"problems": [problem.as_json()], "exitCode": 1}, status_code=500)


def _lines(values: AsyncIterator[Json | None]) -> Response:
    """Answer with a JSON value a line, as they come; an empty line tells that this side lives."""

    async def text() -> AsyncIterator[str]:
        async for value in values:
            yield "\n" if value is None else f"{json.dumps(value)}\n"

    return StreamingResponse(text(), media_type="application/x-ndjson")


async def _bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise _bad_request(f"the body is larger than {BODY_BYTES} bytes")
    return bytes(body)


def _object(body: bytes) -> Json:
    value = _parsed(body)
    if not _all_have(value.get("documents"), {"name", "text"}):
        raise _bad_request('the body must be {"documents": [{"name": ..., "text": ...}]}')
    return value


def _deletion(body: bytes) -> Json:
    value = {"resources": [], "documents": [], **_parsed(body)}
    if not _all_have(value["resources"], {"kind", "name"}) or not _all_have(value["documents"], {"name", "text"}):
        raise _bad_request(
            'the body must be {"resources": [{"kind": ..., "name": ...}], "documents": [{"name": ..., "text": ...}]}'
        )
    return value


def _parsed(body: bytes) -> Json:
    """Return the JSON object in a body, whose switches are true or false."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as failure:
        raise _bad_request(f"the body is not JSON: {failure}") from None
    if not isinstance(value, dict):
        raise _bad_request("the body is not a JSON object")
    for switch in ("dryRun", "ignoreNotFound"):
        if not isinstance(value.get(switch, False), bool):
            raise _bad_request(f"{switch} is {value[switch]!r}, expected true or false")
    return value


def _all_have(entries: object, names: set[str]) -> bool:
    return isinstance(entries, list) and all(isinstance(one, dict) and names <= one.keys() for one in entries)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise _bad_request(f"{name} is {text!r}, expected a number of seconds")
    return number


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise _bad_request(f"follow is {text[:80]!r}, expected true or false")
    return text == "true"


def _bad_request(what: str) -> DocumentError:
    return DocumentError(Problem(code="CLV5003", where="API request", what=what))
