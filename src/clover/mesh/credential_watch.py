"""
Files of certificates that change while a chain runs: noticed, read again, and judged before anybody is told of them.

What is in force is taken from the snapshots that the proxies have; nothing of it is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from clover.errors import Problem, errors_only
from clover.mesh import credentials
from clover.mesh.credential_files import STILL, CredentialFiles, Marks
from clover.mesh.xds import secrets
from clover.mesh.xds.resource import Resource

_SOON = timedelta(days=7)


class CredentialWatch:
    """Remembers what the files of secrets were like when they were read last, and what was wrong with them."""

    def __init__(self, files: CredentialFiles) -> None:
        self._files = files
        self._marks: dict[str, Marks] = {}
        """By the secret's name, as is the next."""
        self._faults: dict[str, tuple[Problem, ...]] = {}

    def changed(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of the secrets in force whose files are to be read again."""
        in_force = {name for name in names if credentials.files_of(name)}
        self._marks = {name: marks for name, marks in self._marks.items() if name in in_force}
        self._faults = {name: faults for name, faults in self._faults.items() if name in in_force}
        # A fault may pass by itself: a certificate becomes valid.
        return frozenset(
            name for name in in_force if name in self._faults or self._marks.get(name) != self._files.marks(name)
        )

    def read(self, needed: Mapping[str, Iterable[str]]) -> tuple[Resource, ...]:
        """Return the secrets that can be used, by the resources that need each; `problems` tells of the others."""
        found: list[Resource] = []
        for name, sources in needed.items():
            # Noted before reading: what is written meanwhile is read the next time.
            self._marks[name] = self._files.marks(name)
            held, problems = self._files.secrets({name: sources}, {})
            found += held
            self._faults.pop(name, None)
            if faults := errors_only(problems):
                self._faults[name] = tuple(replace(fault, hint=STILL) for fault in faults)
        return tuple(found)

    def problems(self, in_force: Mapping[str, Resource], *, now: float) -> Iterator[Problem]:
        """Yield what is wrong with files, and which of the certificates in force expire soon."""
        for faults in self._faults.values():
            yield from faults
        moment = datetime.fromtimestamp(now, UTC)
        for name, secret in in_force.items():
            files = credentials.files_of(name)
            if files is None or files.certificates == credentials.SYSTEM:
                continue
            expiry = credentials.expiry_of(secrets.certificates_of(secret), authorities=not files.key)
            if expiry <= moment + _SOON:
                over = expiry <= moment
                yield Problem(
                    code="CLV4239",
                    where=files.certificates,
                    what=f"the certificate {'expired' if over else 'expires'} on {expiry:%Y-%m-%d %H:%M} UTC",
                    hint="put a new one in its place: it is served without an apply",
                    severity="error" if over else "warning",
                )
