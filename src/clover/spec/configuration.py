"""What a function is told to do: one typed configuration for each function type.

The same models check the `config:` of a chain file and every change that an ambassador is asked for, so a value is
legal in both places or in neither. Field names are those of the protobuf messages (`clover.control.v1`) in camelCase.
A configuration is a value: frozen, comparable, and complete once `completed` has filled in what follows from the chain.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MOST_BACKENDS = 64
MOST_RULES = 2000
MOST_SITES = 64
_DURATION = re.compile(r"(?:\d{1,6}(?:\.\d{1,6})?(?:ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"([\d.]+)(ms|s|m|h)", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HOST = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)


def seconds_of(text: object) -> object:
    """Return the seconds that `1m30s` means; what is no text stays as it is, to be judged by its type."""
    if not isinstance(text, str):
        return text
    if _DURATION.fullmatch(text) is None:
        raise PydanticCustomError("duration", "expected a duration such as '30s', '1m30s' or '500ms'")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise PydanticCustomError("network", "expected an IP address or network such as '10.0.0.0/8'") from None


def _line(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("line", "expected text without line breaks and control characters")
    return text


def _host(text: str) -> str:
    if len(text) > 63 or _HOST.fullmatch(text) is None:
        raise PydanticCustomError("function_name", "expected the name of a function")
    return text


def _as_text(value_s: float) -> str:
    return f"{value_s:.6f}".rstrip("0").rstrip(".") + "s"


Seconds = Annotated[
    float,
    BeforeValidator(seconds_of),
    PlainSerializer(_as_text),
    Field(json_schema_extra={"type": ["string", "number"], "pattern": f"^{_DURATION.pattern}$"}),
]
"""A length of time, written `30s`, `1m30s` or `500ms`; a number, as here, is one of seconds."""
Line = Annotated[str, AfterValidator(_line)]
"""Text without line breaks and control characters."""
Network = Annotated[str, AfterValidator(_network)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _many(item: Any, *, most: int, least: int = 0) -> Any:
    return Annotated[tuple[item, ...], Field(strict=False, min_length=least, max_length=most)]


class Part(BaseModel):
    """Unknown fields are refused, names are camelCase, and no value is bent into another type."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True, defer_build=True
    )

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as people write it, without the fields that have their default."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class Backend(Part):
    """A function that requests are sent on to."""

    host: Host
    """Name of a function of the chain."""
    port: Port | None = None
    """The port that it is dialled on; left out: the one on which the function listens."""
    weight: Annotated[int, Field(ge=1, le=256)] = 1
    """Its share of the requests, relative to the others'."""
    state: Literal["ready", "drain", "disabled"] = "ready"
    """`drain` finishes what it has and gets nothing new; `disabled` gets nothing."""


class _Forwarding(Part):
    backends: _many(Backend, most=MOST_BACKENDS) = ()  # type: ignore[valid-type]
    """Where requests go on to; left out in a chain file: the functions of `to`."""

    @model_validator(mode="after")
    def _names_each_once(self) -> _Forwarding:
        seen = set()
        for place, backend in enumerate(self.backends):
            if (backend.host, backend.port) in seen:
                raise PydanticCustomError(
                    "twice",
                    "names {host} a second time",
                    {"host": repr(backend.host), "path": ("backends", place)},
                )
            seen.add((backend.host, backend.port))
        return self


class LoadBalancerConfiguration(_Forwarding):
    """What a load balancer is told."""

    algorithm: Literal["round-robin", "least-connections", "random", "source"] = "round-robin"
    """How the next backend is chosen; `source` keeps a client with one backend."""


class CacheConfiguration(_Forwarding):
    """What a web cache is told."""

    default_ttl: Annotated[Seconds, Field(ge=0, le=86400)] = 10.0
    """How long an answer is kept that says nothing about it."""
    grace: Annotated[Seconds, Field(ge=0, le=86400)] = 60.0
    """How long an answer that is too old is still given when no fresh one can be had."""
    max_size_mib: Annotated[int, Field(ge=8, le=65536)] = 256
    """Room for answers."""
    uncached_paths: _many(Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]{0,200}$")], most=64) = ()  # type: ignore[valid-type]
    """Paths that begin with one of these are never kept."""


class FirewallRule(Part):
    """A rule of the author's own, in front of the Core Rule Set."""

    id: Annotated[int, Field(ge=100_000, le=199_999)]
    """100000 to 199999: the range that ModSecurity reserves for local use, beyond Clover's own."""
    target: Literal["uri", "path", "query", "method", "body", "user-agent", "header", "argument", "cookie"]
    """The part of the request that is looked at."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    """Which header, argument or cookie; empty for the other targets."""
    operator: Literal["contains", "equals", "begins-with", "ends-with", "regex"] = "contains"
    """How the target is compared with the value."""
    value: Annotated[Line, Field(min_length=1, max_length=500)]
    """What it is compared with."""
    action: Literal["block", "log"] = "block"
    """What happens to a request that matches."""
    message: Annotated[Line, Field(max_length=200)] = ""
    """What the logs and the alerts say of it."""

    @model_validator(mode="after")
    def _names_what_has_a_name(self) -> FirewallRule:
        if (self.target in ("header", "argument", "cookie")) != bool(self.name):
            text = "a 'name', which only a header, an argument or a cookie has" if self.name else "no 'name'"
            raise PydanticCustomError(
                "name_of_target", "has the target {target} and {text}", {"target": repr(self.target), "text": text}
            )
        return self


class BlockPolicy(Part):
    """When alerts of the intrusion detection system make the firewall block a client."""

    threshold: Annotated[int, Field(ge=1, le=10000)] = 3
    """So many alerts about one client address ..."""
    window: Annotated[Seconds, Field(ge=1, le=86400)] = 10.0
    """... within this time block it ..."""
    duration: Annotated[Seconds, Field(ge=1, le=604800)] = 60.0
    """... for this long."""
    allow: _many(Network, most=256) = ()  # type: ignore[valid-type]
    """Clients that are never blocked."""
    dry_run: bool = False
    """True: say what would be blocked, and block nothing."""


class FirewallConfiguration(_Forwarding):
    """What a firewall is told."""

    mode: Literal["blocking", "detection-only", "off"] = "blocking"
    """`detection-only` reports what it would have refused; `off` looks at nothing."""
    paranoia_level: Annotated[int, Field(ge=1, le=4)] = 1
    """How strict the Core Rule Set is: more attacks found, and more requests refused that are none."""
    anomaly_threshold: Annotated[int, Field(ge=1, le=1000)] = 5
    """A request whose matches add up to this score is refused."""
    excluded_rules: _many(Annotated[int, Field(ge=1, le=9_999_999)], most=MOST_RULES) = ()  # type: ignore[valid-type]
    """Ids of rules that do not apply."""
    rules: _many(FirewallRule, most=200) = ()  # type: ignore[valid-type]
    """Rules of the author's own."""
    denied_networks: _many(Network, most=1000) = ()  # type: ignore[valid-type]
    """Clients that are always refused."""
    block_policy: BlockPolicy | None = None
    """None: alerts are counted, and nobody is blocked because of them."""


class Respond(Part):
    """An answer that is the same for everybody."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    """The status code."""
    body: Annotated[str, Field(max_length=16384)] = ""
    """The text that is sent."""
    content_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]+(; charset=[A-Za-z0-9-]+)?$", max_length=80)] = (
        "text/plain"
    )
    """What kind of text it is."""


class Redirect(Part):
    """An answer that sends the client elsewhere."""

    to: Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9.:-]+)?/[A-Za-z0-9._~/?&=%+-]*$", max_length=500)]
    """A path on the same host, or a URL."""
    status: Literal[301, 302, 303, 307, 308] = 302
    """The status code."""


class Location(Part):
    """What a site answers below a path, or at exactly one."""

    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]{0,200}$")]
    """The path that is asked for."""
    match: Literal["exact", "prefix"] = "exact"
    """Whether the path is all of it, or its beginning."""
    respond: Respond | None = None
    """An answer of one's own."""
    redirect: Redirect | None = None
    """An answer that sends the client elsewhere."""
    files: bool = False
    """True: the uploaded files."""

    @model_validator(mode="after")
    def _does_one_thing(self) -> Location:
        if (self.respond is not None) + (self.redirect is not None) + self.files != 1:
            raise PydanticCustomError(
                "one_answer", "has none or several of 'respond', 'redirect' and 'files', expected one"
            )
        return self


class Site(Part):
    """A set of hosts, and what they answer."""

    hosts: _many(Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$")], most=32) = ()  # type: ignore[valid-type]
    """Values of the Host header; none: every host that no other site has."""
    locations: _many(Location, most=256) = ()  # type: ignore[valid-type]
    """What they answer, by path."""


class ServerConfiguration(Part):
    """What a server is told."""

    sites: _many(Site, most=MOST_SITES) = ()  # type: ignore[valid-type]
    """Served beside the sample pages, which stay where no site has the path."""


class HttpMatch(Part):
    """Text that is looked for in one part of a request."""

    field: Literal["user-agent", "uri", "method", "host", "header", "body"]
    """`header`: all headers together."""
    contains: Annotated[Line, Field(min_length=1, max_length=200)]
    """The text."""
    case_sensitive: bool = False
    """False: capital and small letters are the same."""


class IdsRule(Part):
    """What the intrusion detection system raises an alert for: one of `http` and `text`."""

    id: Annotated[int, Field(ge=1, le=2_147_483_647)]
    """The engine's signature id."""
    message: Annotated[Line, Field(max_length=200)] = ""
    """What the alert says."""
    severity: Annotated[int, Field(ge=1, le=4)] = 2
    """1 is the worst."""
    http: HttpMatch | None = None
    """Text in one part of an HTTP request; works with every engine."""
    text: Annotated[Line, Field(max_length=8192)] = ""
    """A rule in the engine's own language, whose sid is `id`."""

    @model_validator(mode="after")
    def _says_what_to_look_for_once(self) -> IdsRule:
        if bool(self.text) == (self.http is not None):
            raise PydanticCustomError("one_rule", "has none or both of 'http' and 'text', expected one")
        return self


class IdsConfiguration(Part):
    """What an intrusion detection system is told."""

    rules: _many(IdsRule, most=MOST_RULES) = ()  # type: ignore[valid-type]
    """What raises an alert."""

    @model_validator(mode="after")
    def _has_each_id_once(self) -> IdsConfiguration:
        seen = set()
        for place, rule in enumerate(self.rules):
            if rule.id in seen:
                raise PydanticCustomError(
                    "twice", "has the id {id} a second time", {"id": rule.id, "path": ("rules", place)}
                )
            seen.add(rule.id)
        return self


Configuration = (
    FirewallConfiguration | LoadBalancerConfiguration | CacheConfiguration | ServerConfiguration | IdsConfiguration
)

MODELS: dict[str, type[Configuration]] = {
    "firewall": FirewallConfiguration,
    "load-balancer": LoadBalancerConfiguration,
    "cache": CacheConfiguration,
    "ids": IdsConfiguration,
    "server": ServerConfiguration,
}
"""By function type."""


def completed(configuration: Configuration, *, to: tuple[str, ...]) -> Configuration:
    """Return the configuration with the backends that a chain's `to` means, unless it names its own."""
    if isinstance(configuration, _Forwarding) and not configuration.backends:
        # Not checked again: what is wrong with a name of `to` is said where it is written.
        return configuration.model_copy(update={"backends": tuple(Backend.model_construct(host=name) for name in to)})
    return configuration
