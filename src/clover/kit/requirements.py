"""What this machine must have: programs and files, each with the command that brings it."""

from __future__ import annotations

import platform
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
    """Debian and Ubuntu package that has it; '' when none has."""
    needed_for: str
    backports: str = ""
    """Codename of the Debian release that has the package in its backports only; '' for none."""

    elsewhere: str = ""
    """Where it comes from when no package has it."""

    def met(self) -> bool:
        """Look for it on this machine."""
        if self.name.startswith("/"):
            return Path(self.name).exists()
        return shutil.which(self.name, path=SYSTEM_PATH) is not None


def missing(requirements: Iterable[Requirement], *, severity: str = "error") -> Iterator[Problem]:
    """Yield a problem for each thing that is not there, each once."""
    seen = set()
    for requirement in requirements:
        if requirement.name not in seen and not requirement.met():
            seen.add(requirement.name)
            yield Problem(
                code="CLV2001",
                where=requirement.name,
                what=f"{requirement.name!r} is missing; it is needed for {requirement.needed_for}",
                hint=installing(requirement, release=_release()),
                severity=severity,
            )


def installing(requirement: Requirement, *, release: str) -> str:
    """Return the command that installs it on a release of Debian or Ubuntu, by its codename."""
    if not requirement.package:
        return requirement.elsewhere
    install = "sudo apt-get install --no-install-recommends"
    if not requirement.backports or requirement.backports != release:
        return f"{install} {requirement.package}"
    backports = f"{release}-backports"
    return f"{install} -t {backports} {requirement.package} (script/bootstrap adds {backports} to apt's sources)"


def _release() -> str:
    """Return the codename of this machine's release; '' when it has none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""
