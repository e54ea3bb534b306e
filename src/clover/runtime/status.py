"""How the parts of a running chain are doing, as values that a backend keeps and everybody may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    """It died, and is not back yet."""
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class ProcessStatus:
    """One supervised process; changed in place by its supervisor."""

    state: State = State.STARTING
    pid: int = 0
    """Process id inside the node's namespace; 0 while it does not run."""
    restarts: int = 0
    last_exit: str = ""
    """How it ended last time, with its last words; empty if it never did."""


@dataclass(slots=True, kw_only=True)
class WorkloadStatus:
    """One workload: its engine and its sidecar."""

    name: str
    sidecar: ProcessStatus = field(default_factory=ProcessStatus)
    engine: ProcessStatus | None = None
    """Of the gateway: the relay of its port on the host."""
    companions: dict[str, ProcessStatus] = field(default_factory=dict)
    """By name, e.g. `ambassador`."""

    @property
    def takes_traffic(self) -> bool:
        """
        Tell whether the mesh should send it requests.

        A part that has not been ready yet counts as willing: nobody sends anything before the whole chain is up, and
        endpoints need not be announced one by one while it starts.
        """
        return all(part is None or part.state in (State.STARTING, State.READY) for part in (self.sidecar, self.engine))

    @property
    def state(self) -> State:
        """
        Return how the function is: the state of the worse of engine and sidecar.

        It serves without its companions once they have been there: one that died is told by itself.
        """
        parts = [part.state for part in (self.sidecar, self.engine) if part]
        parts += [one.state for one in self.companions.values() if one.state is State.STARTING]
        for state in (State.STOPPED, State.RESTARTING, State.STARTING):
            if state in parts:
                return state
        return State.READY

    @property
    def restarts(self) -> int:
        """Return how often any part was started again."""
        parts = (self.sidecar, self.engine, *self.companions.values())
        return sum(part.restarts for part in parts if part)
