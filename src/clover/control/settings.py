"""What an ambassador and the control agent are started with: one JSON file each, in their workload's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clover.functions.driver import Settings
from clover.functions.state import State

AMBASSADOR_FILE = "ambassador.json"
AGENT_FILE = "agent.json"
AGENT_SOCKET = "agent.sock"
"""Where the control agent takes orders: in the chain's run-time folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmbassadorSettings:
    """One ambassador: whose it is, and how it reaches the others."""

    chain: str
    namespace: str
    function: str
    version: str
    workload: str
    type: str
    engine: str
    directory: str
    """Absolute folder of the workload."""
    user: str = ""
    """As `functions.driver.Settings.user`."""
    port: int
    """Data port of the function."""
    control_port: int
    """Where the ambassador listens, on every address of its network."""
    command: tuple[str, ...] = ()
    working_directory: str = ""
    services: Mapping[str, int] = field(default_factory=dict)
    """Every function of the chain that this one may send to → the port that it is dialled on."""
    report_to: tuple[str, ...] = ()
    """Of an IDS: `host:port` of the ambassadors of the firewalls that mirror requests to it."""
    otlp: str
    """Unix socket of the telemetry receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controlled:
    """One ambassador, as the control agent finds it."""

    function: str
    version: str
    workload: str
    type: str
    engine: str
    host: str
    """Name that is dialled, through the mesh."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The control agent: where it takes orders, and whom it may ask."""

    chain: str
    namespace: str
    workload: str
    socket: str
    """Unix socket on which it takes orders."""
    functions: tuple[Controlled, ...]
    otlp: str


def settings_from(ambassador: AmbassadorSettings, state: State) -> Settings:
    """Return what a driver renders a generation from."""
    return Settings(
        workload=ambassador.workload,
        function=ambassador.function,
        version=ambassador.version,
        port=ambassador.port,
        configuration=state.configuration,
        generation=state.generation,
        services=ambassador.services,
        files=state.files,
        directory=ambassador.directory,
        user=ambassador.user,
        command=ambassador.command,
        working_directory=ambassador.working_directory,
    )


def render(settings: AmbassadorSettings | AgentSettings) -> str:
    """Return the text of the file."""
    return json.dumps(asdict(settings), indent=1)


def ambassador_settings(text: str) -> AmbassadorSettings:
    """Return what the file of an ambassador says."""
    data: dict[str, Any] = json.loads(text)
    for name in ("command", "report_to"):
        data[name] = tuple(data[name])
    return AmbassadorSettings(**data)


def agent_settings(text: str) -> AgentSettings:
    """Return what the file of the control agent says."""
    data: dict[str, Any] = json.loads(text)
    data["functions"] = tuple(Controlled(**one) for one in data["functions"])
    return AgentSettings(**data)
