"""Bringing real chains up for tests, in folders of their own, and talking to them as users and scripts do."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from harness import warm_command

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
TIMEOUT_S = 180
ORDINARY_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
"""Runs a command as a user who is not root, and has no capability, whoever runs the tests."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def trace_id(self) -> str:
        """The trace id of the `traceresponse` header."""
        return self.headers["traceresponse"].split("-")[1]


@dataclass(slots=True)
class Clover:
    """The command, with run-time and state folders of its own."""

    root: Path
    prefix: tuple[str, ...] = ()
    """Put before every command, e.g. `ORDINARY_USER`."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The folder of run-time files."""
        return self.root / "r"

    @property
    def state(self) -> Path:
        """The folder of stores."""
        return self.root / "s"

    def call(self, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `clover ARGUMENTS` and return how it ended."""
        words = [*map(str, arguments)]
        if self.prefix:
            return subprocess.run(
                [*self.prefix, sys.executable, "-m", "clover", *words],
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                env=self.env(),
            )
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
            given.write((stdin or "").encode())
            given.seek(0)
            code = warm_command.run(words, self.env(), (given, said, wrong), timeout_s=TIMEOUT_S)
            texts = []
            for stream in (said, wrong):
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess(words, code, *texts)

    def env(self) -> dict[str, str]:
        """Return the environment of its commands."""
        return {
            **os.environ,
            "CLOVER_RUN": str(self.run),
            "CLOVER_STATE": str(self.state),
            "NO_COLOR": "1",
            "COLUMNS": "120",
            **self.environment,
        }

    def ok(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run `clover ARGUMENTS`, which must succeed, and return its output."""
        done = self.call(*arguments, stdin=stdin)
        assert done.returncode == 0, f"clover {arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        """Run `clover ARGUMENTS --json` and return what it printed."""
        return json.loads(self.ok(*arguments, "--json"))


@contextlib.contextmanager
def clover(prefix: Sequence[str] = ()) -> Iterator[Clover]:
    """Provide the command; whatever it brought up is down when the block is left."""
    # Not pytest's tmp_path: the path of a Unix socket has 107 bytes at most.
    root = Path(tempfile.mkdtemp(prefix="clv"))
    # Root's engines run their workers as another user, who must get through.
    root.chmod(0o711)
    command = Clover(root, tuple(prefix))
    try:
        yield command
    finally:
        command.call("down", "--all", "--purge")
        shutil.rmtree(root)


def get(
    url: str,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    source: str = "",
) -> Answer:
    """Make one HTTP request on a connection of its own, from the address `source` ('': whichever)."""
    parts = urlsplit(url)
    origin = (source, 0) if source else None
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30, source_address=origin)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read(),
        )
    finally:
        connection.close()


def eventually(question: Callable[[], T | None], *, within_s: float = 60.0, what: str = "it") -> T:
    """Ask until the answer is true, and return it; fail when that takes too long."""
    deadline = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s} s; last answer: {answer!r}"
        time.sleep(0.05)


def processes_with(text: str) -> list[str]:
    """Return the command lines of all processes of this machine that mention `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if text in line:
                    found.append(f"{entry.name} {line}")
    return found


CONFIGURED_TO = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  http:
  - route:
    - destination: {{host: {host}, subset: {subset}}}
"""
"""A policy that sends everything for a function to one of its versions."""
