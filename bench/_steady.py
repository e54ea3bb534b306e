"""Requests at a steady rate on kept-alive connections, in a process of their own, each of them accounted for.

    bench/_steady.py GATEWAY RATE [PATH]

Runs until its standard input is closed; then it waits for the answers that are on their way, and prints JSON. Every
fourth request is a POST. PATH gets the number of the request at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import _report

CONNECTIONS = 16
BODY = b"a=1&b=2"
PATH = "/headers?steady="
"""No cache may answer for it, so that every request goes all the way."""
_HEADERS = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (bench)\r\nAccept: */*\r\n"
_FORM = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(BODY)}\r\n"


class Steady:
    """The load of a `with` block: its numbers are there when the block is left."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        """Requests that got no whole answer, or one that is not 200."""
        self.why: dict[str, int] = {}
        """What became of those that were lost."""
        self.rate = 0.0
        """Requests per second that were really sent."""
        self.p50_ms = 0.0
        self.p99_ms = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what is kept."""
        return vars(self)

    def __str__(self) -> str:
        why = ", ".join(f"{count} x {what}" for what, count in self.why.items())
        return (
            f"{self.sent:,} requests at {self.rate:.0f}/s: {self.lost} lost{f' ({why})' if why else ''}"
            f"; p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"
        )


@contextlib.contextmanager
def running(gateway: str, *, rate: float, path: str = PATH) -> Iterator[Steady]:
    """Send `rate` requests a second for as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, __file__, gateway, str(rate), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    steady = Steady()
    assert process.stdout is not None
    try:
        process.stdout.readline()  # the first answers are there
        yield steady
        found, _ = process.communicate(timeout=60)
        vars(steady).update(json.loads(found))
    finally:
        process.kill()
        process.wait()


class _Count:
    """What became of the requests, while they are made."""

    def __init__(self) -> None:
        self.sent = 0
        self.took_ms: list[float] = []
        self.why: Counter[str] = Counter()

    def as_json(self, seconds: float) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "lost": self.why.total(),
            "why": dict(self.why),
            "rate": self.sent / seconds,
            "p50_ms": _report.percentile(self.took_ms, 50),
            "p99_ms": _report.percentile(self.took_ms, 99),
        }


async def _main(gateway: str, rate: float, path: str) -> None:
    loop = asyncio.get_running_loop()
    stop, first = asyncio.Event(), asyncio.Event()
    loop.add_reader(sys.stdin, stop.set)
    began, numbers, count = loop.time(), itertools.count(), _Count()

    def next_number() -> int | None:
        return None if stop.is_set() else next(numbers)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(_connection(gateway, path, count, began, rate, next_number, first))
        await first.wait()
        print(flush=True)
    print(json.dumps(count.as_json(loop.time() - began)), flush=True)


async def _connection(
    gateway: str,
    path: str,
    count: _Count,
    began: float,
    rate: float,
    next_number: Callable[[], int | None],
    first: asyncio.Event,
) -> None:
    host, _, port = gateway.rpartition(":")
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    loop = asyncio.get_running_loop()
    while (number := next_number()) is not None:
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        count.sent += 1
        sent = time.monotonic()
        try:
            async with asyncio.timeout(30):
                streams = streams or await asyncio.open_connection(host, int(port))
                status, stays = await _exchange(*streams, f"{path}{number}", post=number % 4 == 3)
            if status != 200:
                count.why[f"status {status}"] += 1
        except (OSError, EOFError, ValueError, TimeoutError) as failure:
            count.why[type(failure).__name__] += 1
            stays = False
        count.took_ms.append((time.monotonic() - sent) * 1000)
        if number > CONNECTIONS:
            first.set()
        if not stays and streams:
            streams[1].close()
            streams = None
    if streams:
        streams[1].close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, *, post: bool
) -> tuple[int, bool]:
    """Make one request; return its status, and whether the connection goes on."""
    line = f"{'POST' if post else 'GET'} {path} HTTP/1.1\r\n"
    writer.write(f"{line}{_HEADERS}{_FORM if post else ''}\r\n".encode() + (BODY if post else b""))
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), headers.get("connection", "").lower() != "close"


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else PATH))
