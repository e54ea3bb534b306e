"""Whose certificates a proxy believes, and which connections it takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PeerMode(StrEnum):
    """Which connections a port takes."""

    DISABLE = "disable"
    """As they come, without a look at certificates."""
    PERMISSIVE = "permissive"
    """Mutual TLS where the caller's proxy begins it, anything else as it comes."""
    STRICT = "strict"
    """Mutual TLS with a certificate of the mesh, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Whose certificates a proxy believes, and which connections it takes where no service leads to."""

    domains: tuple[str, ...] = ()
    """Trust domains whose identities are believed, if the mesh's authority has signed them."""
    mode: PeerMode = PeerMode.DISABLE
    """For every port that no service leads to."""
    ports: tuple[tuple[int, PeerMode], ...] = ()
    """Of those, the ones for which something else is said."""


STRANGERS = Peers()
"""No mutual TLS: it is not looked who calls."""
