"""
All resources into all snapshots, or into what is wrong with them: every step of a change before a proxy hears of it.

That takes seconds in a large mesh. Nothing here waits or sends, so that it can be done in a thread, one change at a
time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clover.errors import DocumentError, MeshError, Problem, errors_only
from clover.kit import memory
from clover.kit.documents import Document
from clover.mesh import credentials, snapshot, translate
from clover.mesh.credential_files import CredentialFiles
from clover.mesh.identities import Identities
from clover.mesh.istio import validate
from clover.mesh.istio.registry import Registry
from clover.mesh.istio.resources import Resource
from clover.mesh.snapshot import Snapshot
from clover.mesh.translate import reach
from clover.mesh.xds import resource as xds_resource
from clover.mesh.xds import ways
from clover.mesh.xds.settings import Settings

Secrets = Mapping[str, xds_resource.Resource]
NO_ORIGINS: Mapping[str, Document] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What snapshots are compiled from."""

    registry: Registry
    resources: Mapping[str, Resource]
    """By `resources.key`."""
    origins: Mapping[str, Document]
    """The documents of this change, by the same."""
    in_force: Secrets
    """The secrets that the proxies have."""
    reread: bool
    """False: files of certificates are taken to be as they were."""


class Compiler:
    """Compiles, each time for the same proxies' settings."""

    def __init__(self, *, settings: Settings, identities: Identities, files: CredentialFiles) -> None:
        self._settings = settings
        self._identities = identities
        self._files = files

    def snapshots(self, given: Input) -> tuple[dict[str, Snapshot], tuple[Problem, ...]]:
        """Return what every proxy is told, and warnings. Raises DocumentError or MeshError with what is wrong."""
        everything = tuple(given.resources.values())
        problems = tuple(validate.check(given.registry, everything, origins=given.origins))
        if errors := errors_only(problems):
            raise DocumentError(*errors)
        proxies = translate.proxies_from(given.registry, everything)
        snapshots = {
            proxy.node: snapshot.snapshot_from(proxy, self._settings, secrets=self._identities.secrets(proxy))
            for proxy in proxies
        }
        held, faults = self._certificates(snapshot.missing_secrets(snapshots.values()), given)
        if errors := errors_only(faults):
            raise DocumentError(*errors)
        snapshots = {node: snapshot.with_secrets(one, held) for node, one in snapshots.items()}
        if wrong := tuple(ways.check(proxies, self._settings)):
            raise DocumentError(*wrong)
        broken = [problem for one in snapshots.values() for problem in snapshot.check(one)]
        if broken:
            raise MeshError(*broken)
        memory.forget_unused()
        places = {name: str(document.mark(("metadata", "name"))) for name, document in given.origins.items()}
        return snapshots, (*problems, *faults, *reach.check(proxies, places))

    def _certificates(
        self, needed: Mapping[str, Iterable[str]], given: Input
    ) -> tuple[tuple[xds_resource.Resource, ...], tuple[Problem, ...]]:
        """Return the secrets from files; one that is broken now keeps serving, unless this very change names it."""
        if not given.reread:
            return self._files.secrets(needed, given.origins, known=given.in_force)
        named = {name: tuple(_who_name(name, sources, given.resources)) or sources for name, sources in needed.items()}
        kept = {
            name: given.in_force[name]
            for name, sources in named.items()
            if name in given.in_force and given.origins.keys().isdisjoint(sources)
        }
        return self._files.secrets(named, given.origins, kept=kept)


def _who_name(secret: str, sources: Iterable[str], resources: Mapping[str, Resource]) -> Iterator[str]:
    """Yield those of the resources that say which files a secret is in; the others only stand beside them."""
    words = credentials.words_of(secret)
    for source in sources:
        if source in resources and any(text in words for text in _texts(resources[source].spec.model_dump())):
            yield source


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)
