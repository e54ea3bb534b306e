"""Load from `wrk`: a few connections that send the next request when the last is answered, for a few seconds."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Headers of a browser: the firewall's rules write a log line for a request that lacks them.
HEADERS = ("Host: shop.example", "User-Agent: Mozilla/5.0 (bench)", "Accept: */*")

REPORT = Path(__file__).with_suffix(".lua")
"""Prints wrk's numbers as JSON."""


class LoadError(Exception):
    """The load was not what was to be measured; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float


def run(url: str, *, connections: int, seconds: int, prefix: Sequence[str] = ()) -> Load:
    """Load `url`, through `prefix` (a command that enters a network). Raises LoadError if any answer was no success."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(REPORT)]
    for header in HEADERS:
        command += ["-H", header]
    done = subprocess.run([*prefix, *command, url], capture_output=True, text=True, check=False, timeout=seconds + 30)
    try:
        found = json.loads(done.stderr[done.stderr.index("{") :])
    except ValueError:
        raise LoadError(f"wrk {url} ended with {done.returncode}: {done.stdout}{done.stderr}") from None
    if found["failed"] or not found["requests"]:
        raise LoadError(f"wrk {url}: {found['failed']} of {found['requests']} requests failed: {done.stdout}")
    return Load(
        requests=found["requests"],
        rps=found["requests"] / found["durationUs"] * 1e6,
        p50_ms=found["p50Us"] / 1e3,
        p99_ms=found["p99Us"] / 1e3,
    )


def median_ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the median of first/second, each pair measured side by side: what slows the machine slows both."""
    return statistics.median(first / second for first, second in pairs)
