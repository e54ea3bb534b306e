"""Configurations of every function type, for property tests: each legal, most of them odd."""

from __future__ import annotations

from hypothesis import strategies as st

from clover.spec import configuration as spec

names = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
lines = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30)
paths = st.from_regex(r"/[A-Za-z0-9._~-]{0,10}", fullmatch=True)
networks = st.ip_addresses().map(str)


def seconds(least: int, most: int) -> st.SearchStrategy[float]:
    """Return lengths of time that a protobuf Duration can say to the microsecond."""
    return st.integers(least * 1_000_000, most * 1_000_000).map(lambda microseconds: microseconds / 1e6)


def lists(item: st.SearchStrategy[object], **settings: object) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(item, max_size=4, **settings).map(tuple)  # type: ignore[arg-type]


backends = st.lists(
    st.builds(
        spec.Backend,
        host=names,
        port=st.none() | st.integers(1, 65535),
        weight=st.integers(1, 256),
        state=st.sampled_from(["ready", "drain", "disabled"]),
    ),
    max_size=4,
    unique_by=lambda backend: backend.host,
).map(tuple)

load_balancers = st.builds(
    spec.LoadBalancerConfiguration,
    backends=backends,
    algorithm=st.sampled_from(["round-robin", "least-connections", "random", "source"]),
)

caches = st.builds(
    spec.CacheConfiguration,
    backends=backends,
    default_ttl=seconds(0, 86400),
    grace=seconds(0, 86400),
    max_size_mib=st.integers(8, 65536),
    uncached_paths=lists(paths),
)

_rule = {
    "id": st.integers(100_000, 199_999),
    "operator": st.sampled_from(["contains", "equals", "begins-with", "ends-with"]),
    "value": lines.filter(bool),
    "action": st.sampled_from(["block", "log"]),
    "message": lines,
}
firewall_rules = st.builds(
    spec.FirewallRule, target=st.sampled_from(["uri", "path", "query", "method", "body", "user-agent"]), **_rule
) | st.builds(
    spec.FirewallRule,
    target=st.sampled_from(["header", "argument", "cookie"]),
    name=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    **_rule,
)

firewalls = st.builds(
    spec.FirewallConfiguration,
    backends=backends,
    mode=st.sampled_from(["blocking", "detection-only", "off"]),
    paranoia_level=st.integers(1, 4),
    anomaly_threshold=st.integers(1, 1000),
    excluded_rules=lists(st.integers(1, 9_999_999), unique=True),
    rules=lists(firewall_rules, unique_by=lambda rule: rule.id),
    denied_networks=lists(networks, unique=True),
    block_policy=st.none()
    | st.builds(
        spec.BlockPolicy,
        threshold=st.integers(1, 10000),
        window=seconds(1, 86400),
        duration=seconds(1, 604800),
        allow=lists(networks, unique=True),
        dry_run=st.booleans(),
    ),
)

locations = (
    st.builds(
        spec.Location,
        path=paths,
        match=st.sampled_from(["exact", "prefix"]),
        respond=st.builds(spec.Respond, status=st.integers(200, 599), body=lines),
    )
    | st.builds(
        spec.Location,
        path=paths,
        redirect=st.builds(spec.Redirect, to=paths, status=st.sampled_from([301, 302, 303, 307, 308])),
    )
    | st.builds(spec.Location, path=paths, match=st.just("prefix"), files=st.just(True))
)

servers = st.builds(
    spec.ServerConfiguration,
    sites=st.lists(
        st.builds(
            spec.Site,
            hosts=st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
            locations=st.lists(locations, max_size=4, unique_by=lambda one: (one.path, one.match)).map(tuple),
        ),
        max_size=3,
        unique_by=lambda site: site.hosts[0],
    )
    .filter(lambda sites: len({host for site in sites for host in site.hosts}) == sum(len(s.hosts) for s in sites))
    .map(tuple),
)

ids_rules = st.builds(
    spec.IdsRule,
    id=st.integers(1, 2_147_483_647),
    message=lines,
    severity=st.integers(1, 4),
    http=st.builds(
        spec.HttpMatch,
        field=st.sampled_from(["user-agent", "uri", "method", "host", "header", "body"]),
        contains=lines.filter(bool),
        case_sensitive=st.booleans(),
    ),
) | st.builds(
    spec.IdsRule,
    id=st.integers(1, 2_147_483_647),
    message=lines,
    severity=st.integers(1, 4),
    text=lines.filter(bool),
)

idses = st.builds(spec.IdsConfiguration, rules=lists(ids_rules, unique_by=lambda rule: rule.id))

configurations = st.one_of(load_balancers, caches, firewalls, servers, idses)
