"""HAProxy as a load balancer.

A master, which only starts and watches workers, and a worker that does the work; a worker without its master ends. Both
are reached by sockets in the workload's folder: `admin.sock` changes weights and states of a running worker,
`master.sock` makes the master start another worker by the configuration in force.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from clover.functions import templates
from clover.functions.driver import CURRENT, Process, Program, Settings
from clover.functions.haproxy.running import ADMIN_SOCKET, MASTER_SOCKET, HaproxyRunning
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import LoadBalancerConfiguration

HAPROXY = Requirement(name="haproxy", package="haproxy", needed_for="load balancers with the engine haproxy")
CONFIGURATION = "haproxy.cfg"
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """Spreads requests over the backends."""

    type: FunctionType = FunctionType.LOAD_BALANCER
    engine: str = "haproxy"
    requirements: tuple[Requirement, ...] = (HAPROXY,)

    def render(self, settings: Settings) -> Program:
        """Return a HAProxy that forwards to one backend or another."""
        templates.upstreams_required(settings)
        templates.told(settings, LoadBalancerConfiguration)
        values = templates.values_from(settings)
        text = templates.render(
            "haproxy/load-balancer.cfg.j2",
            values,
            identities=_identities(f"{t.host}:{t.port}" for t in values.upstreams),
        )
        # `-C`: the sockets' paths stay short (a Unix socket's may have 107 bytes) and out of the configuration.
        folder = PurePosixPath(settings.folder).relative_to(settings.directory)
        argv = ("haproxy", "-C", settings.directory, "-f")
        return Program(
            files={CONFIGURATION: text},
            check=(*argv, f"{folder}/{CONFIGURATION}", "-c"),  # not -q: it also silences what is wrong
            process=Process(
                argv=(*argv, f"{CURRENT}/{CONFIGURATION}", "-W", "-S", f"unix@{MASTER_SOCKET},mode,600"),
                working_directory=settings.directory,
            ),
            ready_port=settings.port,
            ready_socket=ADMIN_SOCKET,  # it is bound after the port
        )

    def running(self, settings: Settings) -> HaproxyRunning:
        """Return the way to the HAProxy of a workload."""
        return HaproxyRunning(directory=settings.directory)


def _identities(names: Iterable[str]) -> list[int]:
    """
    Return a number for each server that depends on its name, not on its place in the list.

    A client is kept with a server by these numbers: when one is added or removed, the others keep theirs.
    """
    taken: dict[int, None] = {}
    for name in names:
        number = zlib.crc32(name.encode()) % _LARGEST_ID + 1
        while number in taken:
            number = number % _LARGEST_ID + 1
        taken[number] = None
    return list(taken)
