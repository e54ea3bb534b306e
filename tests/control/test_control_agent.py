"""The control agent as commands see it: JSON on a Unix socket, real ambassadors behind it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from closed_loop import answering, eve, firewall, records, settings_for, surrounded

from clover.control.agent import UPLOAD_BYTES, serving_agent
from clover.control.alerts import Alerts
from clover.control.client import Client
from clover.control.handlers import Code, call_error
from clover.control.settings import AgentSettings, Controlled
from clover.control.telemetry import sending
from clover.kit import unix_http
from harness.otlp import Received, receiving
from harness.ports import free_port


@dataclass(kw_only=True)
class Agent:
    """What was started."""

    socket: Path
    root: Path
    otlp: Received

    async def ask(self, path: str, *, body: object = None, content: bytes | None = None, method: str = "POST"):
        data = content if content is not None else None if body is None else json.dumps(body).encode()
        status, answer = await asyncio.to_thread(unix_http.fetch, self.socket, path, method=method, body=data)
        return status, json.loads(answer)

    async def call(self, function: str, method: str, *, version: str = "", **more):
        body = {"function": function, "version": version, "method": method, **more}
        return await self.ask("/v1/call", body=body)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """An agent of a chain with an IDS and a firewall of two versions, of which one is absent."""
    with tempfile.TemporaryDirectory(prefix="clv") as folder:
        root, otlp = Path(folder), Path(folder, "otlp.sock")
        async with (
            receiving(otlp) as received,
            asyncio.TaskGroup() as tasks,
            firewall(root / "fw", otlp) as (port, _),
            surrounded(settings_for("ids", root / "ids", otlp)) as surroundings,
        ):
            finding = Alerts(surroundings)
            working = tasks.create_task(finding.run())
            async with (
                answering({**finding.handlers(), "UploadFile": _uploaded, "Apply": _broken}, surroundings) as ids_port,
                sending(str(otlp), resource={"service.name": "control-agent"}, attributes={}) as telemetry,
                Client(telemetry) as client,
            ):
                settings = AgentSettings(
                    chain="c",
                    namespace="default",
                    workload="control-agent",
                    socket=str(root / "agent.sock"),
                    functions=(
                        _controlled("fw", "v1", "firewall", port),
                        _controlled("fw", "v2", "firewall", free_port()),
                        _controlled("ids", "v1", "ids", ids_port),
                    ),
                    otlp=str(otlp),
                )
                async with serving_agent(settings, client, tasks=tasks):
                    yield Agent(socket=root / "agent.sock", root=root, otlp=received)
            working.cancel()


def _controlled(function: str, version: str, type_: str, port: int) -> Controlled:
    return Controlled(
        function=function,
        version=version,
        workload=f"{function}-{version}",
        type=type_,
        engine="e",
        host="127.0.0.1",
        port=port,
    )


async def _uploaded(requests, _call):
    from clover.control._proto import control_pb2

    first, *rest = [one async for one in requests]
    size = sum(len(one.chunk) for one in rest)
    return control_pb2.ApplyResponse(generation=first.expected_generation, diff=f"{first.path}: {size}")


async def _broken(_request, _call):
    raise call_error(
        Code.FAILED_PRECONDITION, "CLV3310", "generation 5 is in force", where="ids", hint="look", metadata={"g": "5"}
    )


async def test_nobody_else_may_connect(agent):
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o600


async def test_the_functions_are_those_of_the_settings(agent):
    status, answer = await agent.ask("/v1/functions", method="GET")
    assert status == 200
    assert [(one["function"], one["version"], one["workload"]) for one in answer["functions"]] == [
        ("fw", "v1", "fw-v1"),
        ("fw", "v2", "fw-v2"),
        ("ids", "v1", "ids-v1"),
    ]


async def test_an_answer_comes_as_json_with_its_trace(agent):
    status, answer = await agent.call("fw", "Block", version="v1", request={"address": "192.0.2.7", "duration": "5s"})
    assert status == 200
    assert answer["workload"] == "fw-v1"
    assert answer["response"]["block"]["address"] == "192.0.2.7"
    assert answer["response"]["block"]["traceId"] == answer["traceId"]
    assert answer["response"]["block"]["alertIds"] == []
    await agent.otlp.until(lambda got: len([one for one in got.spans if one.trace_id == answer["traceId"]]) == 2)
    mine, its = sorted(
        (one for one in agent.otlp.spans if one.trace_id == answer["traceId"]), key=lambda span: span.parent_id
    )
    assert (mine.resource["service.name"], mine.kind, mine.parent_id) == ("control-agent", 3, "")
    assert (its.resource["service.name"], its.kind, its.parent_id) == ("firewall", 2, mine.span_id)
    assert mine.name == "clover.control.v1.Ambassador/Block"


async def test_what_an_ambassador_refuses_comes_with_its_own_words(agent):
    status, answer = await agent.call("ids", "Apply")
    assert status == 422
    assert answer["grpc"] == {"code": "FAILED_PRECONDITION", "message": "generation 5 is in force"}
    assert answer["exitCode"] == 4
    assert len(answer["traceId"]) == 32
    assert answer["problems"] == [
        {"code": "CLV3310", "where": "ids", "what": "generation 5 is in force", "hint": "look", "severity": "error"}
    ]


async def test_each_field_that_is_wrong_is_a_problem(agent):
    status, answer = await agent.call("fw", "Block", version="v1", request={"address": "x", "duration": "-1s"})
    assert status == 422
    assert [problem["where"] for problem in answer["problems"]] == ["address", "duration"]
    assert answer["grpc"]["code"] == "INVALID_ARGUMENT"


async def test_an_ambassador_that_is_not_there_is_named(agent):
    status, answer = await agent.call("fw", "ListBlocks", version="v2", timeoutS=1)
    assert (status, answer["exitCode"]) == (422, 5)
    assert [problem["code"] for problem in answer["problems"]] == ["CLV3332"]
    assert "nobody answers at '127.0.0.1:" in answer["problems"][0]["what"]


async def test_a_name_that_nobody_knows_is_told_from_an_ambassador_that_is_not_there(agent):
    """Several versions and none chosen: the function's own service, which only a mesh resolves."""
    status, answer = await agent.call("fw", "ListBlocks", timeoutS=2)
    assert (status, answer["exitCode"]) == (422, 5)
    assert [problem["code"] for problem in answer["problems"]] == ["CLV3333"]


@pytest.mark.parametrize(
    ("order", "codes"),
    [
        ({"function": "fx", "method": "Get"}, ["CLV3335"]),
        ({"function": "fw", "version": "v9", "method": "Get"}, ["CLV3335"]),
        ({"function": "ids", "method": "Gett"}, ["CLV3336"]),
        ({"function": "ids", "method": "Watch"}, ["CLV3336"]),
        ({"function": "fx", "method": "UploadFile"}, ["CLV3335", "CLV3336"]),
    ],
)
async def test_what_is_not_there_is_not_found(agent, order, codes):
    status, answer = await agent.ask("/v1/call", body=order)
    assert (status, [problem["code"] for problem in answer["problems"]]) == (404, codes)
    assert answer["exitCode"] == 2


@pytest.mark.parametrize(
    "order",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"[" * 100_000,
        b"{}",
        b'{"function": 1, "version": [], "method": {}, "timeoutS": "x", "more": 1, "request": 7}',
        b'{"function": "fw", "version": "v1", "method": "Block", "request": {"adress": "x", "duration": 7}}',
        b'{"function": "fw", "method": "Get", "timeoutS": 1e999}',
        b'{"function": "fw", "method": "Get", "timeoutS": true}',
        b"\xff\xfe",
        b'{"function": "\\ud800", "method": "Get"}',
        b" " * (1 << 20) + b"{}",
    ],
    ids=range(14),
)
async def test_nonsense_is_refused_in_words(agent, order):
    status, answer = await agent.ask("/v1/call", content=order)
    assert status in (404, 422)
    assert answer["problems"]
    assert answer["exitCode"] == 2


async def test_everything_that_is_wrong_with_an_order_is_said_at_once(agent):
    body = {"functoin": "fw", "version": 3, "method": "Block", "request": {"adress": "x", "duration": 7}, "timeoutS": 0}
    status, answer = await agent.ask("/v1/call", body=body)
    assert status == 422
    assert {problem["where"] for problem in answer["problems"]} == {
        "functoin",
        "version",
        "function",
        "timeoutS",
        "request.adress",
        "request.duration",
    }


@pytest.mark.parametrize(("path", "status"), [("/v1/nothing", 404), ("/v1/call", 405)])
async def test_paths_that_it_does_not_have(agent, path, status):
    assert (await agent.ask(path, method="GET"))[0] == status


@contextlib.contextmanager
def streamed(agent: Agent, body: dict):
    connection = unix_http.Connection(agent.socket, timeout_s=10)
    connection.request("POST", "/v1/stream", body=json.dumps(body))
    try:
        yield connection.getresponse()
    finally:
        connection.close()


async def test_alerts_are_streamed_a_line_each_and_a_client_that_leaves_ends_the_call(agent):
    def watch(written: asyncio.AbstractEventLoop) -> tuple[dict, int]:
        with streamed(agent, {"function": "ids", "method": "StreamAlerts"}) as response:
            asyncio.run_coroutine_threadsafe(write(), written).result(10)
            return json.loads(response.readline()), response.status

    async def write() -> None:
        # Nothing tells when the ambassador has begun to stream: alerts come until one is seen.
        eve(agent.root / "ids").touch()
        writing.append(asyncio.ensure_future(alert_after_alert()))

    async def alert_after_alert() -> None:
        for number in range(1000):
            with eve(agent.root / "ids").open("ab") as out:
                out.write(records(number))
            await asyncio.sleep(0.02)

    writing: list[asyncio.Future] = []
    line, status = await asyncio.to_thread(watch, asyncio.get_running_loop())
    writing[0].cancel()
    assert status == 200
    assert line["response"]["ruleId"] == 9000001
    assert line["response"]["join"] == "JOIN_FLOW_TRANSACTION"
    await agent.otlp.until(lambda got: any(one.name.endswith("/StreamAlerts") for one in got.spans))


async def test_a_stream_that_fails_ends_with_its_problems(agent):
    def read() -> list[dict]:
        with streamed(agent, {"function": "fw", "version": "v1", "method": "StreamAlerts"}) as response:
            return [json.loads(line) for line in response]

    (line,) = await asyncio.to_thread(read)
    assert line["grpc"]["code"] == "UNIMPLEMENTED"
    assert line["problems"][0]["code"] == "CLV3311"
    assert line["exitCode"] == 4


async def test_a_file_is_uploaded_in_pieces(agent):
    query = urlencode({"function": "ids", "path": "a/b.txt", "expectedGeneration": "7"})
    status, answer = await agent.ask(f"/v1/upload?{query}", content=b"x" * 1_000_000)
    assert (status, answer["response"]["diff"], answer["response"]["generation"]) == (200, "a/b.txt: 1000000", "7")
    status, answer = await agent.ask(f"/v1/upload?{query}", content=b"")
    assert (status, answer["response"]["diff"]) == (200, "a/b.txt: 0")


async def test_an_upload_says_everything_that_is_wrong_with_it(agent):
    query = urlencode({"function": "nobody", "expectedGeneration": "-1", "pth": "x"})
    status, answer = await agent.ask(f"/v1/upload?{query}", content=b"x")
    assert status == 422
    assert [problem["where"] for problem in answer["problems"]] == [
        "pth",
        "expectedGeneration",
        "path",
        "function nobody",
    ]


async def test_a_file_that_is_too_large_is_refused(agent):
    def upload() -> int:
        connection = unix_http.Connection(agent.socket, timeout_s=20)
        try:
            connection.request("POST", "/v1/upload?function=ids&path=a", body=b"x" * (UPLOAD_BYTES + 1))
            return connection.getresponse().status
        except (http.client.HTTPException, OSError):
            return 422
        finally:
            connection.close()

    assert await asyncio.to_thread(upload) == 422
