"""What a DestinationRule must satisfy: each rule here is a question, its docstring the answer that is wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from clover.mesh.istio import hosts, resources
from clover.mesh.istio.asked_names import names_stay_readable
from clover.mesh.istio.destination_checks import unknown_host
from clover.mesh.istio.finding import Finding, Path
from clover.mesh.istio.headers import is_header_name
from clover.mesh.istio.kinds.destination_rule import ConsistentHashLB, HTTPCookie, PolicyParts, Subset, TrafficPolicy
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.mutual_tls_checks import both_sides_agree
from clover.mesh.istio.policies import chooses, labels_of, members, outsiders
from clover.mesh.istio.resources import DestinationRule
from clover.mesh.istio.routing_rules import HOST
from clover.mesh.istio.tls_checks import client_findings

_PLACES = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
_COOKIE_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]{0,1024}")


def host_exists(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """A DestinationRule is for a service of the mesh."""
    host = resource.spec.host
    path: Path = ("spec", "host")
    if not HOST.fullmatch(host):
        yield Finding(code="CLV4201", path=path, what=f"{host[:80]!r} is not a host name")
    elif not mesh.covered(hosts.full_host(host, resource.metadata.namespace)):
        yield replace(unknown_host(host, path, mesh, namespace=resource.metadata.namespace), istio="IST0174")


def host_has_one_rule(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Two DestinationRules for one host would leave it open which one decides."""
    for claim in mesh.claims(resource):
        owner = mesh.owners.get(claim, "")
        if owner not in ("", resources.key(resource)):
            name = owner.partition("/")[2]
            yield Finding(
                code="CLV4207",
                path=("spec", "host"),
                what=f"the host {claim.host!r} already has a DestinationRule: {name!r}",
                hint=f"put the settings into {name!r}, or delete it first",
            )


def subsets_choose_workloads(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Every subset has a name of its own, and labels that some workload has."""
    services = mesh.covered(hosts.full_host(resource.spec.host, resource.metadata.namespace))
    seen: set[str] = set()
    for index, subset in enumerate(resource.spec.subsets):
        path: Path = ("spec", "subsets", index)
        if subset.name in seen:
            what = f"the subset {subset.name!r} is defined twice"
            yield Finding(code="CLV4210", path=(*path, "name"), what=what)
        seen.add(subset.name)
        asked = subset if mesh.registry.complete else _without_places(subset)
        if (
            services
            and mesh.registry.tells_workloads
            and not any(
                any(True for _ in (*members(mesh.registry, service, asked), *outsiders(service, asked)))
                for service in services
            )
        ):
            labels = ", ".join(f"{name}={value}" for name, value in subset.labels.items())
            yield Finding(
                code="CLV4204",
                path=(*path, "labels"),
                what=f"no workload of {resource.spec.host!r} has the labels {labels!r}",
                hint="requests to this subset are answered 503",
                severity="warning",
                istio="IST0173",
            )


def _without_places(subset: Subset) -> Subset:
    """Return a subset without the labels that Istio gives a pod where it runs, which nothing but its node tells."""
    labels = {name: value for name, value in subset.labels.items() if not (name in _PLACES and value)}
    return subset.model_copy(update={"labels": labels})


def ports_exist(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Settings for a port are for one that the service has, and are written once."""
    services = mesh.covered(hosts.full_host(resource.spec.host, resource.metadata.namespace))
    known = {port.number for service in services for port in service.ports}
    for policy, path in _policies(resource):
        counts = Counter(setting.port.number for setting in policy.port_level_settings)
        for index, setting in enumerate(policy.port_level_settings):
            number, here = setting.port.number, (*path, "portLevelSettings", index, "port", "number")
            if counts[number] > 1:
                what = f"the settings of port {number} are written {counts[number]} times"
                yield Finding(code="CLV4207", path=here, what=what)
            if services and number not in known:
                shown = ", ".join(map(str, sorted(known)))
                what = f"{resource.spec.host!r} has no port {number}; it has {shown}"
                yield Finding(code="CLV4202", path=here, what=what)


def balancers_work_here(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """A balancer picks among the workloads, by something that requests have."""
    for part, path in _parts(resource):
        balancer = part.load_balancer
        if balancer and balancer.simple == "PASSTHROUGH":
            yield Finding(
                code="CLV4103",
                path=(*path, "loadBalancer", "simple"),
                what="'PASSTHROUGH' is not supported by Clover",
                hint="the address of a service is known to proxies only; let one pick a workload",
            )
        if balancer and balancer.consistent_hash:
            yield from _hash(balancer.consistent_hash, (*path, "loadBalancer", "consistentHash"))
        if balancer and (balancer.consistent_hash or balancer.simple == "RANDOM"):
            for name, wanted in (("warmup", balancer.warmup), ("warmupDurationSecs", balancer.warmup_duration_secs)):
                if wanted is not None:
                    what = "endpoints warm up with 'LEAST_REQUEST' and 'ROUND_ROBIN' only"
                    yield _no_effect((*path, "loadBalancer", name), what)


def _hash(choice: ConsistentHashLB, path: Path) -> Iterator[Finding]:
    if choice.http_header_name and not is_header_name(choice.http_header_name):
        what = f"{choice.http_header_name[:80]!r} is not a header name"
        yield Finding(code="CLV4212", path=(*path, "httpHeaderName"), what=what)
    if choice.http_cookie and not is_header_name(choice.http_cookie.name):
        what = f"{choice.http_cookie.name[:80]!r} is not the name of a cookie"
        yield Finding(code="CLV4212", path=(*path, "httpCookie", "name"), what=what)
    if choice.http_cookie:
        yield from _attributes(choice.http_cookie, (*path, "httpCookie", "attributes"))
    size = choice.maglev.table_size if choice.maglev else 0
    if size and not _is_prime(size):
        what = f"the table size {size} is not a prime number"
        yield Finding(code="CLV4219", path=(*path, "maglev", "tableSize"), what=what)


def _attributes(cookie: HTTPCookie, path: Path) -> Iterator[Finding]:
    for index, attribute in enumerate(cookie.attributes):
        if not is_header_name(attribute.name):
            what = f"{attribute.name[:80]!r} is not the name of an attribute"
            yield Finding(code="CLV4212", path=(*path, index, "name"), what=what)
        if not _COOKIE_VALUE.fullmatch(attribute.value):
            what = f"{attribute.value[:80]!r} cannot stand in a cookie"
            yield Finding(code="CLV4212", path=(*path, index, "value"), what=what)
    if cookie.attributes and cookie.ttl is None:
        yield _no_effect(path, "without a 'ttl' the cookie is never made", "say 'ttl: 0s' for the session")


def _no_effect(path: Path, what: str, hint: str = "") -> Finding:
    return Finding(code="CLV4220", path=path, what=what, hint=hint, severity="warning")


def ejections_happen(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Failures of this side are counted only where they are told from those of the other."""
    for part, path in _parts(resource):
        wanted = part.outlier_detection
        if wanted and wanted.consecutive_local_origin_failures and not wanted.split_external_local_origin_errors:
            what = "it is not counted without 'splitExternalLocalOriginErrors: true'"
            yield _no_effect((*path, "outlierDetection", "consecutiveLocalOriginFailures"), what)
        if wanted and wanted.consecutive_errors:
            what = "Istio has given it up, and nothing counts to it"
            hint = "say 'consecutiveGatewayErrors' or 'consecutive5xxErrors'"
            yield _no_effect((*path, "outlierDetection", "consecutiveErrors"), what, hint)


def retries_have_one_limit(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """With a budget, retries have no fixed number."""
    for policy, path in _policies(resource):
        pool = policy.connection_pool
        if policy.retry_budget and pool and pool.http and pool.http.max_retries:
            yield _no_effect((*path, "connectionPool", "http", "maxRetries"), "'retryBudget' decides instead of it")


def clients_exist(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """A rule that chooses its clients is for somebody, and for nobody who obeys another one like it."""
    if resource.spec.workload_selector is None:
        return
    path: Path = ("spec", "workloadSelector")
    clients = _clients(resource, mesh)
    if not clients and mesh.registry.complete:
        what = f"no workload of the namespace {resource.metadata.namespace!r} is chosen, so the rule is for nobody"
        yield Finding(code="CLV4380", path=path, what=what, severity="warning", istio="IST0127")
    for other in mesh.policies.destination_rules:
        if (
            other.spec.workload_selector is None
            or mesh.order[resources.key(other)] >= mesh.order[resources.key(resource)]
        ):
            continue
        same_host = {claim.host for claim in mesh.claims(other)} == {claim.host for claim in mesh.claims(resource)}
        same_clients = other.spec.workload_selector == resource.spec.workload_selector
        if same_host and not same_clients and (both := sorted(clients & _clients(other, mesh))):
            name = resources.key(other).partition("/")[2]
            what = f"{both[0]!r} already obeys the DestinationRule {name!r} for this host"
            yield Finding(code="CLV4207", path=path, what=what, hint="choose other workloads, or put both into one")


def _clients(resource: DestinationRule, mesh: Mesh) -> set[str]:
    namespace = resource.metadata.namespace
    return {
        workload.name
        for workload in mesh.registry.workloads
        if workload.namespace == namespace and chooses(resource, labels_of(workload))
    }


def the_proxy_protocol_is_read(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """Connections begin with the PROXY protocol where the other side expects it; sidecars do not."""
    services = mesh.covered(hosts.full_host(resource.spec.host, resource.metadata.namespace))
    outside = any(service.outsiders for service in services)
    behind_sidecars = [service.host for service in services if any(mesh.registry.members(service))]
    for policy, path in _policies(resource):
        wanted, here = policy.proxy_protocol, (*path, "proxyProtocol")
        if wanted and wanted.version == "V1" and outside:
            # Envoy ends itself over a request of its own (a copy, a question to an authorizer) for which V1 has no
            # words: hosts outside are reached through sockets, and these have no addresses that it could say.
            what = "'V1' (as when no version is said) is not supported by Clover towards hosts outside of the mesh"
            yield Finding(code="CLV4103", path=here, what=what, hint="say 'version: V2'")
        if wanted and behind_sidecars:
            what = f"the sidecars of {behind_sidecars[0]!r} do not read the PROXY protocol, and refuse such connections"
            hint = "use it for hosts outside of the mesh"
            yield Finding(code="CLV4381", path=here, what=what, hint=hint, severity="warning")


def tls_has_what_it_needs(resource: DestinationRule, mesh: Mesh) -> Iterator[Finding]:
    """TLS says whose certificates are shown and believed, and whose name is expected."""
    for part, path in _parts(resource):
        if part.tls:
            yield from client_findings(part.tls, (*path, "tls"))


def _policies(resource: DestinationRule) -> Iterator[tuple[TrafficPolicy, Path]]:
    if resource.spec.traffic_policy:
        yield resource.spec.traffic_policy, ("spec", "trafficPolicy")
    for index, subset in enumerate(resource.spec.subsets):
        if subset.traffic_policy:
            yield subset.traffic_policy, ("spec", "subsets", index, "trafficPolicy")


def _parts(resource: DestinationRule) -> Iterator[tuple[PolicyParts, Path]]:
    for policy, path in _policies(resource):
        yield policy, path
        for index, setting in enumerate(policy.port_level_settings):
            yield setting, (*path, "portLevelSettings", index)


def _is_prime(number: int) -> bool:
    return number >= 2 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


RULES = (
    host_exists,
    host_has_one_rule,
    subsets_choose_workloads,
    ports_exist,
    balancers_work_here,
    ejections_happen,
    retries_have_one_limit,
    clients_exist,
    the_proxy_protocol_is_read,
    names_stay_readable,
    tls_has_what_it_needs,
    both_sides_agree,
)
