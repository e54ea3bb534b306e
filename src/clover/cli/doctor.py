"""`clover doctor`: can this machine run a chain, and if not, what would mend it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.text import Text

from clover.cli import output, screen
from clover.cli.screen import Marks
from clover.doctor import checks, host
from clover.doctor.checks import Check
from clover.errors import HostError
from clover.functions import registry as drivers
from clover.mesh.xds import bootstrap

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check this machine: every requirement, what was seen, and the command that mends what is wrong."""
    defaults = [driver for driver in drivers.DRIVERS if driver.engine == drivers.engines(driver.type)[0]]
    found = list(
        host.examine(
            [requirement for driver in defaults for requirement in driver.requirements],
            others=[requirement for driver in drivers.DRIVERS for requirement in driver.requirements],
            envoy=bootstrap.envoy_binary,
        )
    )
    if as_json:
        output.print_json({"ok": not checks.failed(found), "checks": [check.as_json() for check in found]})
    else:
        target = screen.console()
        screen.show(lines(found, marks=screen.marks(target)), target=target)
    if checks.failed(found):
        raise typer.Exit(HostError.exit_code)


def lines(found: Sequence[Check], *, marks: Marks = screen.UNICODE) -> Iterator[Text]:
    """Yield one line per check, and below each bad one how to mend it."""
    signs = {"ok": marks.good, "warning": "!", "failed": marks.bad, "skipped": screen.NONE}
    wide = max((len(check.name) for check in found), default=0)
    for check in found:
        sign, style = signs[check.outcome], _STYLES[check.outcome]
        codes = "".join(f" [{problem.code}]" for problem in check.problems if problem.what == check.evidence)
        evidence = screen.printable(check.evidence)
        yield Text.assemble((f"{sign:<2}", style), f"{check.name:<{wide}}  {evidence}{codes}")
        for problem in check.problems:
            if problem.what != check.evidence:
                yield Text(f"{'':<{wide + 4}}{screen.printable(problem.what)} [{problem.code}]", style=style)
            if problem.hint:
                yield Text(f"{'':<{wide + 4}}mend: {screen.printable(problem.hint)}")
    yield Text("")
    bad = sum(check.outcome == "failed" for check in found)
    if bad:
        yield Text(f"{screen.count(bad, 'check')} failed: no chain can run here yet", style=_STYLES["failed"])
    else:
        yield Text("this machine can run a chain", style=_STYLES["ok"])
