"""HAProxy as a load balancer.

One process, no master: there is nothing that could outlive a killed master. Weights and servers are changed at run
time through `admin.sock` in the workload's folder.
"""

from __future__ import annotations

from dataclasses import dataclass

from clover.functions import templates
from clover.functions.driver import Process, Program, Settings
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType

HAPROXY = Requirement(name="haproxy", package="haproxy", needed_for="load balancers with the engine haproxy")
CONFIGURATION = "haproxy.cfg"
ADMIN_SOCKET = "admin.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """Round robin over the upstreams."""

    type: FunctionType = FunctionType.LOAD_BALANCER
    engine: str = "haproxy"
    requirements: tuple[Requirement, ...] = (HAPROXY,)

    def render(self, settings: Settings) -> Program:
        """Return a HAProxy that forwards to each upstream in turn."""
        templates.upstreams_required(settings)
        values = templates.values_from(settings)
        # `-C`: the socket's path stays short (a Unix socket's may have 107 bytes) and out of the configuration.
        argv = ("haproxy", "-C", settings.directory, "-f", CONFIGURATION)
        return Program(
            files={CONFIGURATION: templates.render("haproxy/load-balancer.cfg.j2", values)},
            check=(*argv, "-c"),  # not -q: it also silences what is wrong
            process=Process(argv=(*argv, "-db"), working_directory=settings.directory),
            ready_port=settings.port,
        )
