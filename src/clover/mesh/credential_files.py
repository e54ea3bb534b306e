"""
The files of certificates that a policy names: read, judged, and turned into secrets.

They are read before a proxy hears of the policy. What is wrong with them is told in the words of the resource; their
contents go to the proxies that need them, over the control plane's socket, and are written nowhere.
"""

from __future__ import annotations

import ssl
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh import credentials
from clover.mesh.credentials import Files
from clover.mesh.xds import secrets
from clover.mesh.xds.resource import Resource

_LARGEST = 1 << 20
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where distributions keep the authorities that they believe; OpenSSL's own answer is asked first."""


class CredentialFiles:
    """Reads certificates for as long as a chain runs."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        """Where relative paths, and the folder `credentials`, begin: that of the chain file."""
        self._held: dict[str, Resource] = {}
        """What was read last, by the secret's name."""

    def secrets(
        self, needed: Mapping[str, Iterable[str]], origins: Mapping[str, Document], *, reread: bool
    ) -> tuple[tuple[Resource, ...], tuple[Problem, ...]]:
        """
        Return the secrets that come from files, by the resources that need each, and what is wrong with the files.

        Without `reread` a file is only read if it has not been read before.
        """
        problems: list[Problem] = []
        for name, sources in needed.items():
            files = credentials.files_of(name)
            if files is None or (name in self._held and not reread):
                continue
            found = self._secret(name, files, _where(name, sources, origins), problems)
            if found is not None:
                self._held[name] = found
        self._held = {name: held for name, held in self._held.items() if name in needed}
        return tuple(self._held.values()), tuple(problems)

    def _secret(self, name: str, files: Files, where: str, problems: list[Problem]) -> Resource | None:
        certificates = self._read(files.certificates, where, problems)
        key = self._read(files.key, where, problems) if files.key else b""
        if certificates is None or key is None:
            return None
        faults = list(_judged(files, certificates, key, where))
        problems += faults
        if faults:
            return None
        if not files.key:
            return secrets.roots(name, certificates)
        problems += self._mode(files.key, where)
        return secrets.key_pair(name, certificates, key)

    def _path(self, written: str) -> Path:
        if written == credentials.SYSTEM:
            return _bundle()
        path = Path(written)
        return path if self._folder is None else self._folder / path

    def _read(self, written: str, where: str, problems: list[Problem]) -> bytes | None:
        path = self._path(written)
        if not path.is_absolute():
            reason, hint = "is not absolute, and the chain has no folder", "write the whole path"
        else:
            try:
                with path.open("rb") as file:
                    return file.read(_LARGEST)
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
                hint = "paths are those of this machine; relative ones begin at the folder of the chain file"
        problems.append(Problem(code="CLV4234", where=where, what=f"the file {str(path)!r} {reason}", hint=hint))
        return None

    def _mode(self, written: str, where: str) -> Iterator[Problem]:
        path = self._path(written)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Problem(
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
