"""What holds for every policy that passes the checks."""

import yaml
from hypothesis import HealthCheck, assume, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh import ir
from clover.mesh.istio.resources import VirtualService
from harness import policies, random_policies

ANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def sound(documents):
    """Return the text of documents that pass the checks; others are left out."""
    text = yaml.safe_dump_all(documents)
    try:
        found = policies.problems(text)
    except DocumentError:
        assume(False)
    assume(not errors_only(found))
    return text


def all_routes(text):
    for proxy in policies.proxies(text).values():
        for table in proxy.tables:
            for host in table.virtual_hosts:
                for route in host.routes:
                    yield proxy, route


@ANY
@given(random_policies.SOUND)
def test_every_cluster_that_a_route_names_is_one_that_the_proxy_has(documents):
    for proxy, route in all_routes(sound(documents)):
        names = {cluster.name for cluster in proxy.clusters}
        shares = route.action.to if isinstance(route.action, ir.Forward) else ()
        assert {share.cluster for share in shares} | {mirror.cluster for mirror in route.mirrors} <= names


@ANY
@given(random_policies.SOUND)
def test_no_table_serves_a_host_twice(documents):
    for proxy in policies.proxies(sound(documents)).values():
        for table in proxy.tables:
            domains = [domain.lower() for host in table.virtual_hosts for domain in host.domains]
            assert len(domains) == len(set(domains))


@ANY
@given(random_policies.SOUND)
def test_weights_and_the_order_of_rules_are_kept(documents):
    text = sound(documents)
    written = [resource for resource in policies.read(text) if isinstance(resource, VirtualService)]
    shares = {
        f"VirtualService/default/{resource.metadata.name}": [
            [share.weight for share in rule.route if len(rule.route) > 1 and share.weight] or [100][: len(rule.route)]
            for rule in resource.spec.http
        ]
        for resource in written
    }

    for proxy in policies.proxies(text).values():
        for table in proxy.tables:
            for host in table.virtual_hosts:
                for source, expected in shares.items():
                    found = [_weights(route) for route in host.routes if source in route.sources[:1]]
                    assert _is_subsequence(_without_repeats(found), expected)


def _weights(route):
    return [share.weight for share in route.action.to] if isinstance(route.action, ir.Forward) else []


def _without_repeats(found):
    return [item for index, item in enumerate(found) if index == 0 or found[index - 1] != item]


def _is_subsequence(found, expected):
    rest = iter(expected)
    return all(any(item == other for other in rest) for item in found)


@ANY
@given(random_policies.SOUND)
def test_equal_policies_give_equal_proxies(documents):
    text = sound(documents)

    assert policies.proxies(text) == policies.proxies(text)
