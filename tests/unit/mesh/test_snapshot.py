"""What is refused before any proxy hears of it."""

from dataclasses import replace

import pytest

from clover.mesh import ir, snapshot
from harness import proxies
from harness.proxies import V1, cluster_name, forward, members, route, table, text

MAIN = cluster_name(proxies.LB)


def problems(proxy: ir.Proxy) -> list[str]:
    return [
        f"{problem.code} {problem.where}: {problem.what}" for problem in snapshot.check(snapshot.snapshot_from(proxy))
    ]


def test_a_whole_snapshot_has_no_problems():
    assert problems(proxies.gateway()) == []


def test_a_route_to_a_cluster_that_is_not_there_is_reported_where_it_was_written():
    lost = route(forward(V1), sources=("VirtualService/default/lb",))

    assert problems(proxies.gateway(lost)) == [
        f"CLV4301 VirtualService/default/lb: route table 'http.8080' needs cluster '{V1}', "
        "which proxy 'gateway' does not have"
    ]


def test_a_mirror_to_a_cluster_that_is_not_there_is_reported_too():
    assert "needs cluster" in problems(proxies.gateway(route(mirrors=(ir.Mirror(cluster=V1),))))[0]


def test_a_cluster_without_endpoints_of_its_own_is_reported():
    assert problems(proxies.gateway(endpoints=())) == [
        f"CLV4301 proxy gateway: cluster '{MAIN}' needs endpoints '{MAIN}', which proxy 'gateway' does not have"
    ]


def test_a_listener_without_its_table_is_reported():
    assert "needs route table 'http.8080'" in problems(replace(proxies.gateway(), tables=()))[0]


def test_a_host_that_two_virtual_hosts_claim_is_reported_with_both_authors():
    hosts = tuple(
        ir.VirtualHost(
            name=name,
            domains=(domain,),
            routes=(route(sources=(f"VirtualService/default/{name}",)),),
        )
        for name, domain in (("one", "shop.example.com"), ("two", "SHOP.example.com"))
    )

    assert problems(replace(proxies.gateway(), tables=(ir.RouteTable(name="http.8080", virtual_hosts=hosts),))) == [
        "CLV4304 VirtualService/default/one, VirtualService/default/two: "
        "host 'shop.example.com' is claimed more than once in route table 'http.8080'"
    ]


def test_two_listeners_at_one_address_are_reported():
    proxy = proxies.gateway()
    twice = replace(proxy, gateways=(*proxy.gateways, replace(proxy.gateways[0], sources=("Gateway/default/other",))))

    assert problems(twice) == ["CLV4303 Gateway/default/other: address '127.0.0.1_8080' has more than one listener"]


@pytest.mark.parametrize("field", ["clusters", "endpoints", "tables"])
def test_two_pieces_with_one_name_are_reported(field):
    proxy = proxies.gateway()

    (found,) = [text for text in problems(replace(proxy, **{field: getattr(proxy, field) * 2})) if "CLV4302" in text]
    assert "is there more than once" in found


@pytest.mark.parametrize("weights", [(0, 0), ()])
def test_weights_that_send_nothing_anywhere_are_reported(weights):
    shares = tuple(ir.WeightedCluster(cluster=MAIN, weight=weight) for weight in weights)

    assert "CLV4305" in problems(proxies.gateway(route(ir.Forward(to=shares))))[0]


def test_a_test_for_the_lack_of_a_query_parameter_is_reported():
    match = ir.RequestMatch(query=(proxies.named("debug", text("present"), invert=True),))

    assert "CLV4306" in problems(proxies.gateway(route(match=match)))[0]


@pytest.mark.parametrize(
    ("balancing", "size", "fine"),
    [
        (ir.Balancing.MAGLEV, 65537, True),
        (ir.Balancing.MAGLEV, None, True),
        (ir.Balancing.MAGLEV, 4, False),
        (ir.Balancing.MAGLEV, 1, False),
        (ir.Balancing.MAGLEV, 5_000_077, False),
        (ir.Balancing.RING_HASH, 8 * 1024 * 1024, True),
        (ir.Balancing.RING_HASH, 8 * 1024 * 1024 + 1, False),
    ],
)
def test_a_hash_table_that_cannot_be_built_is_reported(balancing, size, fine):
    cluster = ir.Cluster(name=MAIN, balancing=balancing, ring_size=size, sources=("DestinationRule/default/lb",))
    found = problems(proxies.gateway(clusters=(cluster,)))

    assert [text.split(":")[0] for text in found] == ([] if fine else ["CLV4307 DestinationRule/default/lb"])


def test_all_problems_come_at_once():
    proxy = replace(proxies.gateway(route(forward(V1)), endpoints=()), tables=(table(route(forward(V1))),) * 2)

    assert {text.split()[0] for text in problems(proxy)} == {"CLV4301", "CLV4302"}


def test_equal_proxies_have_equal_versions_and_different_ones_do_not():
    one, other = snapshot.snapshot_from(proxies.gateway()), snapshot.snapshot_from(proxies.gateway())
    moved = snapshot.snapshot_from(proxies.gateway(endpoints=(members(MAIN, "10.244.0.99"),)))

    assert one.version == other.version != moved.version
