"""`clover exec FUNCTION -- CMD`: run a command where a function runs, and see the network that it sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from clover.cli import api
from clover.kit.requirements import SYSTEM_PATH

CONTEXT_SETTINGS = {"ignore_unknown_options": True}
"""Options that Clover does not know belong to the command, so that a forgotten `--` is forgiven."""


def exec(
    function: Annotated[str, typer.Argument(metavar="FUNCTION[@VERSION]", help="Where to run it.")],
    command: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments.")],
    chain: api.ChainOption = "",
) -> None:
    """Run a command in a function's network, e.g. `clover exec http-lb@v1 -- curl -s web-cache:9180`."""
    client = api.find(chain)
    one = api.only(client.instances(), function)
    argv = argv_in(client.chain, one.workload, command, rootless=os.geteuid() != 0)
    path = os.environ.get("PATH", "")
    os.execvpe(argv[0], argv, {**os.environ, "PATH": f"{path}:{SYSTEM_PATH}" if path else SYSTEM_PATH})  # noqa: S606


def argv_in(chain: api.RunningChain, workload: str, command: Sequence[str], *, rootless: bool) -> list[str]:
    """Return the command that runs `command` in the workload's network; its exit code is that of `command`."""
    # The network namespaces are bound to files that only the node's mount namespace shows, so it is entered first.
    user = ["--user", "--preserve-credentials"] if rootless else []
    network = chain.directory / "netns" / workload
    return [
        "nsenter", "--target", str(chain.init), *user, "--mount", "--pid", "--",
        "nsenter", f"--net={network}", "--", *command,
    ]  # fmt: skip
