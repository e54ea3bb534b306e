"""Who may call a workload: authorization in the intermediate form, below `ir`, which carries it.

A rule holds when one of its `operations` and one of its `sources` holds; each of these holds when all its conditions
do. So a rule without alternatives never holds, and an alternative without conditions always does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network


class Action(StrEnum):
    """What becomes of what a policy matches; asked in this order."""

    CUSTOM = "CUSTOM"
    """An authorizer decides."""
    AUDIT = "AUDIT"
    """It is noted."""
    DENY = "DENY"
    ALLOW = "ALLOW"
    """It passes; and what none of a workload's ALLOW policies matches does not."""


class TextKind(StrEnum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"
    """RE2, and the whole text must match."""
    PRESENT = "present"
    TEMPLATE = "template"
    """Of a path: `*` is one segment, `**` any number of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A test of one text."""

    kind: TextKind
    value: str = ""
    ignore_case: bool = False


class Place(StrEnum):
    """Whose address is meant."""

    PEER = "peer"
    """Whoever made the connection."""
    CLIENT = "client"
    """The client for whom it speaks, as `x-forwarded-for` or a PROXY protocol header says."""
    HERE = "here"
    """The address that was dialled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The SPIFFE id that the peer's certificate proves is one of these."""

    ids: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address is in one of these networks."""

    place: Place
    networks: tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The port that was dialled is one of these."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerName:
    """The name that the client asked for in its TLS greeting is one of these."""

    names: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What another filter noted about the connection or request is one of these."""

    filter: str
    key: str
    values: tuple[tuple[Text, bool], ...]
    """With True: what was noted is a list, and has such an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of the request is one of these; `:method` and `:authority` are headers, too."""

    name: str
    values: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The path of the request, without its query, is one of these."""

    paths: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A valid token's issuer and subject are one of these pairs."""

    principals: tuple[tuple[Text, Text], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of a valid token is one of these, or is a list that has one of them."""

    path: tuple[str, ...]
    values: tuple[Text, ...]


Test = Caller | Address | Port | ServerName | Metadata | Header | Path | Token | Claim
_HTTP_ONLY = (Header, Path, Token, Claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A test that must hold, or must not."""

    test: Test
    negated: bool = False


Alternatives = tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a policy matches."""

    name: str
    """Istio's: `ns[default]-policy[x]-rule[0]`; it is what a denied request's record says."""
    operations: Alternatives = ()
    """What is called: its port, address, host, method and path."""
    sources: Alternatives = ()
    """Who calls: its identity, addresses, headers and token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One authorization policy."""

    action: Action
    rules: tuple[Rule, ...]
    dry_run: bool = False
    """True: what it would do is noted, and not done."""
    authorizer: str = ""
    """For `CUSTOM`: who decides."""
    ports: frozenset[int] = frozenset()
    """Of a sidecar, the ports that it is for; empty: all."""
    gateways: frozenset[str] = frozenset()
    """Of a gateway, the resources whose ports it is for; empty: all."""
    source: str = ""
    """The author's resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """How much of a request's body an authorizer is shown."""

    max_bytes: int
    partial: bool = False
    """True: a longer body is cut; False: it is refused."""
    as_bytes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """How an authorizer is asked over HTTP; it says yes with 200."""

    path_prefix: str = ""
    request_headers: tuple[Text, ...] = ()
    """Headers of the request that it is shown, beside those that it always is."""
    added_headers: tuple[tuple[str, str], ...] = ()
    to_upstream: tuple[Text, ...] = ()
    """Headers of a yes that the request takes along."""
    to_client_on_deny: tuple[Text, ...] = ()
    to_client_on_allow: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizer:
    """A service that is asked whether a request may pass."""

    name: str
    cluster: str
    host: str
    http: HttpCheck | None = None
    """None: it speaks Envoy's gRPC protocol, and can be asked about TCP connections, too."""
    timeout_s: float = 600.0
    fail_open: bool = False
    """True: requests pass when it does not answer."""
    status_on_error: int | None = None
    clear_route_cache: bool = False
    body: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All authorization policies of one workload."""

    policies: tuple[Policy, ...] = ()
    authorizers: tuple[Authorizer, ...] = ()
    """Those that are there; what a policy asks of any other is denied."""

    def of(self, action: Action, *, dry_run: bool = False) -> tuple[Policy, ...]:
        """Return the policies with an action that are carried out, or only tried."""
        return tuple(policy for policy in self.policies if policy.action is action and policy.dry_run is dry_run)

    def at_port(self, port: int) -> Access:
        """Return what holds at one port of a sidecar."""
        return self._with(policy for policy in self.policies if not policy.ports or port in policy.ports)

    def elsewhere(self, known: Collection[int]) -> Access:
        """
        Return what holds at all other ports of a sidecar.

        A policy for a port that is none of the `known` ones, since a Sidecar leaves it out, holds at all others.
        """
        return self._with(policy for policy in self.policies if not policy.ports or not policy.ports <= set(known))

    def at_gateway(self, resources: Iterable[str]) -> Access:
        """Return what holds at a port of a gateway that `resources` opened."""
        opened = frozenset(resources)
        return self._with(policy for policy in self.policies if not policy.gateways or policy.gateways & opened)

    def _with(self, policies: Iterable[Policy]) -> Access:
        return replace(self, policies=tuple(policies))

    @property
    def sources(self) -> tuple[str, ...]:
        """The author's resources that it came from."""
        return tuple(policy.source for policy in self.policies)


OPEN = Access()
"""No policy: everybody may call."""


def on_tcp(rule: Rule, action: Action) -> Rule | None:
    """
    Return what a rule says about a connection that is not HTTP, or None for nothing.

    As on Istio, a policy errs on the safe side: an ALLOW rule that asks for something of HTTP allows no connection,
    while any other forgets that question and so matches more.
    """
    alternatives = (*rule.operations, *rule.sources)
    if action is Action.ALLOW and any(_is_http(condition) for one in alternatives for condition in one):
        return None
    return replace(
        rule,
        operations=tuple(tuple(item for item in one if not _is_http(item)) for one in rule.operations),
        sources=tuple(tuple(item for item in one if not _is_http(item)) for one in rule.sources),
    )


def _is_http(condition: Condition) -> bool:
    return isinstance(condition.test, _HTTP_ONLY)
