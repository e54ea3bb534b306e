"""A running firewall: an nginx, and the clients that it refuses until further notice."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from clover.functions.driver import EngineError
from clover.functions.modsecurity import networks
from clover.functions.nginx_running import NginxRunning

BLOCKS = "blocks"
"""Folder with an empty file for each blocked client, which nginx looks for at every request."""


@dataclass(slots=True, kw_only=True)
class FirewallRunning(NginxRunning):
    """
    Changes the firewall by a graceful reload, and blocks clients without one.

    The folder of blocks belongs to whoever runs this. Workers of another user can look up a name in it and no more: one
    that was taken over cannot unblock anybody.
    """

    async def block(self, address: str) -> None:
        """Refuse every request of this client from the next one on. Raises EngineError."""
        file = self._file(address)
        try:
            file.parent.mkdir(mode=0o700, exist_ok=True)
            file.parent.chmod(0o711)
            file.touch(mode=0o600)
        except OSError as failure:
            raise EngineError(f"{address} cannot be blocked: {failure}") from None

    async def unblock(self, address: str) -> None:
        """Take its requests again. Raises EngineError."""
        try:
            self._file(address).unlink(missing_ok=True)
        except OSError as failure:
            raise EngineError(f"{address} cannot be unblocked: {failure}") from None

    async def blocked(self) -> frozenset[str]:
        """Return the addresses that are refused now. Raises EngineError."""
        try:
            names = os.listdir(f"{self.directory}/{BLOCKS}")  # noqa: PTH208 - as a Path it would count as slow
        except FileNotFoundError:
            return frozenset()
        except OSError as failure:
            raise EngineError(f"the blocks cannot be read: {failure}") from None
        return frozenset(str(ipaddress.ip_address(name)) for name in names)

    def _file(self, address: str) -> Path:
        try:
            return Path(self.directory, BLOCKS, networks.client_from(address))
        except ValueError as refused:
            raise EngineError(f"not an address that can be blocked: {refused}") from None
