"""`clover down [CHAIN]`: take a chain down, or clean up after one that was killed."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clover.cli import output
from clover.errors import DocumentError, HostError, Problem
from clover.kit import places
from clover.runtime.local import ledger
from clover.spec import load

PATIENCE_S = 15.0
"""How long the node may take to stop its functions before it is killed."""


def down(
    chain: Annotated[
        str, typer.Argument(metavar="CHAIN", help="Name of the chain, or the path it was started from.")
    ] = "",
    named: Annotated[
        str,
        typer.Option("--chain", envvar="CLOVER_CHAIN", metavar="NAME", help="The same; CHAIN comes before it."),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every chain of this user.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Forget its traces and logs, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was taken down as JSON.")] = False,
) -> None:
    """Take a chain down. What it traced can be read after its next `up`, unless --purge (--all: of every chain)."""
    console = Console(stderr=True)
    names = _names(chain or named, everything=everything)
    done = []
    for name in names:
        with console.status(f"{name}: stopping ..."):
            found = ledger.stop(places.chain_directory(name), patience_s=PATIENCE_S)
        done.append({"chain": name, "found": found})
        if purge:
            _forget(places.store_directory(name))
            places.failed_log(name).unlink(missing_ok=True)
        console.print(f"chain {name} is down" if found else f"chain {name} is not up: nothing to do", highlight=False)
    if everything and purge:
        for store in _stores():
            _forget(store)
        for log in places.failed_logs():
            log.unlink(missing_ok=True)
    if not names:
        console.print("no chain is up: nothing to do")
    if as_json:
        output.print_json({"chains": done})


def _stores() -> list[Path]:
    """Return the stores that are left, of chains that are not up or never came up."""
    root = places.state_root()
    return sorted(root.glob("*/store")) if root.is_dir() else []


def _forget(store: Path) -> None:
    """Remove a chain's store, and the folder around it if nothing else is in there."""
    shutil.rmtree(store, ignore_errors=True)
    with contextlib.suppress(OSError):
        store.parent.rmdir()


def _known(root: Path) -> list[str]:
    """Return the chains of the run folder, also those that were killed. Raises HostError if it is somebody else's."""
    try:
        return sorted(entry.name for entry in root.iterdir() if ledger.is_chain(entry)) if root.is_dir() else []
    except PermissionError as failure:
        what = f"it cannot be read: {failure.strerror}"
        raise HostError(
            Problem(code="CLV2105", where=str(root), what=what, hint="set CLOVER_RUN to a folder of your own")
        ) from None


def _names(chain: str, *, everything: bool) -> list[str]:
    root = places.run_root()
    known = _known(root)
    if everything:
        return known
    if chain and Path(chain).exists() and chain not in known:
        return [load.load(Path(chain)).name]
    if chain:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", chain):
            raise DocumentError(
                Problem(
                    code="CLV5007",
                    where="clover down",
                    what=f"{chain!r} is neither the name of a chain nor a path that exists",
                    hint=f"chains that are up: {', '.join(known) or 'none'}",
                )
            )
        return [chain]
    if len(known) > 1:
        raise DocumentError(
            Problem(
                code="CLV5006",
                where="clover down",
                what=f"several chains are up: {', '.join(known)}",
                hint=f"clover down {known[0]}, or clover down --all",
            )
        )
    return known
