"""Publishing the gateway's ports on the host.

The gateway lives in a network namespace that nobody outside can dial, and an ordinary user can neither give the host a
way in nor let a process of the namespace listen outside. But a socket stays where it was made, whoever holds it: the
node, which has the host's network, opens the listening socket, and a small HAProxy inside the gateway's namespace
inherits it and passes each connection on, with the client's address in front of it (PROXY protocol, version 2).

Between two lives of a relay connections wait in the socket's queue, because the node never closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clover.errors import HostError, Problem
from clover.kit import files
from clover.kit.requirements import Requirement
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.plan import SIDECAR_ADDRESS, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus

HAPROXY = Requirement(name="haproxy", package="haproxy", needed_for="publishing the gateway's port on the host")

ANSWER_S = 10.0

ANYWHERE = "0.0.0.0"  # noqa: S104 - compared with, not listened on

Address = tuple[str, int]
"""IPv4 address and port."""


@dataclass(slots=True, kw_only=True)
class _Published:
    listening: socket.socket
    supervisor: Supervisor
    task: asyncio.Task[None]


class Relays:
    """One relay for each published address."""

    def __init__(
        self,
        gateway: WorkloadPlan,
        *,
        network: Path,
        tasks: asyncio.TaskGroup,
        status: ProcessStatus,
    ) -> None:
        self._gateway = gateway
        self._network = network
        self._tasks = tasks
        self._status = status
        """Of the relay for the chain's own gateway port; others keep their own."""
        self._published: dict[Address, _Published] = {}

    async def publish(self, wanted: Iterable[Address]) -> None:
        """Publish exactly these addresses. Raises HostError, and changes nothing, if one cannot be listened on."""
        wanted = frozenset(wanted)
        opened: dict[Address, socket.socket] = {}
        try:
            for address in sorted(wanted - self._published.keys()):
                opened[address] = _listen(address)
                files.write(
                    self._configuration(address),
                    configuration(address, opened[address].fileno(), user=self._gateway.owner),
                )
        except (HostError, OSError):
            for one in opened.values():
                one.close()
            raise
        for address in self._published.keys() - wanted:
            await self._withdraw(address)
        for address, listening in opened.items():
            self._published[address] = self._start(address, listening)
        try:
            for address in opened:
                await self._answers(address)
        except HostError:
            for address in opened:
                await self._withdraw(address)
            raise

    async def _answers(self, address: Address) -> None:
        """
        Wait until the relay of an address takes connections. Raises HostError with its last words if it does not.

        That a connection is made proves nothing: the kernel makes it. That its end is answered with an end does.
        Not a byte is sent, so nothing of this appears in any trace.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(_dialled(address[0]), address[1])
                try:
                    writer.write_eof()
                    # A reset is an answer, too: of a gateway that has not been told of the address yet.
                    with contextlib.suppress(ConnectionResetError):
                        await reader.read()
                finally:
                    writer.close()
        except (TimeoutError, OSError) as failure:
            status = self._published[address].supervisor.status
            raise HostError(
                Problem(
                    code="CLV5104",
                    where=f"relay of {address[0]}:{address[1]}",
                    what=f"it does not take connections within {ANSWER_S:.0f} s: {status.last_exit or failure!r}",
                    hint="clover doctor",
                )
            ) from failure

    async def aclose(self) -> None:
        """Stop listening."""
        for address in list(self._published):
            await self._withdraw(address)

    def _start(self, address: Address, listening: socket.socket) -> _Published:
        path = self._configuration(address)
        supervisor = Supervisor(
            self._gateway,
            ProcessPlan(name=path.stem, argv=("haproxy", "-db", "-f", path.name), stop_timeout_s=2.0, confined=True),
            status=ProcessStatus() if self._published else self._status,
            network=self._network,
            output=lambda _: None,
            changed=lambda: None,
            inherited=(listening.fileno(),),
            # A policy can open a port at any time: what becomes of its relay must not end the chain.
            vital=False,
        )
        return _Published(
            listening=listening, supervisor=supervisor, task=self._tasks.create_task(supervisor.run(), name=path.stem)
        )

    def _configuration(self, address: Address) -> Path:
        return Path(self._gateway.directory, f"relay-{address[0]}-{address[1]}.cfg")

    async def _withdraw(self, address: Address) -> None:
        published = self._published.pop(address)
        await published.supervisor.stop()
        published.listening.close()
        published.task.cancel()


def configuration(address: Address, descriptor: int, *, user: str) -> str:
    """Return the relay's configuration: bytes in at the inherited socket, bytes out to the gateway's Envoy."""
    # Inside the gateway's own network the same address leads to its Envoy, and to nothing of the host's.
    host, port = address
    # No maxconn: HAProxy takes as many as its limit of open files allows, and refuses to start over a larger number.
    # It faces the outside: it gives up root where there is another user to be.
    # Any process of this machine can dial from a loopback address. From that of the sidecars nobody may come: functions
    # pass over it in X-Forwarded-For, and would take for the client what the client itself has written in front of it.
    identity = f"global\n    user {user}\n    group {user}\n" if user else ""
    return f"""\
{identity}defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen gateway
    bind fd@{descriptor}
    tcp-request connection reject if {{ src {SIDECAR_ADDRESS} }}
    server gateway {_dialled(host)}:{port} send-proxy-v2
"""


def _dialled(host: str) -> str:
    return "127.0.0.1" if host == ANYWHERE else host


def _listen(address: Address) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(4096)
    except OSError as failure:
        listening.close()
        raise HostError(
            Problem(
                code="CLV2101",
                where=f"{address[0]}:{address[1]}",
                what=f"the gateway cannot listen on {address[0]}:{address[1]}: {failure.strerror}",
                hint=f"who has it: ss -ltnp sport = :{address[1]}" if failure.errno == errno.EADDRINUSE else "",
            )
        ) from failure
    listening.setblocking(False)
    return listening
