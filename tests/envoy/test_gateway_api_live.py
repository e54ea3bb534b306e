"""A real Envoy at the gateway, told what the Gateway API's resources mean."""

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import grpc.aio
import pytest
import yaml

from clover.mesh import server, snapshot
from clover.mesh.istio.registry import ServicePort
from harness import backends, envoy, policies
from harness.ports import free_port

pytestmark = pytest.mark.envoy

LISTENER = 8090
REGISTRY = policies.with_ports(ServicePort(number=9180), ServicePort(number=9190, name="grpc-api"), service="server")


@pytest.fixture
def directory():
    """A folder whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


class Mesh:
    """The gateway of a small chain, whose services are on the loopback interface."""

    def __init__(self, control, found):
        self.control = control
        self.found = found
        self.ports = {service: backend.port for service, backend in found.items()}
        self.port = free_port()

    async def obey(self, *documents):
        """Put resources into force that have no problem worse than a warning; Envoy takes them."""
        text = yaml.safe_dump_all(documents)
        found = policies.problems(text, registry=REGISTRY)
        assert [str(problem) for problem in found if problem.severity == "error"] == []
        proxy = policies.proxies(text, registry=REGISTRY)["gateway"]
        proxy = dataclasses.replace(
            proxy,
            gateways=tuple(
                dataclasses.replace(port, port=self.port) for port in proxy.gateways if port.port == LISTENER
            ),
            endpoints=tuple(self._local(group) for group in proxy.endpoints),
        )
        generation = self.control.push({"gateway": snapshot.snapshot_from(proxy)})
        result = await self.control.acknowledged(generation, timeout_s=10)
        assert (result.accepted, result.problems) == (("gateway",), ())

    def _local(self, group):
        port = self.ports.get(group.cluster.rpartition("|")[2].partition(".")[0], 9)
        members = (
            dataclasses.replace(member, address="127.0.0.1", port=port, mtls=False) for member in group.members[:1]
        )
        return dataclasses.replace(group, members=tuple(members))

    async def ask(self, path="/", **more):
        return await envoy.fetch(self.port, path, **more)

    async def who(self, path="/", **more):
        """Return who answered, or the status of an answer that is nobody's."""
        answer = await self.ask(path, **more)
        return answer.headers.get("x-served-by", answer.status)


@pytest.fixture
async def mesh(directory):
    async with (
        backends.serving("server", "lb", "cache", "shadow") as found,
        server.serving(directory / "xds.sock") as control,
        envoy.envoy(directory, policies.proxies()["gateway"].identity),
    ):
        yield Mesh(control, found)


def gateway(*listeners):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web"},
        "spec": {
            "gatewayClassName": "istio",
            "listeners": [
                {"name": f"l{index}", "port": LISTENER, "protocol": "HTTP"} | listener
                for index, listener in enumerate(listeners or ({},))
            ],
        },
    }


def http(*rules, name="r", kind="HTTPRoute", parent=None, hostnames=()):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [parent or {"name": "web"}],
            **({"hostnames": list(hostnames)} if hostnames else {}),
            "rules": list(rules),
        },
    }


def rule(*backend_refs, match=None, matches=None, filters=(), **more):
    return {
        **({"matches": matches or [match]} if match or matches else {}),
        **({"filters": list(filters)} if filters else {}),
        **({"backendRefs": [to(one) if isinstance(one, str) else one for one in backend_refs]} if backend_refs else {}),
        **more,
    }


def to(name, port=9180, **more):
    return {"name": name, "port": port, **more}


def prefix(value, **more):
    return {"path": {"type": "PathPrefix", "value": value}, **more}


async def test_paths_headers_queries_and_methods_choose_the_backend_that_says_most(mesh):
    await mesh.obey(
        gateway(),
        http(
            rule("server"),
            rule("cache", match={"path": {"type": "RegularExpression", "value": "/n[0-9]+"}}),
            rule("lb", match=prefix("/a")),
            rule("cache", match=prefix("/a/b/")),
            rule("shadow", match={"path": {"type": "Exact", "value": "/a"}}),
            rule("cache", match=prefix("/m", method="POST")),
            rule("lb", match=prefix("/m", headers=[{"name": "X-One", "value": "1"}])),
            rule(
                "shadow",
                match=prefix("/m", headers=[{"name": "x-one", "value": "1"}, {"name": "x-two", "value": "2"}]),
            ),
            rule(
                "cache",
                match=prefix("/q", queryParams=[{"name": "v", "type": "RegularExpression", "value": "[0-9]"}]),
            ),
        ),
    )

    assert await mesh.who("/") == "server"
    assert [await mesh.who(path) for path in ("/a", "/a/", "/a/x", "/ab")] == ["shadow", "lb", "lb", "server"]
    assert [await mesh.who(path) for path in ("/a/b", "/a/b/", "/a/b/c", "/a/bc")] == ["cache", "cache", "cache", "lb"]
    assert await mesh.who("/m", method="POST", x_one="1", x_two="2") == "cache"
    assert await mesh.who("/m", x_one="1") == "lb"
    assert await mesh.who("/m", x_one="1", x_two="2") == "shadow"
    assert await mesh.who("/m") == "server"
    assert [await mesh.who(path) for path in ("/q?v=1", "/q?v=12", "/q")] == ["cache", "server", "server"]
    # As on Istio an expression comes last: the rule for everything has the request.
    assert await mesh.who("/n1") == "server"


async def test_a_request_that_no_rule_takes_is_answered_with_404(mesh):
    await mesh.obey(gateway(), http(rule("server", match=prefix("/a")), hostnames=["a.example.com"]))

    assert await mesh.who("/a", host="a.example.com") == "server"
    assert await mesh.who("/a", host=f"a.example.com:{mesh.port}") == "server"
    assert await mesh.who("/b", host="a.example.com") == 404
    assert await mesh.who("/a", host="b.example.com") == 404


async def test_hosts_belong_to_the_listener_and_the_route_that_say_most(mesh):
    await mesh.obey(
        gateway({}, {"hostname": "*.example.com"}, {"hostname": "own.example.com"}),
        http(rule("server"), name="all", parent={"name": "web", "sectionName": "l0"}),
        http(rule("lb"), name="wild", parent={"name": "web", "sectionName": "l1"}),
        http(
            rule("cache", match=prefix("/a")),
            name="one",
            parent={"name": "web", "sectionName": "l1"},
            hostnames=["a.example.com", "own.example.com"],
        ),
    )

    assert await mesh.who(host="else.net") == "server"
    assert await mesh.who(host="b.example.com") == "lb"
    assert await mesh.who("/a", host="a.example.com") == "cache"
    assert await mesh.who("/b", host="a.example.com") == "lb"
    assert await mesh.who("/a", host="own.example.com") == 404


async def test_headers_are_changed_on_the_way_there_and_back(mesh):
    await mesh.obey(
        gateway(),
        http(
            rule(
                to(
                    "server",
                    filters=[
                        {
                            "type": "RequestHeaderModifier",
                            "requestHeaderModifier": {"set": [{"name": "x-share", "value": "%s"}]},
                        }
                    ],
                ),
                filters=[
                    {
                        "type": "RequestHeaderModifier",
                        "requestHeaderModifier": {
                            "set": [{"name": "x-set", "value": "100% %START_TIME%"}],
                            "add": [{"name": "x-add", "value": "2"}],
                            "remove": ["x-gone"],
                        },
                    },
                    {
                        "type": "ResponseHeaderModifier",
                        "responseHeaderModifier": {"add": [{"name": "x-back", "value": "b"}], "remove": ["x-drop"]},
                    },
                ],
            )
        ),
    )

    answer = await mesh.ask(x_set="old", x_add="1", x_gone="1")

    seen = answer.echo["headers"]
    assert (seen["x-set"], seen["x-share"]) == ("100% %START_TIME%", "%s")
    assert seen["x-add"] in ("1,2", "2")  # two lines of one name, of which the backend keeps the last
    assert "x-gone" not in seen
    assert (answer.headers["x-back"], "x-drop" in answer.headers) == ("b", False)


@pytest.mark.parametrize(
    ("match", "replacement", "expected"),
    [
        ("/foo", "/xyz", {"/foo/bar": "/xyz/bar", "/foo": "/xyz", "/foo/": "/xyz/", "/foo?a=b": "/xyz?a=b"}),
        ("/foo/", "/xyz/", {"/foo/bar": "/xyz/bar", "/foo": "/xyz"}),
        ("/foo", "", {"/foo/bar": "/bar", "/foo": "/", "/foo/": "/", "/foo?a=b": "/?a=b"}),
        ("/foo", "/", {"/foo/bar": "/bar", "/foo": "/", "/foo/": "/"}),
        ("/", "/xyz", {"/bar": "/xyz/bar", "/": "/xyz/"}),
        ("/a.b", "/x\\1", {"/a.b/c": "/x\\1/c"}),
    ],
)
async def test_a_prefix_is_replaced_by_whole_segments(mesh, match, replacement, expected):
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}
    rewrite = rule("server", match=prefix(match), filters=[{"type": "URLRewrite", "urlRewrite": {"path": path}}])
    await mesh.obey(gateway(), http(rewrite))

    assert {asked: (await mesh.ask(asked)).echo["path"] for asked in expected} == expected

    await mesh.obey(
        gateway(),
        http(rule(match=prefix(match), filters=[{"type": "RequestRedirect", "requestRedirect": {"path": path}}])),
    )

    found = {asked: urlsplit((await mesh.ask(asked)).headers["location"]) for asked in expected}
    assert {asked: url.path + (f"?{url.query}" if url.query else "") for asked, url in found.items()} == expected


async def test_the_host_and_the_whole_path_are_rewritten(mesh):
    path = {"type": "ReplaceFullPath", "replaceFullPath": "/one"}
    filters = [{"type": "URLRewrite", "urlRewrite": {"hostname": "in.example.com", "path": path}}]
    await mesh.obey(gateway(), http(rule("server", filters=filters)))

    seen = (await mesh.ask("/a/b?c=d")).echo
    assert (seen["path"], seen["headers"]["host"]) == ("/one?c=d", "in.example.com")


@pytest.mark.parametrize(
    ("redirect", "code", "location"),
    [
        ({"hostname": "new.example.com"}, 302, f"http://new.example.com:{LISTENER}/a?b=c"),
        ({"scheme": "https", "hostname": "new.example.com", "statusCode": 308}, 308, "https://new.example.com/a?b=c"),
        ({"port": 8443, "statusCode": 301}, 301, "http://old.example.com:8443/a?b=c"),
        ({"scheme": "https"}, 302, "https://old.example.com:443/a?b=c"),
        ({"hostname": "n.example.com", "port": 80, "statusCode": 303}, 303, "http://n.example.com/a?b=c"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}, "statusCode": 307}, 307, None),
    ],
)
async def test_a_redirect_goes_where_the_specification_says(mesh, redirect, code, location):
    await mesh.obey(gateway(), http(rule(filters=[{"type": "RequestRedirect", "requestRedirect": redirect}])))

    answer = await mesh.ask("/a?b=c", host=f"old.example.com:{mesh.port}")

    assert (answer.status, answer.headers["location"]) == (
        code,
        location or f"http://old.example.com:{LISTENER}/x?b=c",
    )


async def test_weights_share_requests_out_and_what_is_not_there_answers_500(mesh):
    await mesh.obey(
        gateway(),
        http(
            rule(to("server", weight=1), to("nothing", weight=1), to("lb", weight=0), match=prefix("/half")),
            rule(to("nothing"), match=prefix("/all")),
            rule(match=prefix("/none")),
            rule(to("server", weight=0), match=prefix("/zero")),
            rule(to("server", weight=9), to("lb", weight=1), match=prefix("/tenth")),
        ),
    )

    half = [await mesh.who("/half") for _ in range(60)]
    assert set(half) == {"server", 500}
    assert 12 <= half.count(500) <= 48
    assert [await mesh.who(path) for path in ("/all", "/none", "/zero")] == [500, 500, 500]
    tenth = [await mesh.who("/tenth") for _ in range(100)]
    assert 1 <= tenth.count("lb") <= 30


async def test_copies_go_to_every_mirror_and_to_none_that_is_not_there(mesh):
    mirrors = [
        {"type": "RequestMirror", "requestMirror": {"backendRef": to(name), **more}}
        for name, more in (("shadow", {}), ("lb", {"percent": 100}), ("cache", {"percent": 0}), ("nothing", {}))
    ]
    await mesh.obey(gateway(), http(rule("server", filters=mirrors)))

    assert await mesh.who("/copied") == "server"
    await mesh.found["shadow"].got(1)
    await mesh.found["lb"].got(1)
    assert mesh.found["shadow"].asked[0]["path"] == "/copied"
    assert mesh.found["cache"].asked == []


async def test_time_limits_end_requests_and_attempts(mesh):
    await mesh.obey(
        gateway(),
        http(
            rule("server", match=prefix("/slow/request"), timeouts={"request": "150ms"}),
            rule("server", match=prefix("/slow/attempt"), timeouts={"request": "0s", "backendRequest": "100ms"}),
            rule("server", timeouts={"request": "5s", "backendRequest": "5s"}),
        ),
    )

    assert await mesh.who("/slow/request") == 504
    assert await mesh.who("/slow/attempt") == 504
    assert await mesh.who("/quick") == "server"


async def test_other_origins_may_ask_as_far_as_the_route_says(mesh):
    cors = {
        "allowOrigins": ["https://a.example.com", "https://*.b.example.com"],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-a"],
        "allowCredentials": True,
        "maxAge": 60,
    }
    await mesh.obey(gateway(), http(rule("server", filters=[{"type": "CORS", "cors": cors}])))

    async def preflight(origin):
        return await mesh.ask(method="OPTIONS", origin=origin, access_control_request_method="PUT")

    for origin in ("https://a.example.com", "https://x.y.b.example.com"):
        answer = await preflight(origin)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-methods"] == "GET,PUT"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-max-age"] == "60"
    for origin in ("https://evil.example.com", "http://a.example.com", "https://b.example.com"):
        assert "access-control-allow-origin" not in (await preflight(origin)).headers
    assert mesh.found["server"].asked == []
    assert (await mesh.ask(origin="https://a.example.com")).headers["x-served-by"] == "server"


async def test_a_star_allows_what_is_asked_for_also_with_credentials(mesh):
    cors = {"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": True}
    await mesh.obey(gateway(), http(rule("server", filters=[{"type": "CORS", "cors": cors}])))

    answer = await mesh.ask(
        method="OPTIONS",
        origin="https://a.example.com",
        access_control_request_method="PUT",
        access_control_request_headers="x-y",
    )

    assert {name: value for name, value in answer.headers.items() if name.startswith("access-control-")} == {
        "access-control-allow-origin": "https://a.example.com",
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "x-y",
        "access-control-allow-credentials": "true",
        "access-control-max-age": "5",
    }


async def test_grpc_calls_are_chosen_by_service_and_method_and_nothing_else_is(mesh):
    async def echo(request, context):
        await context.send_initial_metadata((("x-path", context.path if hasattr(context, "path") else ""),))
        return request

    class Everything(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(echo)

    calls = grpc.aio.server()
    calls.add_generic_rpc_handlers((Everything(),))
    mesh.ports["server"] = calls.add_insecure_port("127.0.0.1:0")
    await calls.start()
    try:
        await mesh.obey(
            gateway(),
            http(
                rule(to("server", 9190), match={"method": {"service": "shop.Cart", "method": "Add"}}),
                rule(
                    to("server", 9190),
                    match={
                        "method": {"type": "RegularExpression", "service": "shop\\..*", "method": "Lis."},
                        "headers": [{"name": "x-user", "value": "a"}],
                    },
                ),
                rule(to("nothing", 1), match={"method": {"service": "lost.Service"}}),
                kind="GRPCRoute",
            ),
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.port}") as channel:

            async def call(path, **metadata):
                method = channel.unary_unary(path)
                try:
                    given = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
                    return await method(b"hello", metadata=given, timeout=10)
                except grpc.aio.AioRpcError as failure:
                    return failure.code()

            assert await call("/shop.Cart/Add") == b"hello"
            assert await call("/shop.Cart/Remove") is grpc.StatusCode.UNIMPLEMENTED
            assert await call("/shop.Any/List", x_user="a") == b"hello"
            assert await call("/shop.Any/List") is grpc.StatusCode.UNIMPLEMENTED
            assert await call("/lost.Service/Any") is grpc.StatusCode.UNAVAILABLE
        assert await mesh.who("/shop.Cart/Add", method="POST", content_type="text/plain") == 404
    finally:
        await calls.stop(None)


async def test_requests_under_way_are_not_lost_when_routes_change(mesh):
    await mesh.obey(gateway(), http(rule("server")))
    async with asyncio.TaskGroup() as tasks:
        under_way = tasks.create_task(mesh.who("/slow/one"))
        await mesh.found["server"].got(1)

        await mesh.obey(gateway(), http(rule("lb")))
        mesh.found["server"].released.set()

    assert under_way.result() == "server"
    assert await mesh.who("/") == "lb"
