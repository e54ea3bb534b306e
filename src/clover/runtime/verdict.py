"""What a check has to say about one file."""

from __future__ import annotations

from dataclasses import dataclass

from clover.errors import Problem
from clover.spec.chain import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said about one file."""

    path: str
    problems: tuple[Problem, ...] = ()
    chain: Chain | None = None
    resources: int = 0
    """Istio's and the Gateway API's."""
    objects: int = 0
    """Of Kubernetes, that say what exists."""
    skipped: int = 0
    """Documents about something else."""
