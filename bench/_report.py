"""What all benchmarks share at their edges: options, medians with their spread, a table, and the JSON that is kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def options(description: str | None, *, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options that every benchmark knows; let SIGTERM end it as Ctrl-C does, so that it cleans up."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions: shows that it works, measures little")
    parser.add_argument("--inside", metavar="FOLDER", default="", help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    return found


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Several measurements of one quantity: the median, and how far the others were from it."""

    median: float
    least: float
    most: float
    count: int

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.least)} to {number(self.most)})"


def spread(values: Iterable[float]) -> Spread:
    """Return the median of at least one value, and the least and the most."""
    found = sorted(values)
    return Spread(median=statistics.median(found), least=found[0], most=found[-1], count=len(found))


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    found = sorted(values)
    return found[min(len(found) - 1, max(0, round(percent / 100 * len(found) + 0.5) - 1))]


def number(value: float) -> str:
    """Write a number with three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, notes: Sequence[str] = ()) -> None:
    """Print rows: the first column names, the others count."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        shown.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    # A pipe has no width; a table that is cut says nothing.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    # Not the table's own title: that is wrapped to the width of the table.
    console.print(title, style="italic", highlight=False, markup=False)
    console.print(shown)
    for note in notes:
        console.print(f"  {note}", highlight=False, markup=False)
    console.print()


def keep(name: str, result: dict[str, Any], *, quick: bool) -> None:
    """Write `bench/results/NAME.json`: the numbers, and the machine that they are of."""
    RESULTS.mkdir(exist_ok=True)
    document = {"bench": name, "quick": quick, "machine": machine(), **result}
    text = json.dumps(document, indent=1, default=_plain)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine, and how busy it was when the benchmark ended."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "loadAverage": os.getloadavg()[0],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _plain(value: object) -> object:
    if isinstance(value, Spread):
        return {key: round(part, 3) for key, part in asdict(value).items()}
    raise TypeError(f"{type(value).__name__} is not JSON")
