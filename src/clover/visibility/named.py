"""Functions as questions name them: an empty answer about a function that there never was would mislead."""

from __future__ import annotations

from collections.abc import Sequence

from clover.errors import DocumentError, Problem
from clover.runtime.plan import Plan


def check(plan: Plan, function: str, version: str, *, also: Sequence[str] = ()) -> None:
    """Raise DocumentError unless the chain has the function, in that version; an empty name or version is any."""
    known = {(workload.function, workload.version) for workload in plan.workloads} | {(name, "") for name in also}
    if any(function in ("", name) and version in ("", one) for name, one in known):
        return
    wanted = f"{function}@{version}" if version else function
    near = sorted(pair for pair in known if pair[0] == function) or sorted(known)
    names = ", ".join(f"{name}@{one}" if one else name for name, one in near)
    raise DocumentError(
        Problem(
            code="CLV5203", where=f"function {wanted}", what=f"{wanted!r} is not in the chain", hint=f"it has: {names}"
        )
    )
