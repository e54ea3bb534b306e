"""
One proxy's configuration stream (delta xDS over one aggregated stream), as a machine without sockets or clocks.

`Stream` is told what the proxy says (`receive`) and what it should have (`update`), and returns what to send:

- Only what the proxy does not have is sent; after a reconnect the proxy says what it has.
- What is referred to goes first, and is acknowledged before what refers to it: clusters, their endpoints, listeners,
  route tables. Clusters are taken away last, when no route leads to them any more. So no request meets a gap.
- One response per type is on the way at a time.
- What the proxy refuses (a NACK) is kept as a problem and not sent again until it changes. What the proxy had before
  keeps serving, together with all that it needs.

See docs/concepts/mesh.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clover.errors import Problem
from clover.mesh.snapshot import Snapshot
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, NOUNS, ROUTES, SECRET, TYPES, Resource

_WILDCARD_TYPES = (CLUSTER, LISTENER)
_DEPENDENTS = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}
_REFERRERS = {dependent: referrer for referrer, dependent in _DEPENDENTS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a proxy says about one type: what it wants, what it has, and what it thinks of our last response."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    has: Mapping[str, str] = field(default_factory=dict)
    """Name → version, after a reconnect."""
    nonce: str = ""
    """Of the response that this answers; '': it answers none."""
    error: str = ""
    """Why that response was refused; '': it was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What we say about one type."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A resource that the proxy refused."""

    resource: Resource
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """How far a proxy is with one type."""

    sent: int
    """Resources sent on this stream so far."""
    accepted: Mapping[str, str]
    """Name → version that the proxy has."""
    rejected: Mapping[str, Rejection]
    """Name → what the proxy refused, as long as it is still wanted."""


@dataclass(slots=True)
class _Type:
    """What we know of the proxy's view of one type."""

    opened: bool = False
    """The proxy has asked for this type."""
    wildcard: bool = False
    subscribed: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    """Name → version that the proxy has accepted."""
    rejected: dict[str, Rejection] = field(default_factory=dict)
    outstanding: Response | None = None
    owed: set[str] = field(default_factory=set)
    """Names to send even if the proxy has that version."""
    untold: set[str] = field(default_factory=set)
    """Names that were asked for and of which nothing has been said yet."""
    suspects: set[str] = field(default_factory=set)
    """Names out of a response that was refused without saying which; they go one by one."""
    withdrawn: set[str] = field(default_factory=set)
    """Names out of the outstanding response that were taken back because no answer came."""
    unanswered: bool = False
    """The proxy waits for a first answer, even an empty one."""
    sent: int = 0

    # What follows from all this and the snapshot. `Stream._review` keeps it, so that who has no news costs nothing.
    missing: set[str] = field(default_factory=set)
    """Names that the proxy wants and does not have, or not in the version that it should have."""
    surplus: set[str] = field(default_factory=set)
    """Names that the proxy has and should not have."""
    current: set[str] = field(default_factory=set)
    """Names whose right version the proxy has, as long as it may not have asked for what they refer to."""


class Stream:
    """The state of one configuration stream."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._types = {type_url: _Type() for type_url in TYPES}
        self._nonce = 0
        self._released = False

    def update(self, snapshot: Snapshot) -> list[Response]:
        """Take a new snapshot; return what can be sent now."""
        before, self.snapshot = self.snapshot, snapshot
        self._released = False
        for type_url, state in self._types.items():
            old, wanted = before.resources[type_url], snapshot.resources[type_url]
            if old is not wanted:
                self._review(type_url, [name for name in {**old, **wanted} if old.get(name) is not wanted.get(name)])
            for name, rejection in list(state.rejected.items()):
                if name not in wanted or wanted[name].version != rejection.resource.version:
                    del state.rejected[name]
            state.suspects &= wanted.keys()
        return self._pump()

    def receive(self, request: Request) -> list[Response]:
        """Take what the proxy says; return what can be sent now."""
        if request.type_url not in self._types:
            # Extensions, scoped routes ...: nothing here refers to them. An empty answer lets the proxy go on.
            return [] if request.nonce else [Response(type_url=request.type_url, nonce=self._next_nonce())]
        state = self._types[request.type_url]
        first = not state.opened
        if first:
            state.opened = True
            state.known = dict(request.has)
            if request.type_url in _WILDCARD_TYPES and not request.subscribe:
                state.wildcard = True
            state.unanswered = request.type_url in _WILDCARD_TYPES
            self._review(request.type_url, self.snapshot.resources[request.type_url].keys() | state.known.keys())
        if request.nonce and state.outstanding is not None and request.nonce == state.outstanding.nonce:
            self._answered(state, state.outstanding, request.error)
        for name in request.unsubscribe:
            if name == "*":
                state.wildcard = False
                self._review(request.type_url, tuple(state.missing))
                continue
            self._unsubscribe(state, name)
        for name in request.subscribe:
            if name == "*":
                state.wildcard = True
                self._review(request.type_url, self.snapshot.resources[request.type_url])
                continue
            state.subscribed.add(name)
            if first and name in state.known:
                continue
            state.untold.add(name)
            if not first:
                # Asking again means "I lost it": the version alone must not keep it back.
                state.owed.add(name)
        self._review(request.type_url, (*request.subscribe, *request.unsubscribe))
        if request.unsubscribe and request.type_url in _REFERRERS:
            # Whoever refers to these may want them again.
            self._review(_REFERRERS[request.type_url], self._types[_REFERRERS[request.type_url]].known)
        return self._pump()

    def release(self) -> list[Response]:
        """Stop waiting: send what is kept back, and take back new clusters that the proxy is silent about."""
        self._released = True
        return [*self._withdraw(), *self._pump()]

    @property
    def waiting(self) -> bool:
        """Whether the proxy should say something soon; if it does not, `release` goes on without it."""
        return self._lacks_questions() or self._is_silent_about_clusters()

    @property
    def settled(self) -> bool:
        """Whether the proxy has accepted or refused everything of the snapshot."""
        if not all(self._types[type_url].opened for type_url in _WILDCARD_TYPES):
            return False
        if self._lacks_questions():
            return False
        return all(
            state.outstanding is None
            and not self._additions(type_url)
            and not (type_url in _WILDCARD_TYPES and self._removals(type_url) and not self._refused())
            for type_url, state in self._types.items()
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the proxy refused, in its author's words."""
        return tuple(
            _problem(self.snapshot.node, rejection)
            for type_url in TYPES
            for _, rejection in sorted(self._types[type_url].rejected.items())
        )

    @property
    def status(self) -> Mapping[str, TypeStatus]:
        """Type URL → how far the proxy is."""
        return {
            type_url: TypeStatus(sent=state.sent, accepted=dict(state.known), rejected=dict(state.rejected))
            for type_url, state in self._types.items()
        }

    def _answered(self, state: _Type, response: Response, error: str) -> None:
        """Take note of what the proxy did with `response`."""
        state.outstanding = None
        names = [resource.name for resource in response.resources]
        if not error:
            refused: set[str] = set()
        elif len(names) == 1:
            refused = set(names)
        else:
            refused = {name for name in names if _names(error, name)}
            if not refused:
                state.suspects.update(names)
                return
        for resource in response.resources:
            state.suspects.discard(resource.name)
            if resource.name in refused:
                # What has been replaced meanwhile is no longer of interest; the new version may well be right.
                if self.snapshot.resources[response.type_url].get(resource.name) == resource:
                    state.rejected[resource.name] = Rejection(resource=resource, error=error)
            elif resource.name not in state.withdrawn:
                state.known[resource.name] = resource.version
        state.withdrawn.clear()
        for name in response.removed:
            state.known.pop(name, None)
        self._review(response.type_url, (*names, *response.removed))

    def _unsubscribe(self, state: _Type, name: str) -> None:
        for names in (state.subscribed, state.owed, state.untold, state.suspects):
            names.discard(name)
        state.rejected.pop(name, None)
        state.known.pop(name, None)
        if state.outstanding is not None:
            # The proxy may have thrown it away before it acknowledged it.
            kept = tuple(resource for resource in state.outstanding.resources if resource.name != name)
            state.outstanding = Response(
                type_url=state.outstanding.type_url,
                nonce=state.outstanding.nonce,
                resources=kept,
                removed=state.outstanding.removed,
            )

    def _pump(self) -> list[Response]:
        """Return all that the rules allow to be sent now."""
        return [response for type_url in TYPES if (response := self._next(type_url)) is not None]

    def _is_due(self, type_url: str, *, new: bool) -> bool:
        """
        Tell whether all that must come before resources of a type has been accepted or refused.

        Secrets, clusters and endpoints wait for nothing: Envoy acknowledges a new cluster when it has the others. A
        table that is new to the proxy is wanted by a listener that waits for it.
        """
        if type_url in (SECRET, CLUSTER, ENDPOINTS):
            return True
        earlier = [CLUSTER, ENDPOINTS]
        if type_url == ROUTES and not new:
            earlier.append(LISTENER)
        if any(self._types[other].outstanding or self._additions(other) for other in earlier):
            return False
        return self._released or not self._unasked(CLUSTER)

    def _lacks_questions(self) -> bool:
        """Tell whether the proxy has yet to ask for what its clusters or listeners refer to."""
        return not self._released and any(self._unasked(type_url) for type_url in _DEPENDENTS)

    def _is_silent_about_clusters(self) -> bool:
        """Tell whether a proxy that serves already owes us its opinion about new clusters."""
        state = self._types[CLUSTER]
        return bool(state.outstanding and self._types[LISTENER].known and not state.withdrawn and self._untried())

    def _untried(self) -> set[str]:
        """Return the clusters that are on the way and that the proxy never had."""
        state = self._types[CLUSTER]
        sent = state.outstanding.resources if state.outstanding is not None else ()
        return {resource.name for resource in sent} - state.known.keys()

    def _withdraw(self) -> list[Response]:
        """
        Take back the new clusters that the proxy does not answer about.

        When Envoy refuses one new cluster while another one warms up, the refused one stays among the warming for ever,
        and until none is warming Envoy says nothing about clusters: neither yes nor no (seen with 1.40). Taking the new
        ones back frees it: it names the one it refuses, and the others are sent again.
        """
        if not self._is_silent_about_clusters():
            return []
        state = self._types[CLUSTER]
        state.withdrawn = self._untried()
        return [Response(type_url=CLUSTER, nonce=self._next_nonce(), removed=tuple(sorted(state.withdrawn)))]

    def _unasked(self, type_url: str) -> bool:
        """Tell whether the proxy has accepted a cluster (a listener) without asking for its endpoints (routes) yet."""
        state, wanted, dependent = self._types[type_url], self.snapshot.resources[type_url], _DEPENDENTS[type_url]
        asked = self._types[dependent].subscribed
        state.current = {
            name
            for name in state.current
            if any(other == dependent and needed not in asked for other, needed in wanted[name].requires)
        }
        return bool(state.current)

    def _review(self, type_url: str, names: Iterable[str]) -> None:
        """Say again of some names whether the proxy has what it should have."""
        state, wanted = self._types[type_url], self.snapshot.resources[type_url]
        names = set(names)
        for kept in (state.missing, state.surplus, state.current):
            kept -= names
        for name in names:
            if name not in wanted:
                if name in state.known:
                    state.surplus.add(name)
            elif state.known.get(name) == wanted[name].version:
                state.current.add(name)
                if name in state.owed:
                    state.missing.add(name)
            elif state.wildcard or name in state.subscribed:
                state.missing.add(name)

    def _next(self, type_url: str) -> Response | None:
        """Return the next response of a type, if one is due and none is on the way."""
        state = self._types[type_url]
        if not state.opened or state.outstanding is not None:
            return None
        missing = self._additions(type_url)
        due = {new: bool(missing) and self._is_due(type_url, new=new) for new in (True, False)}
        additions = [resource for resource in missing if due[resource.name not in state.known]]
        if state.suspects:
            suspects = [resource for resource in additions if resource.name in state.suspects]
            additions = suspects[:1] or additions
        removals = self._removals(type_url) if self._may_remove(type_url) else []
        empty_is_true = state.unanswered and not missing
        if not additions and not removals and not empty_is_true:
            return None
        response = Response(
            type_url=type_url,
            nonce=self._next_nonce(),
            resources=tuple(additions),
            removed=tuple(removals),
        )
        state.outstanding = response
        state.unanswered = False
        state.sent += len(additions)
        if type_url == CLUSTER:
            # A changed cluster warms up anew and waits for its endpoints, but the proxy does not ask for them again.
            endpoints = self._types[ENDPOINTS]
            again = endpoints.subscribed & {resource.name for resource in additions}
            endpoints.owed.update(again)
            self._review(ENDPOINTS, again)
        told = (*(resource.name for resource in additions), *removals)
        state.owed.difference_update(told)
        state.untold.difference_update(told)
        self._review(type_url, told)
        return response

    def _additions(self, type_url: str) -> list[Resource]:
        """Return what the proxy should have, does not have, and did not refuse."""
        state, wanted = self._types[type_url], self.snapshot.resources[type_url]
        flying = (
            {resource.name: resource.version for resource in state.outstanding.resources} if state.outstanding else {}
        )
        return [
            wanted[name]
            for name in sorted(state.missing)
            if flying.get(name) != wanted[name].version and name not in state.rejected and not self._held(wanted[name])
        ]

    def _removals(self, type_url: str) -> list[str]:
        """
        Return what the proxy has and should not have, or asked for in vain.

        Endpoints and route tables go with their cluster or listener: the proxy lets go of them by itself.
        """
        state, wanted = self._types[type_url], self.snapshot.resources[type_url]
        if type_url in _WILDCARD_TYPES:
            return sorted(state.surplus)
        return sorted(state.untold - wanted.keys())

    def _may_remove(self, type_url: str) -> bool:
        """Clusters go last, when nothing that the proxy uses can lead to them."""
        if type_url != CLUSTER:
            return True
        if not self._types[LISTENER].opened or self._removals(LISTENER) or self._refused():
            return False
        if not self._released and self._unasked(LISTENER):
            # It has just come back, and has not said yet which tables it uses.
            return False
        return all(
            self._types[other].outstanding is None and not self._additions(other) for other in (LISTENER, ROUTES)
        )

    def _refused(self) -> bool:
        """Tell whether the proxy still uses a listener or table that we wanted to replace."""
        return any(self._types[type_url].rejected for type_url in (LISTENER, ROUTES))

    def _held(self, resource: Resource) -> bool:
        """
        Tell whether the proxy is better off with the version it has.

        True when the new version leads to a cluster that the proxy has refused and never had.
        """
        if resource.name not in self._types[resource.type_url].known:
            return False
        clusters = self._types[CLUSTER]
        return any(
            type_url == CLUSTER and name in clusters.rejected and name not in clusters.known
            for type_url, name in resource.requires
        )

    def _next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)


def _names(error: str, name: str) -> bool:
    """Tell whether Envoy's message is about `name`: it lists what it refused as `name: reason`."""
    return re.search(rf"(?:^|[\s,'\"(]){re.escape(name)}['\"]?:", error) is not None


def _problem(node: str, rejection: Rejection) -> Problem:
    resource = rejection.resource
    return Problem(
        code="CLV4401",
        where=", ".join(resource.sources) or f"proxy {node}",
        what=f"proxy {node!r} refused {NOUNS[resource.type_url]} {resource.name!r}: {rejection.error.strip()}",
        hint="the last good version keeps serving; change what Envoy complains about and apply again",
    )
