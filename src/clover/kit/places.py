"""Where a chain's files live on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def run_root() -> Path:
    """
    Return the folder of run-time files of all chains: sockets, rendered configuration, logs.

    `CLOVER_RUN` overrides it. Kept short, because the path of a Unix socket may have 107 bytes at most.
    """
    if chosen := os.environ.get("CLOVER_RUN"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/run/clover")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "clover"
    return Path(tempfile.gettempdir()) / f"clover-{os.geteuid()}"


def state_root() -> Path:
    """Return the folder of what outlives a run: the telemetry stores. `CLOVER_STATE` overrides it."""
    if chosen := os.environ.get("CLOVER_STATE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/clover")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "clover"


def chain_directory(chain: str) -> Path:
    """Return the run-time folder of one chain."""
    return run_root() / chain


def store_directory(chain: str) -> Path:
    """Return the folder of one chain's telemetry store."""
    return state_root() / chain / "store"


def failed_log(chain: str) -> Path:
    """Return where the log of a chain is kept that did not come up."""
    return run_root() / f"{chain}.failed.log"


def failed_logs() -> list[Path]:
    """Return the logs of all chains that did not come up, and have not come up since."""
    return sorted(run_root().glob("*.failed.log"))
