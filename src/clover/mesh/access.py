"""Who may call a workload: authorization in the intermediate form, below `ir`, which carries it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All authorization policies of one workload."""


OPEN = Access()
"""No policy: everybody may call."""
