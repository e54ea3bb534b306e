"""The processes of a running chain, and what they use: processor time and memory, by component."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NODE, SIDECAR, ENGINE, AMBASSADOR, AGENT, WARM = (
    "node",
    "sidecars",
    "engines",
    "ambassadors",
    "control agent",
    "warm process",
)
COMPONENTS = (NODE, SIDECAR, ENGINE, AMBASSADOR, AGENT, WARM)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a chain, as the host numbers it."""

    pid: int
    program: str
    component: str
    workload: str
    """Whose folder it works in; '' : the node's."""


def of_chain(node: int) -> list[Process]:
    """Return every process in the process-id namespace of `node`, itself included."""
    inside = Path(f"/proc/{node}/ns/pid").readlink()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if (folder / "ns/pid").readlink() != inside:
                continue
            program = (folder / "comm").read_text(encoding="utf-8").strip()
            place = (folder / "cwd").readlink()
            argv = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or belongs to somebody else
        pid = int(folder.name)
        workload = place.name if place.parent.name == "w" else ""
        component = NODE if pid == node else SIDECAR if program == "envoy" else _python(argv, workload) or ENGINE
        found.append(Process(pid=pid, program=program, component=component, workload=workload))
    return sorted(found, key=lambda process: process.pid)


def _python(argv: list[bytes], workload: str) -> str:
    """Return which of Clover's own processes this is; '' if none. Copies of the warm process have its arguments."""
    if b"warm" not in argv:
        return ""
    if not workload:
        return WARM
    return AGENT if workload == "control-agent" else AMBASSADOR


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_by_component(processes: Iterable[Process]) -> dict[str, float]:
    """Return the processor time that each component has used."""
    used = dict.fromkeys(COMPONENTS, 0.0)
    for process in processes:
        # Some end by themselves: nginx's cache loader does after a minute.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            used[process.component] += cpu_s(process.pid)
    return used


def memory_kb(pid: int) -> dict[str, int]:
    """Return resident (`Rss`), proportional (`Pss`: shared pages divided among who shares them) and own memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    fields = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {
        "rss": fields["Rss"],
        "pss": fields["Pss"],
        "own": fields["Private_Clean"] + fields["Private_Dirty"],
    }
