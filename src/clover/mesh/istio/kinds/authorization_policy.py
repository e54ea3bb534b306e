"""Istio's AuthorizationPolicy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.part import NonEmpty, Part, SecurityResource, Targeted

DRY_RUN = "istio.io/dry-run"
"""The annotation of a policy that is tried, not carried out."""
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_KEYS = frozenset(
    {
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.serviceAccount",
        "source.trustDomain",
        "source.principal",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    }
)
_BRACKETED = re.compile(
    r"request\.headers\[(?P<header>[^\[\]]+)\]"
    r"|request\.auth\.claims(?P<claims>(?:\[[^\[\]]+\])+)"
    r"|experimental\.(?P<filter>envoy\.filters\.[^\[\]]+)\[(?P<key>[^\[\]]+)\]"
)
_SEGMENT = re.compile(r"[a-zA-Z0-9-._~%!$&'()+,;:@=]+")
_TEMPLATES = ("{*}", "{**}")
_MANY = 16
"""Istio's limit of service accounts in one source."""


def _refused(text: str) -> PydanticCustomError:
    return PydanticCustomError("authorization", "{what}", {"what": text})


def _network(text: str) -> str:
    try:
        # What stands behind a '%' is the name of an interface, which Envoy does not read.
        ipaddress.ip_network(text.replace("%", "?"), strict=False)
    except ValueError:
        raise _refused(f"{text[:80]!r} is neither an address nor a network, as '10.0.0.1' or '10.0.0.0/16'") from None
    return text


def _port(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise _refused(f"{text[:80]!r} is not a port: expected a number up to 65535, as text")
    return text


def _account(text: str) -> str:
    parts = text.split("/")
    if "*" in text or len(parts) > 2 or not all(parts):
        raise _refused(f"{text[:80]!r} is not a service account: expected 'name' or 'namespace/name', without '*'")
    return text


def _trust_domain(text: str) -> str:
    if "/" in text or text.count("*") > 1 or "*" in text[1:-1]:
        raise _refused(f"{text[:80]!r} is not a trust domain: expected a name with at most one '*', at an end of it")
    return text


def is_template(path: str) -> bool:
    """Tell whether a path has `{*}` or `{**}` in it."""
    return any(template in path for template in _TEMPLATES)


def _path(text: str) -> str:
    """
    Check what Istio checks: braces only as templates, one `{**}` and nothing variable after it.

    And what it does not: of a template that does not begin with `/`, Envoy dies.
    """
    if is_template(text) and not text.startswith("/"):
        raise _refused(f"{text[:80]!r} is a template that does not begin with '/'")
    segments = text.strip("/").split("/")
    for index, segment in enumerate(segments):
        if segment in _TEMPLATES:
            if "{**}" in segments[:index]:
                raise _refused(f"{text[:80]!r} has {segment!r} after '{{**}}', which must be the last of a template")
        elif re.search(r"[{}]", segment):
            raise _refused(f"{text[:80]!r} has a brace that is not a whole segment '{{*}}' or '{{**}}'")
        elif is_template(text) and not _SEGMENT.fullmatch(segment):
            raise _refused(f"{text[:80]!r} has the segment {segment[:80]!r}, which cannot stand in a template")
    return text


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "source.ip": _network,
    "remote.ip": _network,
    "destination.ip": _network,
    "destination.port": _port,
    "source.serviceAccount": _account,
    "source.trustDomain": _trust_domain,
}
"""By key of a condition, what its values must be."""

Network = Annotated[str, AfterValidator(_network)]
PortText = Annotated[str, AfterValidator(_port)]
Account = Annotated[str, Field(max_length=320), AfterValidator(_account)]
TrustDomain = Annotated[NonEmpty, AfterValidator(_trust_domain)]
Path = Annotated[NonEmpty, AfterValidator(_path)]


class Source(Part):
    """Who calls; everything that is set must hold."""

    principals: tuple[NonEmpty, ...] = ()
    not_principals: tuple[NonEmpty, ...] = ()
    request_principals: tuple[NonEmpty, ...] = ()
    not_request_principals: tuple[NonEmpty, ...] = ()
    namespaces: tuple[NonEmpty, ...] = ()
    not_namespaces: tuple[NonEmpty, ...] = ()
    service_accounts: tuple[Account, ...] = Field(default=(), max_length=_MANY)
    not_service_accounts: tuple[Account, ...] = Field(default=(), max_length=_MANY)
    trust_domains: tuple[TrustDomain, ...] = ()
    not_trust_domains: tuple[TrustDomain, ...] = ()
    ip_blocks: tuple[Network, ...] = ()
    not_ip_blocks: tuple[Network, ...] = ()
    remote_ip_blocks: tuple[Network, ...] = ()
    not_remote_ip_blocks: tuple[Network, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise _refused("it is empty; leave 'from' out to take everybody")
        if (self.service_accounts or self.not_service_accounts) and (
            self.principals or self.not_principals or self.namespaces or self.not_namespaces
        ):
            raise _refused("service accounts say what principals and namespaces say; use one of them")
        return self


class From(Part):
    """One of the sources of a rule."""

    source: Source


class Operation(Part):
    """What is called; everything that is set must hold."""

    hosts: tuple[NonEmpty, ...] = ()
    not_hosts: tuple[NonEmpty, ...] = ()
    ports: tuple[PortText, ...] = ()
    not_ports: tuple[PortText, ...] = ()
    methods: tuple[NonEmpty, ...] = ()
    not_methods: tuple[NonEmpty, ...] = ()
    paths: tuple[Path, ...] = ()
    not_paths: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise _refused("it is empty; leave 'to' out to take everything")
        return self


class To(Part):
    """One of the operations of a rule."""

    operation: Operation


class Condition(Part):
    """A further condition of a rule: a value of the request or connection is one of `values`, none of `notValues`."""

    key: NonEmpty
    values: tuple[NonEmpty, ...] = ()
    not_values: tuple[NonEmpty, ...] = ()

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.key not in _KEYS and not _BRACKETED.fullmatch(self.key):
            known = ", ".join(sorted(_KEYS))
            raise _refused(
                f"the key {self.key[:80]!r} is unknown; expected one of {known}, request.headers[NAME], "
                "request.auth.claims[NAME], experimental.envoy.filters.FILTER[KEY]"
            )
        if not self.values and not self.not_values:
            raise _refused("neither 'values' nor 'notValues' is set")
        check = _CHECKS.get(self.key)
        for value in (*self.values, *self.not_values):
            if check is not None:
                check(value)
        return self

    @property
    def header(self) -> str:
        """The header that is asked about; '': none."""
        return self._named("header")

    @property
    def claim(self) -> tuple[str, ...]:
        """The claim that is asked about, with those it is nested in; empty: none."""
        return tuple(re.findall(r"\[([^\[\]]+)\]", self._named("claims")))

    @property
    def metadata(self) -> tuple[str, str]:
        """The filter whose notes are asked for, and the name of the note."""
        return self._named("filter"), self._named("key")

    def _named(self, group: str) -> str:
        found = _BRACKETED.fullmatch(self.key)
        return (found[group] or "") if found else ""


class Rule(Part):
    """What a policy matches: one of `from` and one of `to` and all of `when`; what is not set always holds."""

    from_: tuple[From, ...] = Field(default=(), alias="from", min_length=1, max_length=512)
    to: tuple[To, ...] = Field(default=(), min_length=1)
    when: tuple[Condition, ...] = ()


class Provider(Part):
    """The authorizer that a CUSTOM policy asks: one of the mesh's extension providers."""

    name: NonEmpty


class AuthorizationPolicySpec(Targeted):
    """Who may call a workload."""

    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    rules: tuple[Rule, ...] = Field(default=(), max_length=512)
    """Without rules nothing matches: an ALLOW policy then allows nothing."""
    provider: Provider | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.action in ("DENY", "CUSTOM") and not self.rules:
            raise _refused(f"a {self.action} policy without 'rules' does nothing; the rule '{{}}' matches everything")
        if (self.action == "CUSTOM") != (self.provider is not None):
            raise _refused("'provider' and the action 'CUSTOM' need each other")
        if self.action == "CUSTOM" and (found := next(self._asks_who(), "")):
            raise _refused(
                f"{found!r} cannot be asked in a CUSTOM policy, which comes before tokens are read; the authorizer is "
                "told who calls"
            )
        return self

    def _asks_who(self) -> Iterator[str]:
        for rule in self.rules:
            for one in rule.from_:
                for name, field in Source.model_fields.items():
                    if getattr(one.source, name) and "ip_blocks" not in name:
                        yield field.alias or name
            for condition in rule.when:
                if condition.key.startswith(("request.auth.", "source.")) and condition.key != "source.ip":
                    yield condition.key


class AuthorizationPolicy(SecurityResource):
    """Istio's AuthorizationPolicy."""

    kind: Literal["AuthorizationPolicy"] = "AuthorizationPolicy"
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec.model_construct()

    @property
    def dry_run(self) -> bool:
        """True: what the policy would do is noted, and not done."""
        return self.metadata.annotations.get(DRY_RUN, "") in TRUE
