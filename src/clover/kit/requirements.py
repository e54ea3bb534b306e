"""What this machine must have: programs and files, each with the command that brings it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clover.errors import Problem

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where engines live; an ordinary user's PATH often lacks the sbin folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A program on PATH, or a file that must exist."""

    name: str
    """Program name, or absolute path."""
    package: str
    """Debian and Ubuntu package that has it."""
    needed_for: str

    def met(self) -> bool:
        """Look for it on this machine."""
        if self.name.startswith("/"):
            return Path(self.name).exists()
        return shutil.which(self.name, path=SYSTEM_PATH) is not None


def missing(requirements: Iterable[Requirement]) -> Iterator[Problem]:
    """Yield a problem for each requirement that is not met, each once."""
    for requirement in dict.fromkeys(requirements):
        if not requirement.met():
            yield Problem(
                code="CLV2001",
                where=requirement.name,
                what=f"{requirement.name!r} is missing; it is needed for {requirement.needed_for}",
                hint=f"sudo apt-get install --no-install-recommends {requirement.package}",
            )
