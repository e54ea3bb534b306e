"""Requests at a steady rate on kept-alive connections, each of them accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = 8
BODY = b"a=1&b=2"


@dataclass(slots=True)
class Load:
    """What became of the requests."""

    token: str
    """In the path of each of them, so that they can be counted elsewhere."""
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """Requests that got no whole answer, and why."""
    rate: float = 0.0
    """Requests a second that are offered; a machine that has other things to do may send fewer."""
    times: list[tuple[float, float]] = field(default_factory=list)
    """When each request began and had its answer, on the monotonic clock."""
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def answered(self) -> int:
        """How many requests got an answer."""
        return self.statuses.total()

    @property
    def offered(self) -> int:
        """How many requests there would have been at the full rate, from the first to the last."""
        return round((max(end for _, end in self.times) - min(begin for begin, _ in self.times)) * self.rate) + 1

    def under_way(self, begin: float, end: float) -> int:
        """Return how many requests were on their way at some moment between the two, on the monotonic clock."""
        return sum(began < end and begin < answered for began, answered in self.times)

    def __str__(self) -> str:
        lost = len(self.failures)
        return f"{self.offered} requests offered, {self.sent} sent, {self.answered} answered, {lost} lost"

    def check_nothing_was_lost(self) -> None:
        """Fail unless every request got a good answer."""
        assert self.failures == []
        assert set(self.statuses) == {200}, self.statuses
        assert self.answered == self.sent > 0

    def wait_for(self, count: int, *, seconds: float = 60) -> None:
        """Return once so many requests more are answered."""
        wanted = self.answered + count
        deadline = time.monotonic() + seconds
        while self.answered + len(self.failures) < wanted:
            assert time.monotonic() < deadline, f"{self.answered} of {wanted} requests were answered in {seconds} s"
            time.sleep(0.01)


@contextlib.contextmanager
def running(url: str, *, rate: float = 200, token: str = "load", posts: bool = True) -> Iterator[Load]:
    """Send requests at `rate` a second for as long as the block runs: every fourth a POST."""
    load = Load(token=token, rate=rate)
    thread = threading.Thread(target=lambda: asyncio.run(_send(load, url, rate, posts=posts)), name="load")
    thread.start()
    try:
        load.wait_for(CONNECTIONS)
        yield load
    finally:
        load._stop.set()
        thread.join(90)
        assert not thread.is_alive()


async def _send(load: Load, url: str, rate: float, *, posts: bool) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    numbers = itertools.count()

    def next_number() -> int | None:
        return None if load._stop.is_set() else next(numbers)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(_on_one_connection(load, url, began, rate, next_number, posts=posts))


async def _on_one_connection(
    load: Load, url: str, began: float, rate: float, next_number: Callable[[], int | None], *, posts: bool
) -> None:
    address = urlsplit(url)
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    loop = asyncio.get_running_loop()
    while (number := next_number()) is not None:
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        load.sent += 1
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(40):
                streams = streams or await asyncio.open_connection(address.hostname, address.port)
                status, stays = await _exchange(*streams, load.token, number, posts=posts)
            load.statuses[status] += 1
            load.times.append((sent_at, time.monotonic()))
        except (OSError, EOFError, ValueError, TimeoutError) as failure:
            load.failures.append(f"{number}: {failure!r}")
            stays = False
        if not stays and streams:
            streams[1].close()
            streams = None
    if streams:
        streams[1].close()
        with contextlib.suppress(OSError):
            await streams[1].wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, number: int, *, posts: bool
) -> tuple[int, bool]:
    post = posts and number % 4 == 3
    body = BODY if post else b""
    method = "POST" if post else "GET"
    extra = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n" if post else ""
    # A path that no cache may answer for, so that every request goes all the way.
    head = (
        f"{method} /headers?{token}={number} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: load/1\r\n"
        f"Accept: */*\r\n{extra}\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(headers.get("content-length", "0")))
    return status, headers.get("connection", "").lower() != "close"
