"""One bad sender must not cost the others their data: only what the engine cannot read is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clover.telemetry.store.engine import EngineError
from clover.telemetry.store.frames import MalformedError


def insert_each(payloads: Sequence[bytes], insert: Callable[[Sequence[bytes]], None]) -> list[Exception | None]:
    """
    Insert the payloads with as few inserts as it takes; return for each what was wrong with it, None for nothing.

    All go in one insert. When the engine cannot read that, the payloads are halved until the bad ones stand alone. An
    error that is not about the data (no space, no memory) is every payload's.
    """
    if not payloads:
        return []
    try:
        insert(payloads)
    except EngineError as failure:
        if not failure.bad_data:
            return [failure] * len(payloads)
        if len(payloads) == 1:
            return [MalformedError(str(failure))]
        middle = len(payloads) // 2
        return [*insert_each(payloads[:middle], insert), *insert_each(payloads[middle:], insert)]
    return [None] * len(payloads)
