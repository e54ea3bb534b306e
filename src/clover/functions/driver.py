"""What a driver is: our code for one engine, a pure function from settings to files and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service that the function sends to, by the name that it dials."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an engine's configuration is rendered from."""

    workload: str
    function: str
    version: str
    port: int
    """Where the engine listens, on every address of its network namespace."""
    upstreams: tuple[Upstream, ...] = ()
    directory: str
    """Absolute folder of the workload's files; the engine may write below it and nowhere else."""
    user: str = ""
    """The user, and the group of the same name, that the engine's workers run as when root starts it; '' when they keep
    the user that starts it (a rootless namespace, an ordinary user)."""
    command: tuple[str, ...] = ()
    """The author's own command (engine `command` only)."""
    working_directory: str = ""
    """Where the author's own command starts."""


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
class Program:
    """What a workload runs: files, the engine's own check of them, and the command.

    The engine writes its access log to standard output, one JSON object a line (see `log.py`); anything else that it
    prints, on either stream, is kept as plain log lines.
    """

    files: Mapping[str, str]
    """Path relative to `Settings.directory` → content.

    The engine's workers read what is below `site/`; all else is read by the process that is started."""
    directories: tuple[str, ...] = ()
    """Folders below `Settings.directory` that the engine's workers write to."""
    check: tuple[str, ...] = ()
    """Command that exits with 0 when the engine accepts the files; empty: the engine has no check."""
    process: Process
    ready_port: int
    """The program is ready when this TCP port accepts a connection."""


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
        """Return what to run; a value that a template needs and `settings` lacks is an error, never empty text."""
        ...
