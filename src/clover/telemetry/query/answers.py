"""What a query needs of a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Answers(Protocol):
    """Something that can be asked."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return rows."""
        ...


class Waits(Answers, Protocol):
    """A store that tells when more may have come."""

    @property
    def commits(self) -> int:
        """How many commits were made."""
        ...

    async def settle(self) -> None:
        """Let what was received until now be found."""
        ...

    async def after_next_commit(self, *, seen: int, timeout_s: float) -> int:
        """Wait for one more."""
        ...
