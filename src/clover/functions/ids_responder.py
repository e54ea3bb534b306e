"""What answers the copies of requests that an intrusion detection engine listens to: an nginx that says 204 to all.

The engine itself only watches the network. The sidecar hands each copied request to the workload's port in plain
HTTP/1.1; somebody must take it, read it to its end, and keep the connection open for the next one.
"""

from __future__ import annotations

from clover.functions import templates
from clover.functions.driver import CURRENT, Companion, Process, Settings
from clover.kit.requirements import Requirement

NAME = "responder"
NGINX = Requirement(name="nginx", package="nginx", needed_for="answering what functions of the type ids listen to")
CONFIGURATION = "responder.conf"
NOTHING_PORT = 15082
"""On 127.0.0.1 of the workload's network: the inner server that has nothing to say."""
DIRECTORIES = ("temp",)
"""For `Program.directories`."""
SHADOW = "-shadow"
"""What the proxy that makes the copies writes behind the name in Host, in front of the port."""


def files(settings: Settings) -> dict[str, str]:
    """Return the responder's configuration, for `Program.files`."""
    values = templates.values_from(settings)
    return {CONFIGURATION: templates.render("ids_responder.conf.j2", values, nothing_port=NOTHING_PORT)}


def companion(settings: Settings) -> Companion:
    """Return the program to run beside the engine. It takes no part in changes: its configuration never differs."""
    # `-e stderr`: otherwise nginx first opens the log file that it was compiled with.
    argv = ("nginx", "-e", "stderr", "-p", settings.directory, "-c", f"{CURRENT}/{CONFIGURATION}")
    return Companion(
        name=NAME,
        # SIGTERM closes at once: nobody waits for the answers.
        process=Process(argv=argv, working_directory=settings.directory, stop_signal="SIGTERM", stop_timeout_s=1.0),
        ready_port=settings.port,
    )


def original_host(host: str) -> str:
    """
    Return Host as the client wrote it: without what the proxy adds to a copy's.

    For that proxy, what stands behind the last colon is the port, whatever it is; unless it ends an IPv6 address.
    """
    name, colon, port = host.rpartition(":")
    if colon and "]" not in port and name.endswith(SHADOW):
        return f"{name.removesuffix(SHADOW)}:{port}"
    return host.removesuffix(SHADOW)
