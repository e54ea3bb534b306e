"""Backends that say who they are, and remember what they were asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backend:
    """A server on a port of its own that answers with what it was asked, and `x-served-by`."""

    name: str
    port: int = 0
    asked: list[dict[str, object]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests for `/slow` are answered when it is set."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every request."""

    async def got(self, count: int, *, within_s: float = 30.0) -> None:
        """Wait until `count` requests have come."""
        async with asyncio.timeout(within_s):
            while len(self.asked) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                method, path, _ = line.split()
                seen = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest)}
                await reader.readexactly(int(seen.get("content-length", 0)))
                self.asked.append({"method": method, "path": path, "headers": seen})
                self.arrived.set()
                if path.startswith("/slow"):
                    await self.released.wait()
                body = json.dumps(self.asked[-1]).encode()
                top = f"HTTP/1.1 200 OK\r\nx-served-by: {self.name}\r\nx-drop: 1\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(top.encode() + body)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(*names: str) -> AsyncIterator[dict[str, Backend]]:
    """Run a backend for each name."""
    found = {name: Backend(name) for name in names}
    servers = []
    try:
        for backend in found.values():
            servers.append(await asyncio.start_server(backend.answer, "127.0.0.1", 0))
            backend.port = servers[-1].sockets[0].getsockname()[1]
        yield found
    finally:
        for backend in found.values():
            backend.released.set()
        for server in servers:
            server.close()
