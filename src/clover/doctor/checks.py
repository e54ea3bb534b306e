"""What a look at the machine found: a question, its answer with evidence, and what to do about a bad one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clover.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question about this machine, answered."""

    name: str
    """A few words, unique: `network namespaces`."""
    evidence: str
    """What was seen, e.g. a version, a number, or the kernel's words."""
    problems: tuple[Problem, ...] = ()
    """Empty when all is well; the evidence then speaks for itself."""
    skipped: bool = False
    """True when the question could not be asked, because an earlier answer was bad."""

    @property
    def outcome(self) -> str:
        """Return `ok`, `warning` (a chain runs, with a handicap), `failed` (it does not) or `skipped`."""
        if not self.problems:
            return "skipped" if self.skipped else "ok"
        return "failed" if any(problem.severity == "error" for problem in self.problems) else "warning"

    def as_json(self) -> dict[str, object]:
        """Return the check as `clover doctor --json` prints it."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "evidence": self.evidence,
            "problems": [problem.as_json() for problem in self.problems],
        }


def failed(checks: Iterable[Check]) -> bool:
    """Tell whether a chain cannot run here."""
    return any(check.outcome == "failed" for check in checks)
