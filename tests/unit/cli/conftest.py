"""A node's API on a Unix socket, served by the real server, with answers that a test chooses."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trace_answers as answers
from stub_ambassadors import CONTROLLED, StubAmbassadors

from clover.cli.main import main
from clover.control.agent import serving_agent
from clover.control.settings import AgentSettings
from clover.errors import DocumentError, Problem
from clover.runtime.local import ledger
from clover.visibility import api


class StubNode:
    """Answers like a node, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def status(self) -> dict[str, Any]:
        def workload(function: str, version: str, name: str) -> dict[str, Any]:
            return {
                "function": function, "version": version, "workload": name, "engine": "nginx", "state": "ready",
                "ready": True, "address": "10.244.0.3:9180", "restarts": 0, "pid": 1, "rps": 0.0, "errorRate": 0.0,
                "p50Ms": None, "p99Ms": None,
            }  # fmt: skip

        return {
            "chain": "sdc", "gateway": "http://127.0.0.1:8080", "uptimeS": 1.0, "state": "ready", "problems": [],
            "workloads": [
                workload("http-lb", "v1", "http-lb-v1"),
                workload("http-lb", "v2", "http-lb-v2"),
                workload("web-cache", "v1", "web-cache"),
            ],
        }  # fmt: skip

    async def apply(self, documents: Sequence[tuple[str, str]], *, dry_run: bool) -> dict[str, Any]:
        self.asked.append((list(documents), dry_run))
        if any("bad" in text for _, text in documents):
            raise DocumentError(Problem(code="CLV4404", where="vs.yaml:3:5", what="it is bad", hint="make it good"))
        if not any(text.strip() for _, text in documents):
            return {"resources": [], "warnings": [], "acknowledgedMs": 0.0, "proxies": 0}
        change: dict[str, Any] = {
            "kind": "VirtualService",
            "name": "http-lb",
            "namespace": "default",
            "action": "configured",
        }
        if dry_run:
            old = {"kind": "VirtualService", "spec": {"hosts": ["http-lb"]}}
            change |= {"before": old, "after": {"kind": "VirtualService", "spec": {"hosts": ["web"]}}}
            if any("same" in text for _, text in documents):
                change |= {"action": "unchanged", "after": old}
        return {"resources": [change], "warnings": [], "acknowledgedMs": 12.34, "proxies": 10}

    def resources(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        self.asked.append((kind, name, namespace))
        route = [
            {"destination": {"host": "http-lb", "subset": "v1"}, "weight": 90},
            {"destination": {"host": "http-lb", "subset": "v2"}, "weight": 10},
        ]
        item = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "http-lb", "namespace": "default"},
            "spec": {"hosts": ["http-lb"], "http": [{"route": route}]},
        }
        return {"items": [item]}

    async def delete_all(
        self,
        named: Sequence[tuple[str, str, str]],
        documents: Sequence[tuple[str, str]],
        *,
        dry_run: bool,
        ignore_missing: bool,
    ) -> dict[str, Any]:
        self.asked.append((list(named), list(documents), dry_run, ignore_missing))
        gone = [{"kind": kind, "name": name, "namespace": "default", "action": "deleted"} for kind, name, _ in named]
        gone += [
            {"kind": "Gateway", "name": file, "namespace": "default", "action": "deleted"}
            for file, text in documents
            if text
        ]
        return {"resources": gone, "warnings": [], "acknowledgedMs": 3.0, "proxies": 10}

    async def traces(self, query: Mapping[str, str], attributes: Sequence[str]) -> list[dict[str, Any]]:
        self.asked.append((dict(query), list(attributes)))
        return []

    async def trace(self, key: str, *, wait_s: float) -> dict[str, Any]:
        self.asked.append((key, wait_s))
        return answers.blocked()

    async def alerts(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        self.asked.append(dict(query))
        return [answers.alert()]

    async def changes(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        self.asked.append(dict(query))
        return list(answers.changes())

    async def lost(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        self.asked.append(dict(query))
        return list(answers.lost())

    async def following(self, what: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any] | None]:
        self.asked.append((what, dict(query)))
        yield answers.alert()
        yield None
        yield {**answers.alert(), "client": "2001:db8:1234:5678::1"}

    async def proxy(self, workload: str, what: str) -> bytes:
        self.asked.append((workload, what))
        return b'{"listener_statuses": []}'


@pytest.fixture
def run_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty run folder of this test, with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="clv"))
    monkeypatch.setenv("CLOVER_RUN", str(folder))
    monkeypatch.delenv("CLOVER_CHAIN", raising=False)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def node() -> StubNode:
    """Return what answers for every chain of the test."""
    return StubNode()


@pytest.fixture
def bring_up(run_root: Path, node: StubNode) -> Iterator[Callable[[str], Path]]:
    """Return `bring_up(name)`, which lets a chain run until the test ends, and returns its folder."""
    stops: list[Callable[[], None]] = []

    def bring_up(name: str) -> Path:
        folder = run_root / name
        folder.mkdir()
        lock = ledger.hold(folder)
        assert lock is not None
        stop = _serve(folder / "api.sock", node)
        ledger.write(
            folder,
            ledger.Ledger(
                chain=name, pid=os.getpid(), gateway="http://127.0.0.1:8080",
                api=str(folder / "api.sock"), store="/s", source="c.yaml", digest="d", started=time.time(),
            ),
        )  # fmt: skip
        stops.extend((stop, lambda: os.close(lock)))
        return folder

    yield bring_up
    for stop in stops:
        stop()


@pytest.fixture
def ambassadors() -> StubAmbassadors:
    """Return what the control agent of `controlled` calls."""
    return StubAmbassadors()


@pytest.fixture
def controlled(bring_up: Callable[[str], Path], ambassadors: StubAmbassadors) -> Iterator[StubAmbassadors]:
    """Return the ambassadors of a chain that is up, with the real control agent before them."""
    settings = AgentSettings(
        chain="sdc",
        namespace="default",
        workload="control-agent",
        socket=str(bring_up("sdc") / "agent.sock"),
        functions=CONTROLLED,
        otlp="",
    )
    stop = _running(lambda tasks: serving_agent(settings, ambassadors, tasks=tasks))
    yield ambassadors
    stop()


@pytest.fixture
def clover(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return `clover(...)` → exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _serve(path: Path, node: StubNode) -> Callable[[], None]:
    return _running(lambda tasks: api.serving_api(path, node, tasks=tasks))


def _running(serving: Callable[[asyncio.TaskGroup], AbstractAsyncContextManager[None]]) -> Callable[[], None]:
    """Serve in a thread, and return what ends it."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks, serving(tasks):
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)

    def stop() -> None:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()

    return stop
