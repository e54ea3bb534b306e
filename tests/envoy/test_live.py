"""A real Envoy, fed over its Unix socket: changes take effect, refusals name their author, restarts cost nothing."""

import asyncio
import contextlib
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clover.mesh import ir, server, snapshot
from clover.mesh.xds.resource import CLUSTER, LISTENER, ROUTES
from harness import envoy, proxies
from harness.otlp import receiving
from harness.ports import free_port
from harness.proxies import GATEWAY, V1, V2, cluster_name, forward, members, route

pytestmark = pytest.mark.envoy

MAIN = cluster_name(proxies.LB)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def directory():
    """A folder whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


@dataclass(slots=True, kw_only=True)
class Mesh:
    """A gateway, its control plane and a backend that echoes."""

    control: server.Server
    proxy: envoy.Proxy
    port: int
    backend: int

    def gateway(self, *routes: ir.Route, clusters=None, backends: dict[str, int] | None = None) -> ir.Proxy:
        backends = backends or {MAIN: self.backend}
        return proxies.gateway(
            *routes,
            port=self.port,
            clusters=clusters or tuple(ir.Cluster(name=name) for name in backends),
            endpoints=tuple(members(name, "127.0.0.1", port=port) for name, port in backends.items()),
        )

    async def push(self, proxy: ir.Proxy) -> server.Acknowledgement:
        generation = self.control.push({"gateway": snapshot.snapshot_from(proxy)})
        return await self.control.acknowledged(generation, timeout_s=10)

    async def fetch(self, path: str = "/", **more) -> envoy.Answer:
        return await envoy.fetch(self.port, path, **more)


@pytest.fixture
async def mesh(directory):
    async with (
        envoy.echoing() as backend,
        server.serving(directory / "xds.sock") as control,
        envoy.envoy(directory, GATEWAY) as proxy,
    ):
        mesh = Mesh(control=control, proxy=proxy, port=free_port(), backend=backend)
        assert (await mesh.push(mesh.gateway())).accepted == ("gateway",)
        yield mesh


async def test_a_proxy_serves_what_it_is_sent(mesh):
    answer = await mesh.fetch("/hello?x=1", host="shop.example.com")

    assert answer.status == 200
    assert answer.echo["path"] == "/hello?x=1"
    assert answer.echo["headers"]["host"] == "shop.example.com"


async def test_a_changed_route_is_in_effect_once_it_is_acknowledged(mesh):
    for code in (418, 503, 404, 200):
        result = await mesh.push(mesh.gateway(route(ir.DirectResponse(code=code))))

        assert result.accepted == ("gateway",)
        assert (await mesh.fetch()).status == code


async def test_a_new_cluster_and_the_route_to_it_arrive_without_a_failed_request(mesh):
    stop = asyncio.Event()
    statuses: list[int] = []

    async def client():
        while not stop.is_set():
            statuses.append((await mesh.fetch()).status)

    async with envoy.echoing() as other, asyncio.TaskGroup() as tasks:
        tasks.create_task(client())
        for name in (V1, V2, MAIN, V2, V1):
            result = await mesh.push(mesh.gateway(route(forward(name)), backends={name: other}))
            assert result.accepted == ("gateway",)
        stop.set()

    assert set(statuses) == {200}


async def test_a_changed_cluster_is_warm_when_it_is_acknowledged(mesh):
    limits = ir.Limits(max_connections=77)
    result = await mesh.push(mesh.gateway(clusters=(ir.Cluster(name=MAIN, limits=limits),)))

    assert result.accepted == ("gateway",)
    assert (await mesh.fetch()).status == 200
    stats = await mesh.proxy.stats(
        f"^cluster_manager.warming_clusters$|^cluster.{re.escape(MAIN)}.circuit.*remaining_cx$"
    )
    assert stats["cluster_manager.warming_clusters"] == 0
    assert stats[f"cluster.{MAIN}.circuit_breakers.default.remaining_cx"] in {76, 77}


async def test_a_refused_table_names_its_author_and_the_last_good_one_keeps_serving(mesh):
    await mesh.push(mesh.gateway(route(ir.DirectResponse(code=418))))
    bad = route(
        response_headers=ir.HeaderChanges(set=(("x-bad", "%NO_SUCH_WORD%"),)), sources=("VirtualService/default/shop",)
    )
    result = await mesh.push(mesh.gateway(bad))

    assert result.refused == ("gateway",)
    (problem,) = result.problems
    assert problem.where == "VirtualService/default/shop"
    assert "NO_SUCH_WORD" in problem.what
    assert (await mesh.fetch()).status == 418
    assert mesh.control.status()["gateway"].acknowledged is False


async def test_what_is_right_again_after_a_refusal_is_taken(mesh):
    bad = route(response_headers=ir.HeaderChanges(set=(("x-bad", "%NO_SUCH_WORD%"),)))
    await mesh.push(mesh.gateway(bad))
    result = await mesh.push(mesh.gateway())

    assert result.accepted == ("gateway",)
    assert mesh.control.problems() == ()


async def test_a_refused_cluster_does_not_take_the_others_with_it(mesh):
    even = ir.Cluster(name=V2, balancing=ir.Balancing.MAGLEV, ring_size=4, sources=("DestinationRule/default/lb",))
    result = await mesh.push(
        mesh.gateway(
            route(forward(V1)),
            clusters=(ir.Cluster(name=MAIN), ir.Cluster(name=V1), even),
            backends={MAIN: mesh.backend, V1: mesh.backend, V2: mesh.backend},
        )
    )

    assert [problem.where for problem in result.problems] == ["DestinationRule/default/lb"]
    assert (await mesh.fetch()).status == 200
    assert mesh.control.status()["gateway"].types[CLUSTER].rejected.keys() == {V2}


async def test_a_taken_port_is_a_problem_and_other_listeners_serve(mesh):
    proxy = mesh.gateway()
    taken = ir.GatewayPort(
        address="127.0.0.1", port=mesh.backend, routes="http.8080", sources=("Gateway/default/edge",)
    )
    result = await mesh.push(replace(proxy, gateways=(*proxy.gateways, taken)))

    assert [problem.where for problem in result.problems] == ["Gateway/default/edge"]
    assert "in use" in result.problems[0].what
    assert (await mesh.fetch()).status == 200


async def test_a_control_plane_that_comes_back_sends_only_what_changed(directory):
    async with envoy.echoing() as backend, envoy.envoy(directory, GATEWAY) as proxy:
        mesh = Mesh(control=None, proxy=proxy, port=free_port(), backend=backend)
        async with server.serving(directory / "xds.sock") as mesh.control:
            assert (await mesh.push(mesh.gateway())).accepted == ("gateway",)
        assert (await mesh.fetch()).status == 200
        async with server.serving(directory / "xds.sock") as mesh.control:
            assert (await mesh.push(mesh.gateway())).accepted == ("gateway",)
            types = mesh.control.status()["gateway"].types
            assert {type_url: state.sent for type_url, state in types.items()} == dict.fromkeys(types, 0)
        async with server.serving(directory / "xds.sock") as mesh.control:
            assert (await mesh.push(mesh.gateway(route(ir.DirectResponse(code=418))))).accepted == ("gateway",)
            types = mesh.control.status()["gateway"].types
            assert (types[ROUTES].sent, types[LISTENER].sent, types[CLUSTER].sent) == (1, 0, 0)
        assert (await mesh.fetch()).status == 418


async def test_a_proxy_that_starts_before_its_control_plane_connects_at_once(directory):
    async with envoy.echoing() as backend, envoy.envoy(directory, GATEWAY) as proxy:
        await proxy.started()
        async with server.serving(directory / "xds.sock") as control:
            mesh = Mesh(control=control, proxy=proxy, port=free_port(), backend=backend)
            result = await mesh.push(mesh.gateway())

            assert result.accepted == ("gateway",)
            assert result.elapsed_ms < 5000


async def test_every_request_has_a_server_and_a_client_span_and_a_log_record_of_one_trace(directory):
    async with receiving(directory / "otlp.sock") as received, _gateway(directory) as mesh:
        answer = await mesh.fetch("/a?b=c")
        await received.until(lambda got: len(got.spans) == 2 and len(got.logs) == 1)

    _, trace_id, span_id, _ = answer.headers["traceresponse"].split("-")
    server_span, client_span = sorted(received.spans, key=lambda span: span.kind)
    (log,) = received.logs
    assert {span.trace_id for span in (*received.spans, log)} == {trace_id}
    assert (server_span.span_id, client_span.parent_id, log.span_id) == (span_id, span_id, span_id)
    assert (server_span.name, client_span.name) == ("GET default", f"GET {MAIN}")
    assert answer.echo["headers"]["traceparent"] == f"00-{trace_id}-{client_span.span_id}-01"
    for record in (server_span, client_span, log):
        assert record.resource["service.name"] == "gateway"
        assert record.resource["service.namespace"] == "sdc"
        assert record.resource["service.instance.id"] == "gateway"
    assert log.attributes["request_id"] == answer.headers["x-request-id"] == server_span.attributes["guid:x-request-id"]
    assert (log.attributes["path"], log.attributes["status"], log.attributes["flags"]) == ("/a?b=c", "200", "-")
    assert log.attributes["upstream_host"] == f"127.0.0.1:{mesh.backend}"
    assert re.fullmatch(r'"GET /a\?b=c" 200 - \d+ ms', log.name)


@pytest.mark.parametrize(
    "broken",
    [
        "garbage",
        "",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-0b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ],
)
async def test_a_broken_traceparent_is_replaced_by_a_trace_of_its_own(broken, mesh):
    answer = await mesh.fetch(traceparent=broken, tracestate="vendor=1")

    _, trace_id, _, flags = answer.echo["headers"]["traceparent"].split("-")
    assert answer.headers["traceresponse"].split("-")[1] == trace_id != "0af7651916cd43dd8448eb211c80319c"
    assert flags == "01"
    assert "vendor" not in answer.echo["headers"].get("tracestate", "")


async def test_a_client_joins_its_own_trace_and_cannot_switch_tracing_off(mesh):
    answer = await mesh.fetch(traceparent=TRACEPARENT, tracestate="vendor=1", x_clover_kept_traceparent="forged")

    _, trace_id, _, flags = answer.echo["headers"]["traceparent"].split("-")
    assert (trace_id, flags) == ("0af7651916cd43dd8448eb211c80319c", "01")
    assert answer.echo["headers"]["tracestate"] == "vendor=1"
    assert not [name for name in answer.echo["headers"] if name.startswith("x-clover")]


async def test_a_request_id_from_outside_is_replaced_and_told_to_the_client(mesh):
    answer = await mesh.fetch(x_request_id="mine")

    assert answer.headers["x-request-id"] == answer.echo["headers"]["x-request-id"] != "mine"


async def test_answers_that_nobody_else_gave_carry_the_trace_too(mesh):
    await mesh.push(mesh.gateway(route(match=ir.RequestMatch(path=proxies.text("exact", "/only")))))
    answer = await mesh.fetch("/lost")

    assert answer.status == 404
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", answer.headers["traceresponse"])


async def test_paths_are_normalised_before_routes_see_them(mesh):
    await mesh.push(
        mesh.gateway(
            route(
                ir.DirectResponse(code=403),
                name="secret",
                match=ir.RequestMatch(path=proxies.text("prefix", "/secret")),
            ),
            route(),
        )
    )

    assert (await mesh.fetch("/open/../secret/x")).status == 403
    assert (await mesh.fetch("/%73ecret")).status == 403


async def test_faults_happen_on_the_route_that_has_them_and_nowhere_else(mesh):
    faulty = route(
        name="faulty",
        match=ir.RequestMatch(path=proxies.text("exact", "/faulty")),
        fault=ir.Fault(delay_s=0.2, delay_percent=100, abort_status=418, abort_percent=100),
    )
    await mesh.push(mesh.gateway(faulty, route()))
    began = asyncio.get_running_loop().time()

    assert (await mesh.fetch("/faulty")).status == 418
    assert asyncio.get_running_loop().time() - began > 0.19
    assert (await mesh.fetch("/")).status == 200


async def test_a_preflight_is_answered_by_the_route_that_has_a_policy(mesh):
    await mesh.push(
        mesh.gateway(
            route(cors=ir.Cors(origins=(proxies.text("exact", "https://a.example"),), methods=("PUT",))),
        )
    )
    asked = {"origin": "https://a.example", "access_control_request_method": "PUT"}
    answer = await mesh.fetch(method="OPTIONS", **asked)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-methods"] == "PUT"


async def test_a_share_of_requests_goes_where_its_weight_says_and_a_mirror_gets_a_copy(mesh):
    async with envoy.echoing() as other, envoy.echoing() as third:
        shares = ir.Forward(
            to=(
                ir.WeightedCluster(cluster=V1, weight=3),
                ir.WeightedCluster(cluster=V2, weight=1, response_headers=ir.HeaderChanges(set=(("x-share", "v2"),))),
            )
        )
        await mesh.push(
            mesh.gateway(
                route(shares, mirrors=(ir.Mirror(cluster=MAIN),)),
                backends={V1: mesh.backend, V2: other, MAIN: third},
            )
        )
        answers = [await mesh.fetch() for _ in range(200)]

        share = sum("x-share" in answer.headers for answer in answers)
        assert 25 <= share <= 80
        mirrored = f"cluster.{MAIN}.upstream_rq_total"
        async with asyncio.timeout(5):
            while (await mesh.proxy.stats("upstream_rq_total")).get(mirrored, 0) < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_change_of_the_path_the_host_and_the_headers_reaches_the_backend(mesh):
    changed = route(
        forward(MAIN, rewrite_regex=("^/old/(.*)$", "/new/\\1"), rewrite_authority="inner.example"),
        request_headers=ir.HeaderChanges(remove=("x-gone",), set=(("x-set", "1"),), add=(("x-set", "2"),)),
    )
    await mesh.push(mesh.gateway(changed))
    echo = (await mesh.fetch("/old/thing?q=1", x_gone="1", x_set="0")).echo

    assert echo["path"] == "/new/thing?q=1"
    assert echo["headers"]["host"] == "inner.example"
    assert "x-gone" not in echo["headers"]
    assert echo["headers"]["x-set"] == "2"  # two header lines, of which this backend keeps the last


@contextlib.asynccontextmanager
async def _gateway(directory):
    async with (
        envoy.echoing() as backend,
        server.serving(directory / "xds.sock") as control,
        envoy.envoy(directory, GATEWAY) as proxy,
    ):
        mesh = Mesh(control=control, proxy=proxy, port=free_port(), backend=backend)
        await mesh.push(mesh.gateway())
        yield mesh
