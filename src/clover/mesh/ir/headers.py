"""What is changed in a message's headers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """Changes to a message's headers, made in the order remove, set, add."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    """Replaces any value that is there."""
    add: tuple[tuple[str, str], ...] = ()
    """Appends to the values that are there."""


NO_CHANGES = HeaderChanges()
