"""A chain that is up for as long as a `with` block, in a folder of its own, whatever happens inside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _wrk import HEADERS

from clover.cli import api
from clover.cli.exec import argv_in
from clover.kit import unix_http
from clover.runtime.local import ledger

CLOVER = str(Path(sys.executable).with_name("clover"))
SDC = Path(__file__).parents[1] / "examples" / "sdc"
UNCACHED = "/headers"
"""A path of the sample servers whose answers no cache may keep."""
BROWSER = dict(header.split(": ", 1) for header in HEADERS)
QUIET_S = 1.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Provide a folder that engines' workers may pass through; short, because it will hold Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="clv"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain that is up."""

    directory: Path
    gateway: str
    """Host and port."""
    node: int
    """Process id of its node on the host."""
    start_ms: dict[str, float]
    """The node's own timeline of its start, in ms since its process began."""

    def inside(self, workload: str, command: Sequence[str] = ()) -> list[str]:
        """Return the command that runs `command` in a workload's network."""
        running = api.RunningChain(
            name="bench", directory=self.directory, init=self.node, socket=self.directory / "api.sock"
        )
        return argv_in(running, workload, command, rootless=os.geteuid() != 0)

    def call(self, target: str, body: object = None, *, method: str = "", timeout_s: float = 30.0) -> Any:
        """Ask the node's API."""
        status, answer = unix_http.fetch(
            self.directory / "api.sock",
            target,
            method=method or ("GET" if body is None else "POST"),
            body=None if body is None else json.dumps(body).encode(),
            timeout_s=timeout_s,
        )
        if status >= 400:
            raise RuntimeError(f"{target}: {status} {answer.decode()}")
        return json.loads(answer)

    def apply(self, text: str) -> Any:
        """Apply one Istio document."""
        return self.call("/v1/resources", {"documents": [{"name": "bench.yaml", "text": text}]})

    def control(self, function: str, method: str, request: Any = None, *, version: str = "") -> Any:
        """Ask a function's ambassador, through the control agent; return what it answers."""
        order = {"function": function, "version": version, "method": method, "request": request or {}, "timeoutS": 60}
        body = json.dumps(order).encode()
        status, answer = unix_http.fetch(
            self.directory / "agent.sock", "/v1/call", method="POST", body=body, timeout_s=90
        )
        if status != 200:
            raise RuntimeError(f"{function} {method}: {status} {answer.decode()}")
        return json.loads(answer)["response"]

    def following(self, socket_name: str, target: str, order: Any = None) -> Iterator[Any]:
        """Yield the JSON lines that the agent or the API goes on sending; ends when whoever iterates stops."""
        connection = unix_http.Connection(self.directory / socket_name, timeout_s=120)
        try:
            connection.request(
                "GET" if order is None else "POST", target, body=None if order is None else json.dumps(order).encode()
            )
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"{target}: {response.status} {response.read().decode()}")
            while line := response.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            connection.close()


@contextlib.contextmanager
def up(path: Path = SDC, *, folder: Path | None = None) -> Iterator[Chain]:
    """Run `clover up`; afterwards `clover down --purge`. The chain is named `bench`, and lives below `folder`."""
    with contextlib.ExitStack() as stack:
        home = folder or stack.enter_context(scratch())
        environment = {**os.environ, "CLOVER_RUN": str(home / "r"), "CLOVER_STATE": str(home / "s")}
        stack.callback(
            subprocess.run,
            [CLOVER, "down", "bench", "--purge"],
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        command = [CLOVER, "up", str(path), "--name", "bench", "--port", str(free_port()), "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"clover up ended with {done.returncode}: {done.stdout}{done.stderr}")
        result = json.loads(done.stdout)
        directory = home / "r" / "bench"
        book = ledger.read(directory)
        assert book is not None, directory
        yield Chain(
            directory=directory,
            gateway=result["gateway"].removeprefix("http://"),
            node=book.pid,
            start_ms=result.get("startMs", {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the chain answered."""

    status: int
    server: str
    """Which sample server answered; '' : none."""
    trace: str


class Client:
    """One connection to the gateway, kept open."""

    def __init__(self, gateway: str) -> None:
        self._connection = http.client.HTTPConnection(gateway, timeout=10)

    def get(self, path: str = UNCACHED) -> Answer:
        """Send one request."""
        self._connection.request("GET", path, headers=BROWSER)
        answer = self._connection.getresponse()
        answer.read()
        _, trace, *_ = f"{answer.getheader('traceresponse', '')}-".split("-")
        return Answer(status=answer.status, server=answer.getheader("x-served-by") or "", trace=trace)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def pinned(version: str) -> str:
    """Return a VirtualService that sends everything for the sample's load balancer to one version of it."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: http-lb}}
spec:
  hosts: [http-lb]
  http:
  - route:
    - destination: {{host: http-lb, subset: {version}}}
"""


def version_of(answer: Answer) -> str:
    """Return the version of the sample's load balancer that a request went through."""
    return "v1" if answer.server in ("clover-server1", "clover-server2", "clover-server3") else "v2"


def wait_until_idle(cpu_s: Callable[[], float], *, at_most_s: float = 8.0, share: float = 0.1) -> None:
    """
    Return when `cpu_s()` has grown by less than `share` of a core for a while: the last load has been dealt with.

    The while is longer than a proxy holds spans and records back.
    """
    deadline = time.monotonic() + at_most_s
    quiet_since = time.monotonic()
    before, at = cpu_s(), quiet_since
    while time.monotonic() < deadline and time.monotonic() - quiet_since < QUIET_S:
        time.sleep(0.2)
        now, then = cpu_s(), time.monotonic()
        if (now - before) / (then - at) > share:
            quiet_since = then
        before, at = now, then
