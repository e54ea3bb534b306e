"""What a driver is: our code for one engine, a pure function from settings to files and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Protocol

from clover.kit.requirements import Requirement
from clover.spec.chain import DATA_PORT, FunctionType
from clover.spec.configuration import Configuration

CURRENT = "conf/current"
"""Link, below a workload's folder, to the folder of the generation in force: what the engine is started with."""
STATUS_PORT = 15081
"""Where an engine that has no better way tells its generation and its counters: on 127.0.0.1 of its own network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service that the function sends to, by the name that it dials."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an engine's configuration is rendered from: the same for the first start and for each change."""

    workload: str
    function: str
    version: str
    port: int
    """Where the engine listens, on every address of its network namespace."""
    status_port: int = STATUS_PORT
    """Where it tells its generation; another one only where several engines share a network."""
    configuration: Configuration
    """What the function is told; complete."""
    generation: int = 1
    """Number of this configuration; each change counts on by one."""
    services: Mapping[str, int] = field(default_factory=dict)
    """Every function of the chain that may be sent to → the port that it is dialled on."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Uploaded files of a server: path below the site → path of the content, relative to `directory`."""
    directory: str
    """Absolute folder of the workload's files; the engine may write below it and nowhere else."""
    user: str = ""
    """The user, and the group of the same name, that the engine's workers run as when root starts it; '' when they keep
    the user that starts it (a rootless namespace, an ordinary user)."""
    command: tuple[str, ...] = ()
    """The author's own command (engine `command` only)."""
    working_directory: str = ""
    """Where the author's own command starts."""

    @property
    def folder(self) -> str:
        """Absolute folder of this generation's files. The engine's check reads it before `conf/current` leads there."""
        return str(PurePosixPath(self.directory, "conf", f"{self.generation:06d}"))

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The backends by the names and ports that are dialled, whatever their weight and state."""
        return tuple(
            Upstream(host=backend.host, port=backend.port or self.services.get(backend.host, DATA_PORT))
            for backend in getattr(self.configuration, "backends", ())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program to keep running."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the inherited environment."""
    working_directory: str = ""
    stop_signal: str = "SIGTERM"
    stop_timeout_s: float = 5.0
    """How long a stop may take before the process is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A program that an engine needs beside it."""

    name: str
    """Unique in the workload: `log`, `responder`; not `engine`, `sidecar` or `ambassador`."""
    process: Process
    ready_port: int | None = None
    """Ready when this TCP port accepts a connection; None: as soon as it runs."""
    log: bool = True
    """True: what it prints belongs to the function's log lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a workload runs: files, the engine's own check of them, and the command.

    The files of one generation lie in a folder of their own, `Settings.folder`; `check` names them there. `process`
    and `companions` name them by `conf/current`, a link that is turned in one step when a change comes into force: they
    read the generation in force whenever they are started or reloaded.

    The engine writes its access log to standard output, one JSON object a line (see `log.py`); anything else that it
    prints, on either stream, is kept as plain log lines.
    """

    files: Mapping[str, str]
    """Path relative to `Settings.folder` → content.

    The engine's workers read what is below `site/`; all else is read by the process that is started."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path relative to `Settings.folder` → path relative to `Settings.directory`: a hard link to what is there."""
    directories: tuple[str, ...] = ()
    """Folders below `Settings.directory` that the engine's workers write to."""
    check: tuple[str, ...] = ()
    """Command that exits with 0 when the engine accepts the files; empty: the engine has no check."""
    process: Process
    companions: tuple[Companion, ...] = ()
    ready_port: int | None = None
    """The program is ready when this TCP port accepts a connection."""
    ready_socket: str | None = None
    """Or when this Unix socket does: a path relative to `Settings.directory`."""


class How(StrEnum):
    """How a change came into force."""

    NONE = "none"
    RUNTIME = "runtime"
    """By the engine's run-time interface."""
    RELOAD = "reload"
    """By a graceful reload."""


class EngineError(Exception):
    """The engine refuses, does not answer, or does not do what it was told; the text has its own words."""


class EngineDownError(EngineError):
    """The engine does not run."""


class Running(Protocol):
    """
    A running engine, as its ambassador reaches it: by signals, sockets and status pages. Does I/O, never blocks.

    Used by one change at a time, but `statistics` may be asked at any time.
    """

    async def change(self, before: Settings, after: Settings) -> How:
        """
        Bring `after` into force: its files are checked, and `conf/current` leads to them.

        Also called with the two exchanged, to put the old configuration back. Loses no request. Raises EngineError.
        """
        ...

    async def confirm(self, wanted: Settings, how: How) -> None:
        """
        Return once the engine itself says that it works by `wanted`; it must not take longer than 10 s.

        Raises EngineError with what it says instead, and EngineDownError when it does not run.
        """
        ...

    async def statistics(self) -> dict[str, float]:
        """Return the engine's counters by name, e.g. `requests_total`. Raises EngineError when it does not tell."""
        ...


class BackendReports(Protocol):
    """What a `Running` of a load balancer may also be."""

    async def backends(self, settings: Settings) -> dict[str, BackendReport]:
        """Return what the engine says of each backend, by `host:port`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """What an engine says of one backend."""

    state: str
    """In the engine's word: `UP`, `DRAIN`, `MAINT`."""
    requests_total: int = 0
    active: int = 0


class Purging(Protocol):
    """What the `Running` of a cache is, too."""

    async def purge(self, *, host: str, path: str, prefix: bool) -> int | None:
        """
        Drop the answers for a path with its query, or for all that begin with it; `host` '' means every host.

        Everything is `host=""`, `path=""`, `prefix=True`. Returns how many were dropped; None: the engine cannot tell.
        """
        ...


class Blocking(Protocol):
    """What the `Running` of a firewall is, too. Takes effect with the next request, without a reload."""

    async def block(self, address: str) -> None:
        """Refuse every request of this client (an IPv4 or IPv6 address in its canonical form) with 403."""
        ...

    async def unblock(self, address: str) -> None:
        """Take its requests again; nothing happens if it was not blocked."""
        ...

    async def blocked(self) -> frozenset[str]:
        """Return the addresses that are refused now."""
        ...


class Driver(Protocol):
    """One engine in one role."""

    @property
    def type(self) -> FunctionType:
        """The role."""
        ...

    @property
    def engine(self) -> str:
        """The engine's name in chain files."""
        ...

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What must be installed."""
        ...

    def render(self, settings: Settings) -> Program:
        """
        Return what to run; a value that a template needs and `settings` lacks is an error, never empty text.

        Pure. Raises FunctionError with everything that this engine cannot do of the configuration.
        """
        ...

    def running(self, settings: Settings) -> Running | None:
        """Return the way to the engine when it runs; None: it cannot be changed (an author's own command)."""
        ...
