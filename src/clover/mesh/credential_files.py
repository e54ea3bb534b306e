"""
The files of certificates that a policy names: read, judged, and turned into secrets.

They are read before a proxy hears of the policy, and again when they change. What is wrong with them is told in the
words of the resource; their contents go to the proxies that need them, over the control plane's socket, and are written
nowhere.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh import credentials
from clover.mesh.credentials import Files
from clover.mesh.xds import secrets
from clover.mesh.xds.resource import Resource

_LARGEST = 1 << 20
STILL = "what was read before keeps serving; the files are read again when they change"
NOTHING_KNOWN: Mapping[str, Resource] = {}
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where distributions keep the authorities that they believe; OpenSSL's own answer is asked first."""
Marks = tuple[tuple[int, ...], ...]
"""What tells that files are not those of before, without reading them."""


class CredentialFiles:
    """Reads certificates."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        """Where relative paths, and the folder `credentials`, begin: that of the chain file."""

    def secrets(
        self,
        needed: Mapping[str, Iterable[str]],
        origins: Mapping[str, Document],
        *,
        known: Mapping[str, Resource] = NOTHING_KNOWN,
        kept: Mapping[str, Resource] = NOTHING_KNOWN,
    ) -> tuple[tuple[Resource, ...], tuple[Problem, ...]]:
        """
        Return the secrets that come from files, by the resources that need each, and what is wrong with the files.

        Those that are `known` are taken as they are, whatever has become of their files; those that are `kept`, when
        their files cannot be used, of which there are warnings then.
        """
        held: list[Resource] = []
        problems: list[Problem] = []
        for name, sources in needed.items():
            found = known.get(name)
            if found is None and (files := credentials.files_of(name)):
                wrong: list[Problem] = []
                found = self._secret(name, files, _where(name, sources, origins), wrong)
                if found is None and (found := kept.get(name)):
                    wrong = [_passed_over(problem) for problem in wrong]
                problems += wrong
            held += [found] if found else []
        return tuple(held), tuple(problems)

    def marks(self, name: str) -> Marks:
        """Return what the files of a secret are like."""
        files = credentials.files_of(name)
        paths = (files.certificates, files.key) if files else ()
        return tuple(_mark(self._path(path)) for path in paths if path)

    def _secret(self, name: str, files: Files, where: str, problems: list[Problem]) -> Resource | None:
        certificates = self._read(files.certificates, where, problems)
        key = self._read(files.key, where, problems, private=True) if files.key else b""
        if certificates is None or key is None:
            return None
        faults = list(_judged(files, certificates, key, where))
        problems += faults
        if faults:
            return None
        return secrets.key_pair(name, certificates, key) if files.key else secrets.roots(name, certificates)

    def _path(self, written: str) -> Path:
        if written == credentials.SYSTEM:
            return _bundle()
        path = Path(written)
        return path if self._folder is None else self._folder / path

    def _read(self, written: str, where: str, problems: list[Problem], *, private: bool = False) -> bytes | None:
        path = self._path(written)
        hint = "paths are those of this machine; relative ones begin at the folder of the chain file"
        if not path.is_absolute():
            reason, hint = "is not absolute, and the chain has no folder", "write the whole path"
        else:
            try:
                # A pipe that nobody writes to would be waited for.
                with open(path, "rb", opener=_at_once) as file:
                    status = os.fstat(file.fileno())
                    content = file.read(_LARGEST + 1) if stat.S_ISREG(status.st_mode) else b""
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
            else:
                if private and (open_to_others := _open_to_others(path, status, where)):
                    problems.append(open_to_others)
                if stat.S_ISREG(status.st_mode) and len(content) <= _LARGEST:
                    return content
                reason, hint = f"is no file of at most {_LARGEST >> 20} MiB", ""
        problems.append(Problem(code="CLV4234", where=where, what=f"the file {str(path)!r} {reason}", hint=hint))
        return None


def _passed_over(problem: Problem) -> Problem:
    return replace(problem, hint=STILL, severity="warning") if problem.severity == "error" else problem


def _mark(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, or another is put in its place; () when there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _open_to_others(path: Path, status: os.stat_result, where: str) -> Problem | None:
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o077:
        return None
    return Problem(
        code="CLV4235",
        where=where,
        what=f"the private key {str(path)!r} can be read by others: its mode is {mode:03o}",
        hint=f"chmod 600 {path}",
        severity="warning",
    )


def _judged(files: Files, certificates: bytes, key: bytes, where: str) -> Iterator[Problem]:
    if files.certificates == credentials.SYSTEM:
        # What the machine believes is not ours to judge.
        return
    now = time.time()
    if files.key:
        faults = credentials.faults_of_pair(certificates, key, now=now)
        named = f"{files.certificates!r} and {files.key!r}"
    else:
        faults = credentials.faults_of_roots(certificates, now=now)
        named = repr(files.certificates)
    for fault in faults:
        yield Problem(code="CLV4234", where=where, what=f"of {named}: {fault}")


def _where(name: str, sources: Iterable[str], origins: Mapping[str, Document]) -> str:
    """Return where those are written who need a secret, as far as that is known."""
    found = (str(origins[source].mark(("spec",))) if source in origins else source for source in sources)
    return ", ".join(found) or name


def _bundle() -> Path:
    found = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((Path(path) for path in found if path and Path(path).exists()), Path(_BUNDLES[0]))
