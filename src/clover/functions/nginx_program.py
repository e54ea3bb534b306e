"""How any function that is an nginx runs, whatever its role: command line, folders, workers' user.

Every path in the configuration is relative to the workload's folder, which nginx gets as its prefix (`-p`).
"""

from __future__ import annotations

from collections.abc import Mapping

from clover.functions.driver import Process, Program, Settings
from clover.kit.requirements import Requirement

NGINX = Requirement(name="nginx", package="nginx", needed_for="functions with the engine nginx or modsecurity")
CONFIGURATION = "nginx.conf"


def program(settings: Settings, files: Mapping[str, str], *, directories: tuple[str, ...] = ()) -> Program:
    """Return the program whose `nginx.conf` is among `files`."""
    # `-e stderr`: otherwise nginx first opens the log file that it was compiled with.
    argv = ("nginx", "-e", "stderr", "-p", settings.directory, "-c", CONFIGURATION)
    return Program(
        files=files,
        directories=("temp", *directories),
        check=(*argv, "-t", "-q"),
        process=Process(argv=argv, working_directory=settings.directory),
        ready_port=settings.port,
    )
