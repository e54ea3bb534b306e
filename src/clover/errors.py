"""What can go wrong, as values: a problem to fix, and the errors that stop the work and carry problems.

Every failure that a user can cause or mend is a `Problem`; an exception is only the vehicle that brings problems to
the one place that prints them (`cli/main.py`). Exit codes: 0 ok, 1 a check failed, 2 document or usage, 3 host,
4 function, 5 mesh, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place in a document that somebody wrote."""

    file: str
    line: int
    """Counted from 1."""
    column: int
    """Counted from 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to fix, addressed to the person who can fix it."""

    code: str
    """Stable for ever, e.g. `CLV1204`: 1xxx spec, 2xxx host, 3xxx function, 4xxx mesh, 5xxx runtime, 6xxx telemetry."""
    where: str
    """Where to look: `chain.yaml:14:15`, or an object such as `/dev/net/tun` or `sidecar http-lb-v1`."""
    what: str
    """Subject first; what was found and what was expected, values in quotes."""
    hint: str = ""
    """The next edit or command, when there is an honest one."""
    severity: str = "error"
    """`error` stops the work; `warning` is shown and the work goes on."""
    istio: str = ""
    """What Istio's own analysis calls it, e.g. `IST0101`; '': Istio has no name for it."""

    def __str__(self) -> str:
        codes = f"{self.code}, {self.istio}" if self.istio else self.code
        text = f"{self.where}: {self.severity}: {self.what} [{codes}]"
        return f"{text}\n    hint: {self.hint}" if self.hint else text

    def as_json(self) -> dict[str, str]:
        """Return the problem as `--json` prints it; `istio` only when there is such a code."""
        return {name: value for name, value in asdict(self).items() if value or name != "istio"}


class CloverError(Exception):
    """Work stopped because of problems that somebody can mend; the message is whole in `problems`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class DocumentError(CloverError):
    """A document, or the command line, does not say something that Clover can do."""

    exit_code = 2


class HostError(CloverError):
    """This machine lacks something, or refuses it."""

    exit_code = 3


class FunctionError(CloverError):
    """A network function's engine refused its configuration, did not start, or died."""

    exit_code = 4


class MeshError(CloverError):
    """A sidecar, or the control plane that feeds it, refused or lost configuration."""

    exit_code = 5


def errors_only(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems that stop the work."""
    return tuple(problem for problem in problems if problem.severity == "error")


def clover_errors(failure: BaseException) -> Iterator[CloverError]:
    """Yield the Clover errors inside `failure`, however deep task groups have wrapped them."""
    if isinstance(failure, CloverError):
        yield failure
    elif isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from clover_errors(inner)
