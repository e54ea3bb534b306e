"""How any function that is an nginx runs, whatever its role: command line, folders, workers' user.

Paths in the configuration are relative to the workload's folder, which nginx gets as its prefix (`-p`). Files of one
generation are named by that generation's own folder: a worker that finishes its requests while the next generation is
already in force must not find the next one's files.
"""

from __future__ import annotations

from collections.abc import Mapping

from clover.functions.driver import CURRENT, Process, Program, Settings
from clover.kit.requirements import Requirement

NGINX = Requirement(name="nginx", package="nginx", needed_for="functions with the engine nginx or modsecurity")
CONFIGURATION = "nginx.conf"


def program(
    settings: Settings,
    files: Mapping[str, str],
    *,
    directories: tuple[str, ...] = (),
    links: Mapping[str, str] | None = None,
) -> Program:
    """Return the program whose `nginx.conf` is among `files`."""
    # `-e stderr`: otherwise nginx first opens the log file that it was compiled with.
    argv = ("nginx", "-e", "stderr", "-p", settings.directory, "-c")
    return Program(
        files=files,
        links=links or {},
        directories=("temp", *directories),
        check=(*argv, f"{settings.folder}/{CONFIGURATION}", "-t", "-q"),
        process=Process(argv=(*argv, f"{CURRENT}/{CONFIGURATION}"), working_directory=settings.directory),
        ready_port=settings.port,
    )
