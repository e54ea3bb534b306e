"""The identities that the proxies have: each gets one when it is first told something, and another before it is old."""

from __future__ import annotations

import time
from collections.abc import Mapping

from clover.mesh import ir
from clover.mesh.certificates import Authority, Svid
from clover.mesh.xds import secrets
from clover.mesh.xds.resource import Resource


class Identities:
    """Gives out identities, and remembers them."""

    def __init__(self, authority: Authority | None, *, lifetime_s: float) -> None:
        self._authority = authority
        """Signs them; None: proxies have none."""
        self._lifetime_s = lifetime_s
        self._svids: dict[str, Svid] = {}
        """By node: a key belongs to one workload."""

    @property
    def in_force(self) -> Mapping[str, Svid]:
        """The identities, by proxy."""
        return self._svids.copy()

    def secrets(self, proxy: ir.Proxy | None) -> tuple[Resource, ...]:
        """Return what a proxy proves its identity with, and what it recognises others by."""
        if self._authority is None or proxy is None or not proxy.principal:
            return ()
        if proxy.node not in self._svids:
            self._svids[proxy.node] = self._issued(self._authority, proxy.principal)
        svid = self._svids[proxy.node]
        return (
            secrets.key_pair(secrets.IDENTITY, svid.certificate, svid.private_key),
            secrets.roots(secrets.ROOTS, self._authority.root),
        )

    def renew(self) -> None:
        """Put another in the place of each that grows old."""
        if self._authority is not None:
            now = time.time()
            self._svids = {
                node: svid if svid.renew_at > now else self._issued(self._authority, svid.principal)
                for node, svid in self._svids.items()
            }

    def _issued(self, authority: Authority, principal: str) -> Svid:
        return authority.issue(principal, lifetime_s=self._lifetime_s, now=time.time())
