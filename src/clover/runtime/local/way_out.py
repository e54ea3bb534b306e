"""
The way out: a process in the machine's own network that makes the connections which a chain's network cannot.

Each endpoint that a policy names has a Unix socket; whoever connects to it is connected to that endpoint, and to
nothing else. Names are looked up here, each time, as any program of this machine would: the chain's /etc/hosts, which
gives them virtual addresses, is left behind. A way to a wildcard leads to the name below it that the first request on a
connection asks for (`asked_names`). `ways.json` says which sockets there are; it is read when the process starts, and
again whenever somebody says so at `control.sock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import importlib
import ipaddress
import json
import os
import pwd
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clover.runtime.local import asked_names, client_hello, namespaces
from clover.runtime.local.asked_names import Asked, UnreadableError

WAYS, CONTROL = "ways.json", "control.sock"
CONNECT_S = 5.0
ASK_S = 5.0
_CHUNK = 65536
_MODE = 0o600
_METADATA = ipaddress.ip_network("fd00:ec2::/32")
"""Where a cloud tells a machine its secrets, beside the link-local addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One endpoint that may be reached."""

    host: str
    """Address, name, or a wildcard (`*.example.com`): whatever name below it is asked for."""
    port: int
    loopback: bool = False
    """True: it may be at this machine's own loopback, where things stand that trust everybody on it."""


@dataclass(slots=True, kw_only=True)
class _Open:
    way: Way
    server: asyncio.Server
    connections: dict[asyncio.Task[None], asyncio.StreamWriter]


class WayOut:
    """All sockets of a chain; entered to be open, left to be closed."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    async def follow(self, wanted: Mapping[str, Way]) -> None:
        """Have exactly these sockets; a connection through any other has ended when this returns."""
        over = [path for path, known in self._open.items() if wanted.get(path) != known.way]
        await asyncio.gather(*map(self._close, over))
        for path in wanted.keys() - self._open.keys():
            Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
            await self._listen(path, wanted[path])

    async def _listen(self, path: str, way: Way) -> None:
        connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            known, task = self._open.get(path), asyncio.current_task()
            if task is None or known is None or known.connections is not connections:
                writer.transport.abort()  # the way was taken back while this one came in
                return
            connections[task] = writer
            task.add_done_callback(connections.pop)
            # Python 3.11 takes a cancelled task for a mistake, and tells it with a traceback.
            with contextlib.suppress(asyncio.CancelledError):
                await carry(way, reader, writer)

        server = await asyncio.start_unix_server(taken, path, limit=_CHUNK)
        self._open[path] = _Open(way=way, server=server, connections=connections)
        Path(path).chmod(_MODE)  # noqa: ASYNC240 - one system call

    async def _close(self, path: str) -> None:
        known = self._open.pop(path)
        known.server.close()
        Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        ending = dict(known.connections)
        for task, writer in ending.items():
            task.cancel()
            writer.transport.abort()  # what it still had to say is not waited for
        await asyncio.gather(asyncio.sleep(0), *ending, return_exceptions=True)


async def carry(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a connection to an endpoint until either end closes; say why if that cannot be."""
    with contextlib.closing(writer):
        if asked_names.is_wildcard(way.host):
            await _carry_asked(way, reader, writer)
            return
        try:
            outside = await dial(way)
        except OSError as failure:
            print(f"{way.host}:{way.port}: {failure}", flush=True)
            return
        await _join(outside, reader, writer)


async def _carry_asked(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a connection to the name that it asks for; whoever asks for no good name is answered why."""
    host, first = way.host, b""
    try:
        async with asyncio.timeout(ASK_S):
            first = await reader.readexactly(1)
            asked, first = await (_asked_by_tls(reader) if first == client_hello.HANDSHAKE else _asked(first, reader))
        if not asked_names.is_below(asked.name, way.host):
            raise UnreadableError(f"{asked.name} is not below {way.host}")
        host = asked.name
        outside = await dial(replace(way, host=asked.name))
    except TimeoutError:
        failure = f"no request within {ASK_S:.0f} s"
    except asyncio.IncompleteReadError:
        failure = "the connection ended before a name was asked for"
    except asyncio.LimitOverrunError:
        failure = f"the head of the request is longer than {_CHUNK} bytes"
    except (UnreadableError, OSError) as refused:
        failure = str(refused)
    else:
        if asked.tunnel:
            writer.write(asked_names.CONNECTED)
        await _join(outside, reader, writer, first=b"" if asked.tunnel else first)
        return
    why = f"{host}:{way.port}: {failure}"
    print(why, flush=True)
    by_tls = first.startswith(client_hello.HANDSHAKE)
    await _refuse(client_hello.UNKNOWN_NAME if by_tls else asked_names.refusal(why), reader, writer)


async def _asked(first: bytes, reader: asyncio.StreamReader) -> tuple[Asked, bytes]:
    """Read the head of a request, after its first byte; return it with what it asks for."""
    head = first + await reader.readuntil(asked_names.END)
    return asked_names.asked_in(head), head


async def _asked_by_tls(reader: asyncio.StreamReader) -> tuple[Asked, bytes]:
    """Read a ClientHello, after its first byte; return the records in which it came with what it asks for."""
    records, message, first = b"", b"", client_hello.HANDSHAKE
    while not client_hello.is_whole(message):
        head = first + await reader.readexactly(client_hello.RECORD_HEAD - len(first))
        content = await reader.readexactly(client_hello.record_length(head))
        records, message, first = records + head + content, message + content, b""
        if len(records) > _CHUNK:
            raise UnreadableError(f"the ClientHello is longer than {_CHUNK} bytes")
    return Asked(name=asked_names.named(client_hello.server_name_in(message)), tunnel=False), records


async def _refuse(answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer why not. What is still being said is heard for a while, or the answer would be lost with it."""
    with contextlib.suppress(OSError):
        writer.write(answer)
        writer.write_eof()
        async with asyncio.timeout(ASK_S):
            while await reader.read(_CHUNK):
                pass


async def _join(
    outside: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, first: bytes = b""
) -> None:
    """Carry bytes between a connection and one to an endpoint, which hears `first` before all others."""
    there_reader, there = await asyncio.open_connection(sock=outside)
    with contextlib.closing(there):
        there.write(first)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, there))
                both.create_task(_pump(there_reader, writer))
        except* OSError:
            pass  # either end broke the connection; the other hears it by the closing


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()


async def dial(way: Way) -> socket.socket:
    """Return a connection to an endpoint. Raises OSError if none of its addresses may be dialled, or answers."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM)
    except socket.gaierror as unknown:
        raise OSError(f"{way.host} cannot be looked up: {unknown.strerror}") from unknown
    allowed = [address for *_, address in found if may_be_dialled(str(address[0]), loopback=way.loopback)]
    if not allowed:
        raise OSError(f"{', '.join(str(address[0]) for *_, address in found)} may not be dialled from a chain")
    failure: OSError = OSError("no address")
    for family, kind, number, _, address in found:
        if address not in allowed:
            continue
        connection = socket.socket(family, kind, number)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(connection, address)
        except asyncio.CancelledError:
            connection.close()
            raise
        except OSError as refused:
            connection.close()
            failure = OSError(f"{address[0]}: {os.strerror(refused.errno) if refused.errno else 'no answer'}")
        else:
            return connection
    raise failure


def may_be_dialled(address: str, *, loopback: bool) -> bool:
    """Tell whether an address is outside: this machine's loopback only if that is meant, and no metadata service."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return loopback
    return not (ip.is_unspecified or ip.is_link_local or ip.is_multicast or ip in _METADATA)


def ways_in(text: str) -> dict[str, Way]:
    """Read `ways.json`."""
    return {path: Way(**way) for path, way in json.loads(text).items()}


def ways_text(ways: Mapping[str, Way]) -> str:
    """Write `ways.json`."""
    shown = {path: {"host": way.host, "port": way.port, "loopback": way.loopback} for path, way in sorted(ways.items())}
    return json.dumps(shown, indent=1) + "\n"


async def serve(folder: Path) -> None:
    """Run until killed."""
    out = WayOut()

    async def follow() -> None:
        await out.follow(ways_in((folder / WAYS).read_text(encoding="utf-8")))

    async def told(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await follow()
            answer = ""
        except OSError as failure:
            answer = str(failure)
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    await follow()
    control = folder / CONTROL
    control.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(told, control)
    control.chmod(_MODE)
    await server.serve_forever()


def main(arguments: Iterable[str]) -> None:
    """Leave the chain's /etc/hosts, and root if there is another user to be; then serve."""
    folder, user, *_ = (*arguments, "")
    namespaces.leave_mount(Path("/etc/hosts"))
    if user:
        # Looking names up imports these when it is too late: the other user may not be able to read them.
        for name in ("concurrent.futures.thread", "encodings.idna", "stringprep"):
            importlib.import_module(name)
        known = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(grp.getgrgid(known.pw_gid).gr_gid)
        os.setuid(known.pw_uid)
    asyncio.run(serve(Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
