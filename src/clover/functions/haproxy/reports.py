"""What HAProxy's sockets answer, as values: workers, servers and counters. Pure."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import NamedTuple

FRONTEND = "entry"
BACKEND = "next"
_MAINTENANCE = 0x01 | 0x02 | 0x20
"""Bits of `srv_admin_state`: told so, like a server that is followed, or its name does not resolve."""
_RUNNING = "2"
_MASTER = re.compile(r"(\d+)\s+master\s+(\d+)\s+\[failed: (\d+)\]", re.ASCII)
_WORKER = re.compile(r"(\d+)\s+worker\s+(\d+)\s", re.ASCII)
_GENERATION = re.compile(r"proc\.generation: type=sint value=<(\d+)>", re.ASCII)


class UnreadableError(Exception):
    """HAProxy answers something else than it is asked for; the text is its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What the master says: `show proc`."""

    master: int
    reloads: int
    """How often the master was told to read its configuration again."""
    failed: int
    """How many of the last of these have failed."""
    current: tuple[int, ...]
    """Process ids of the workers that take new connections."""
    leaving: tuple[int, ...]
    """Those that finish what they have."""


class Server(NamedTuple):
    """What a worker says of one server, as far as it can be changed: `show servers state`."""

    weight: int
    """0: it gets nothing new, and finishes what it has."""
    maintenance: bool
    running: bool


def workers_from(text: str) -> Workers:
    """Read the answer to `show proc`."""
    master = _MASTER.search(text)
    if master is None:
        raise UnreadableError(text)
    now, _, before = text.partition("# old workers")
    return Workers(
        master=int(master[1]),
        reloads=int(master[2]),
        failed=int(master[3]),
        current=tuple(int(pid) for pid, _ in _WORKER.findall(now)),
        leaving=tuple(int(pid) for pid, _ in _WORKER.findall(before)),
    )


def servers_from(text: str) -> dict[str, Server]:
    """Read the answer to `show servers state`, by server name."""
    _, _, table = text.partition("# ")
    names, *rows = [line.split() for line in table.splitlines() if line.strip()] or [[]]
    if not {"srv_name", "srv_op_state", "srv_admin_state", "srv_uweight"} <= {*names}:
        raise UnreadableError(text)
    found = {}
    for row in rows:
        fields = dict(zip(names, row, strict=False))
        try:
            found[fields["srv_name"]] = Server(
                weight=int(fields["srv_uweight"]),
                maintenance=bool(int(fields["srv_admin_state"]) & _MAINTENANCE),
                running=fields["srv_op_state"] == _RUNNING,
            )
        except (KeyError, ValueError):
            raise UnreadableError(text) from None
    return found


def generation_from(text: str) -> int:
    """Read the answer to `get var proc.generation`."""
    found = _GENERATION.search(text)
    if found is None:
        raise UnreadableError(text)
    return int(found[1])


def statistics_from(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """Read the answer to `show stat`: by proxy and server name, the fields by name."""
    if not text.startswith("# pxname,svname,"):
        raise UnreadableError(text)
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {(row["pxname"], row["svname"]): row for row in rows if row["svname"]}


def information_from(text: str) -> dict[str, str]:
    """Read the answer to `show info`, by name."""
    found = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Pid" not in found:
        raise UnreadableError(text)
    return found
