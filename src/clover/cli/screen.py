"""How the client commands put text on a screen, or into a pipe: columns, marks, numbers with units.

A line is a `rich.text.Text` that is laid out here and never again: a terminal may cut or wrap it, a pipe gets it whole,
and colour only repeats what the words say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 100
"""Columns of a drawing that nobody watches: a pipe, a file, a CI log."""
MIN_WIDTH = 80
NONE = "-"
"""What stands where there is nothing to measure."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The signs that drawings are made of."""

    function: str
    """Time in a function's own code."""
    proxy: str
    """Time in a sidecar."""
    network: str
    """Time between a sidecar and the next one."""
    waiting: str
    """Time spent waiting for the next hop."""
    branch: str
    """Stands before the last child in a tree."""
    fork: str
    """Stands before a child that others follow."""
    stem: str
    """Leads on to those that follow."""
    good: str
    bad: str


UNICODE = Marks(function="█", proxy="▒", network="·", waiting="─", branch="└ ", fork="├ ", stem="│ ", good="✓", bad="✗")
ASCII = Marks(function="#", proxy="%", network=".", waiting="-", branch="` ", fork="+ ", stem="| ", good="ok", bad="!!")


def console() -> Console:
    """Return standard output as lines are printed to it: no guessing at highlights, and nothing is rewrapped."""
    return Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def width(target: Console) -> int:
    """Return how wide a drawing may be."""
    return max(target.width, MIN_WIDTH) if target.is_terminal else PIPE_WIDTH


def marks(target: Console) -> Marks:
    """Return the signs that this output can carry."""
    return UNICODE if target.encoding.lower().replace("-", "").startswith("utf") else ASCII


def show(lines: Iterable[Text | str], *, target: Console | None = None) -> None:
    """Print lines, as they are."""
    target = target or console()
    for line in lines:
        target.print(line)


def progress(text: str) -> None:
    """Tell a waiting person what happens, on standard error; a pipe is not told."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """True for quantities, so that their digits stand below each other."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> Iterator[Text]:
    """Yield the header and the rows, each column as wide as its widest cell; no line ends in blanks."""
    lines = [_header(columns), *map(_cells, rows)]
    widths = [max(cell_len(line[at].plain) for line in lines) for at in range(len(columns))]
    for line in lines:
        yield _laid_out(columns, line, widths)


class GrowingTable:
    """A table whose rows come one by one: a column never gets narrower, and what was printed stays as it is."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths = [len(column.title) for column in columns]
        self._begun = False

    def lines(self, row: Sequence[Text | str]) -> Iterator[Text]:
        """Yield the row, and before the first one the header."""
        cells = _cells(row)
        self._widths = [max(wide, cell_len(cell.plain)) for wide, cell in zip(self._widths, cells, strict=True)]
        if not self._begun:
            self._begun = True
            yield _laid_out(self._columns, _header(self._columns), self._widths)
        yield _laid_out(self._columns, cells, self._widths)


def _header(columns: Sequence[Column]) -> list[Text]:
    return [Text(column.title, style="bold") for column in columns]


def _cells(row: Sequence[Text | str]) -> list[Text]:
    return [cell if isinstance(cell, Text) else Text(cell) for cell in row]


def _laid_out(columns: Sequence[Column], line: Sequence[Text], widths: Sequence[int]) -> Text:
    row = Text()
    for at, (cell, column, wide) in enumerate(zip(line, columns, widths, strict=True)):
        gap = " " * (wide - cell_len(cell.plain))
        row.append("  " if at else "")
        row.append_text(Text.assemble(gap, cell) if column.right else Text.assemble(cell, gap))
    row.rstrip()
    return row


def printable(text: str) -> str:
    """Return text from a request or a log without what could move a terminal's cursor; tabs become blanks."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text).replace("\t", " ")


def cut(text: str, cells: int) -> str:
    """Return the text, or as much of it as fits with an ellipsis."""
    if cell_len(text) <= cells:
        return text
    while text and cell_len(text) > cells - 1:
        text = text[:-1]
    return f"{text}…"


def duration(milliseconds: float | None) -> str:
    """Return a duration with three digits that mean something: `0.41 ms`, `12.3 ms`, `1.24 s`, `3 m 20 s`."""
    if milliseconds is None:
        return NONE
    if milliseconds < 9.995:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 99.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {seconds} s"


def size(octets: float | None) -> str:
    """Return a size: `812 B`, `4.1 MB`."""
    if octets is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} B" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 span`, `12,345 spans`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def status_style(status: str) -> str:
    """Return the colour of an HTTP status, or of a gRPC status by name."""
    if status.isupper():
        return "green" if status == "OK" else "bold red"
    return {"2": "green", "3": "cyan", "4": "yellow", "5": "bold red"}.get(status[:1], "")


def problems(found: Iterable[dict[str, str]]) -> Iterator[Text]:
    """Yield problems from the API as every command shows them."""
    for problem in found:
        severity = problem.get("severity", "error")
        yield Text.assemble(
            f"{printable(problem.get('where', ''))}: ",
            (severity, "bold yellow" if severity == "warning" else "bold red"),
            f": {_indented(problem.get('what', ''))} [{problem.get('code', '')}]",
        )
        if problem.get("hint"):
            yield Text(f"    hint: {_indented(problem['hint'])}")


def _indented(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
