"""
Conversations between a proxy and the control plane, written as they would be overheard.

    >> clusters                        the proxy asks for all clusters
    << clusters a, b                   it is sent two
    >> endpoints +a -b                 it asks for endpoints of a, and for those of b no more
    >> clusters ok                     it accepts what it was last sent of that type
    >> clusters no: b: bad port        it refuses it (`first no:`, the one before that)
    >> clusters has a, b               it comes back and says what it has
    << clusters -c                     it is told that c is gone
    << clusters nothing                it is told that there is nothing
    == one                             from here on it should have the snapshot `one`
    .. silence                         it says nothing for longer than we wait

After each `>>`, `==` and `..` come exactly the `<<` lines that it causes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from clover.mesh import ads
from clover.mesh.snapshot import Snapshot
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resource

TYPES = {"secrets": SECRET, "clusters": CLUSTER, "endpoints": ENDPOINTS, "listeners": LISTENER, "routes": ROUTES}
_WORDS = {type_url: word for word, type_url in TYPES.items()}


def snapshot(*words: str) -> Snapshot:
    """
    Write a snapshot as words: `clusters/a` has version 1, `clusters/a@2` version 2, `routes/r>a,b` leads to a and b.

    Clusters need their endpoints, which are there at version 1 unless they are written too.
    """
    resources: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES.values()}
    for word in words:
        match = re.fullmatch(r"(\w+)/([^@>]+)(?:@(\w+))?(?:>(.*))?", word)
        assert match is not None, word
        kind, name, version, targets = match.groups()
        add(resources, TYPES[kind], name, version or "1", (targets or "").split(",") if targets else ())
        if kind == "clusters":
            resources[ENDPOINTS].setdefault(name, _resource(ENDPOINTS, name, "1", ()))
    return Snapshot(node="proxy", resources=resources)


def add(resources, type_url: str, name: str, version: str, targets) -> None:
    requires = {
        CLUSTER: [(ENDPOINTS, name)],
        LISTENER: [(ROUTES, target) for target in targets],
        ROUTES: [(CLUSTER, target) for target in targets],
        ENDPOINTS: [],
    }[type_url]
    resources[type_url][name] = _resource(type_url, name, version, tuple(requires))


def _resource(type_url: str, name: str, version: str, requires) -> Resource:
    return Resource(
        name=name,
        type_url=type_url,
        version=version,
        body=version.encode(),
        requires=requires,
        sources=(f"VirtualService/default/{name}",) if type_url == ROUTES else (),
    )


def play(text: str, *, start: Snapshot, **snapshots: Snapshot) -> ads.Stream:
    """Play a conversation; fail at the first line that does not happen. Returns the stream as it was left."""
    stream = ads.Stream(start)
    nonces: dict[str, str] = {}
    said: list[str] = []
    for line in _lines(text):
        if line.startswith("<<"):
            assert said, f"expected {line!r}, but nothing more was sent"
            assert said.pop(0) == line
            continue
        assert not said, f"before {line!r} these were sent too: {said}"
        said = [_heard(response, nonces) for response in _do(stream, line, nonces, snapshots)]
    assert not said, f"at the end these were sent too: {said}"
    return stream


BEFORE = snapshot("clusters/a", "listeners/l>r", "routes/r>a")
KNOWS_BEFORE = """
    >> clusters has a
    << clusters nothing
    >> clusters ok
    >> endpoints +a has a
    >> listeners has l
    << listeners nothing
    >> listeners ok
    >> routes +r has r
"""


def changed(text: str, **snapshots):
    """Play on from a proxy that has `BEFORE`."""
    return play(KNOWS_BEFORE + text, start=BEFORE, **snapshots)


def _lines(text: str) -> Iterator[str]:
    for line in text.strip().splitlines():
        words = line.split("#")[0].strip()
        if words:
            yield re.sub(r"\s+", " ", words)


def _do(stream: ads.Stream, line: str, nonces: Mapping[str, str], snapshots: Mapping[str, Snapshot]):
    mark, _, words = line.partition(" ")
    if mark == "==":
        return stream.update(snapshots[words])
    if mark == "..":
        assert stream.waiting, "nothing is waited for"
        return stream.release()
    assert mark == ">>", line
    return stream.receive(_request(words, nonces))


def _request(words: str, nonces: Mapping[str, str]) -> ads.Request:
    kind, _, rest = words.partition(" ")
    type_url = TYPES[kind]
    if "no:" in rest:
        which, _, error = rest.partition("no:")
        return ads.Request(type_url=type_url, nonce=nonces[f"{kind} {which}".strip()], error=error.strip())
    has: dict[str, str] = {}
    if " has " in f" {rest}":
        rest, _, held = f" {rest}".partition(" has ")
        for item in held.split(","):
            name, _, version = item.strip().partition("@")
            has[name] = version or "1"
    parts = rest.split()
    return ads.Request(
        type_url=type_url,
        subscribe=tuple(part[1:] for part in parts if part.startswith("+")),
        unsubscribe=tuple(part[1:] for part in parts if part.startswith("-")),
        has=has,
        nonce=nonces[kind] if "ok" in parts else "old" if "late" in parts else "",
    )


def _heard(response: ads.Response, nonces: dict[str, str]) -> str:
    kind = _WORDS[response.type_url]
    nonces[f"{kind} first"], nonces[kind] = nonces.get(kind, ""), response.nonce
    names = [one.name if one.version == "1" else f"{one.name}@{one.version}" for one in response.resources]
    names += [f"-{name}" for name in response.removed]
    return f"<< {kind} {', '.join(names) or 'nothing'}"
