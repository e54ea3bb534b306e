"""What the compiler promises whatever it compiles."""

import subprocess
import sys
import time
from dataclasses import replace

from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh import ir
from clover.mesh.xds import clusters, compile, inbound, routes
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from clover.mesh.xds.settings import Settings
from harness import envoy, proxies
from harness.proxies import CASES, cluster_name

MAIN = cluster_name(proxies.LB)


def test_a_second_process_compiles_the_same_bytes():
    script = (
        "from harness.proxies import CASES\n"
        "from clover.mesh import snapshot\n"
        "print({name: snapshot.snapshot_from(proxy).version for name, proxy in CASES.items()})"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "tests"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1


def test_only_what_changed_is_compiled_again():
    before = compile.resources_from(CASES["routes"])
    changed = replace(CASES["routes"], tables=(proxies.table(proxies.route(ir.DirectResponse(code=418))),))
    after = compile.resources_from(changed)

    assert after[ROUTES]["http.8080"] != before[ROUTES]["http.8080"]
    for type_url in (CLUSTER, ENDPOINTS, LISTENER):
        assert all(after[type_url][name] is resource for name, resource in before[type_url].items())


def test_the_order_of_endpoints_does_not_matter():
    one = clusters.endpoints(proxies.members("a", "10.0.0.1", "10.0.0.2"))
    other = clusters.endpoints(proxies.members("a", "10.0.0.2", "10.0.0.1"))

    assert one.version == other.version


def test_sources_are_kept_beside_the_bytes_and_not_in_them():
    plain, written = (
        routes.table(proxies.table(proxies.route(sources=sources))) for sources in ((), ("VirtualService/default/lb",))
    )

    assert plain.version == written.version
    assert written.sources == ("VirtualService/default/lb",)


def test_the_mark_is_repeated_where_a_cluster_binds_for_itself():
    port = ir.InboundPort(port=9180, protocol=ir.Protocol.AUTO, service=proxies.LB)

    for cluster in clusters.inbound(port, Settings(mark=42)):
        message = envoy.message(cluster)
        (option,) = message.upstream_bind_config.socket_options
        assert (option.level, option.name, option.int_value) == (1, 36, 42)
        assert message.upstream_bind_config.source_address.address == "127.0.0.6"


def test_only_what_may_be_repeated_travels_on_a_connection_that_the_function_may_be_closing():
    port = ir.InboundPort(port=9180, protocol=ir.Protocol.AUTO, service=proxies.LB)
    safe, other = routes.to_own_function(port).virtual_hosts[0].routes

    assert safe.match.headers[0].string_match.safe_regex.regex == "GET|HEAD|OPTIONS|TRACE"
    assert safe.route.cluster == "inbound|9180||"
    assert safe.route.retry_policy.retry_on == "reset,connect-failure"
    assert other.route.cluster == "inbound|9180|once|"
    assert other.route.retry_policy.retry_on == "connect-failure"
    once = {cluster.name: envoy.message(cluster) for cluster in clusters.inbound(port, Settings())}[
        "inbound|9180|once|"
    ]
    options = HttpProtocolOptions()
    once.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Unpack(options)
    assert options.common_http_protocol_options.max_requests_per_connection.value == 1


def test_a_function_that_speaks_http2_has_one_inbound_cluster_because_it_says_what_it_did_not_take():
    port = ir.InboundPort(port=50054, protocol=ir.Protocol.HTTP2, service=proxies.LB)

    assert [cluster.name for cluster in clusters.inbound(port, Settings())] == ["inbound|50054||"]
    (route,) = routes.to_own_function(port).virtual_hosts[0].routes
    assert route.route.retry_policy.retry_on == "reset-before-request"


def test_nothing_that_is_said_of_the_port_of_all_connections_lets_one_go_round():
    itself = ir.InboundPort(port=15006, protocol=ir.Protocol.HTTP, service=proxies.LB)
    peers = ir.Peers(mode=ir.PeerMode.STRICT, ports=((15006, ir.PeerMode.DISABLE),))

    message = envoy.message(inbound.virtual_inbound((itself,), ir.UNGUARDED, proxies.SIDECAR, Settings(), peers))

    chains = [chain.name for chain in message.filter_chains if chain.filter_chain_match.destination_port.value == 15006]
    assert chains == ["virtualInbound-blackhole"]


def test_only_detected_ports_are_looked_into():
    ports = tuple(
        ir.InboundPort(port=port, protocol=protocol, service=proxies.LB)
        for port, protocol in ((9180, ir.Protocol.AUTO), (50054, ir.Protocol.HTTP2), (25, ir.Protocol.TCP))
    )
    message = envoy.message(inbound.virtual_inbound(ports, ir.UNGUARDED, proxies.SIDECAR, Settings()))

    inspector = message.listener_filters[-1]
    assert inspector.filter_disabled.not_match.destination_port_range.start == 9180


def test_without_a_receiver_nothing_is_reported():
    resources = compile.resources_from(CASES["sidecar-auto"], Settings(otlp_cluster=""))

    assert "telemetry" not in envoy.as_json(resources)
    assert "open_telemetry" not in envoy.as_json(resources)


def test_istios_names_are_kept():
    resources = compile.resources_from(CASES["sidecar-auto"])

    assert resources[LISTENER].keys() == {"virtualOutbound", "virtualInbound", "10.96.0.4_9180"}
    assert resources[CLUSTER].keys() == {
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "inbound|9180||",
        "inbound|9180|once|",
        "outbound|9180||web-cache.default.svc.cluster.local",
    }


_strings = st.builds(
    ir.StringMatch,
    kind=st.sampled_from([ir.MatchKind.EXACT, ir.MatchKind.PREFIX, ir.MatchKind.REGEX]),
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    ignore_case=st.booleans(),
)
_matches = st.builds(
    ir.RequestMatch,
    path=st.none() | _strings,
    headers=st.tuples()
    | st.tuples(st.builds(ir.NamedMatch, name=st.just("x-a"), match=_strings, invert=st.booleans())),
)


@given(match=_matches, timeout_s=st.floats(0, 1e6), percent=st.floats(0, 100))
def test_any_match_and_any_number_compiles_and_reads_back(match, timeout_s, percent):
    route = proxies.route(match=match, timeout_s=timeout_s, mirrors=(ir.Mirror(cluster=MAIN, percent=percent),))
    (host,) = envoy.message(routes.table(proxies.table(route))).virtual_hosts

    action = host.routes[0].route
    assert abs(action.timeout.ToMicroseconds() / 1e6 - timeout_s) <= 1e-6
    assert action.request_mirror_policies[0].runtime_fraction.default_value.numerator <= 1_000_000
    assert len(host.routes[0].match.headers) == len(match.headers)


def test_a_hundred_services_compile_in_no_time():
    names = [cluster_name(f"s{number}.default.svc.cluster.local") for number in range(100)]
    proxy = replace(
        CASES["sidecar-auto"],
        outbound=tuple(
            ir.OutboundPort(
                service=name, address=f"10.96.1.{n}", port=80, protocol=ir.Protocol.AUTO, routes=name, cluster=name
            )
            for n, name in enumerate(names)
        ),
        tables=tuple(proxies.table(proxies.route(proxies.forward(name)), name=name) for name in names),
        clusters=tuple(ir.Cluster(name=name) for name in names),
        endpoints=tuple(proxies.members(name, "10.244.0.3") for name in names),
    )
    began = time.process_time()
    compile.resources_from(proxy)
    cold = time.process_time() - began
    began = time.process_time()
    compile.resources_from(replace(proxy, node="other"))
    warm = time.process_time() - began

    assert cold < 1.0
    assert warm < cold / 2


def test_the_sidecar_of_a_function_ends_no_call_for_the_deadline_of_an_attempt():
    """What it answered then would keep the caller's sidecar, which wrote the deadline, from trying again."""
    port = ir.InboundPort(port=50054, protocol=ir.Protocol.HTTP2, service="server")
    (route,) = routes.to_own_function(port).virtual_hosts[0].routes

    assert not route.route.HasField("max_grpc_timeout")
    assert route.route.timeout.ToSeconds() == 0
