"""How every command prints problems and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from clover.errors import CloverError, DocumentError, FunctionError, HostError, MeshError, Problem

_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}
_PLAIN = "\x1b[0m"


def print_problems(problems: Iterable[Problem], *, file: TextIO | None = None) -> None:
    """Print problems for a person, to standard error unless `file` says otherwise."""
    file = file or sys.stderr
    coloured = file.isatty() and "NO_COLOR" not in os.environ
    for problem in problems:
        text = str(problem)
        if coloured and problem.severity in _COLOURS:
            mark = f" {problem.severity}: "
            text = text.replace(mark, f" {_COLOURS[problem.severity]}{problem.severity}{_PLAIN}: ", 1)
        print(text, file=file)


def print_json(value: Any) -> None:
    """Print a value for a program, to standard output."""
    print(json.dumps(value, indent=2))


def print_line(value: Any) -> None:
    """Print one value of many that come over time, on a line of its own."""
    print(json.dumps(value), flush=True)


def error_from(value: Mapping[str, Any]) -> CloverError:
    """
    Return the error that `{"problems": [...], "exitCode": n}` stands for, as a node sends it.

    Raises TypeError or KeyError when it is something else.
    """
    kinds = {kind.exit_code: kind for kind in (CloverError, DocumentError, HostError, FunctionError, MeshError)}
    return kinds.get(value["exitCode"], CloverError)(*(Problem(**problem) for problem in value["problems"]))


def counted(number: int, noun: str) -> str:
    """Return `1 function`, `2 functions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
