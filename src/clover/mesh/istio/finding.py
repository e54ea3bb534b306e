"""What a check finds in one resource, before it is known where the resource was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.istio import resources
from clover.mesh.istio.resources import Resource

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong at one field."""

    code: str
    path: Path
    """Below the resource, in Istio's names: `("spec", "http", 0, "route")`."""
    what: str
    """Without the resource and the field, which `problem_from` puts in front."""
    hint: str = ""
    severity: str = "error"
    istio: str = ""
    """The code of the same finding in Istio's own analysis, e.g. `IST0101`."""


def problem_from(finding: Finding, resource: Resource, origins: Mapping[str, Document]) -> Problem:
    """Return a finding as a problem: at its line when the resource's document is known."""
    name = resources.key(resource)
    kind, rest = name.split("/", 1)
    document = origins.get(name)
    return Problem(
        code=finding.code,
        where=str(document.mark(finding.path)) if document else name,
        what=f"{kind} {rest}: field {dotted(finding.path)!r}: {finding.what}",
        hint=finding.hint,
        severity=finding.severity,
        istio=finding.istio,
    )


def in_order(findings: Iterable[Finding], document: Document | None) -> list[Finding]:
    """Return findings in the order of their lines, when these are known."""
    if document is None:
        return list(findings)
    marks = ((document.mark(finding.path), finding) for finding in findings)
    return [finding for _, finding in sorted(marks, key=lambda pair: (pair[0].line, pair[0].column))]


def dotted(path: Path) -> str:
    """Return `spec.http[0].match` for a path."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{cut(step)}" for step in path)
    return text.removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known name that is most like `name`, or nothing."""
    near = get_close_matches(name[:100], list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def cut(text: str) -> str:
    """Return text short enough for a message."""
    return text if len(text) <= 80 else f"{text[:77]}..."
