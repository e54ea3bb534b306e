"""Authorization at a real sidecar: who passes, who does not, and what the records say about it."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from envoy.service.auth.v3 import external_auth_pb2
from envoy.type.v3 import http_status_pb2
from google.rpc import code_pb2

from harness import envoy, guarding
from harness.guarding import authorizing_grpc, authorizing_http, by, policy, to, when
from harness.ports import free_port

pytestmark = pytest.mark.envoy

DENIED = "rbac_access_denied_matched_policy"
PATH = to(paths=["/open", "/under/*", "/user/{*}/name"])


@pytest.fixture
async def app():
    async with envoy.echoing() as backend, guarding.guarded(backend) as sidecar:
        yield sidecar


@pytest.mark.parametrize(
    ("rule", "passing", "denied"),
    [
        (PATH, {"path": "/open?query=x"}, {"path": "/opened"}),
        (PATH, {"path": "/under/x"}, {"path": "/under"}),
        (PATH, {"path": "/user/42/name"}, {"path": "/user/4/2/name"}),
        (PATH, {"path": "/else/../open"}, {"path": "/open/../else"}),
        (to(methods=["GET"]), {}, {"method": "POST"}),
        (to(notMethods=["P*"]), {"method": "DELETE"}, {"method": "PUT"}),
        (to(hosts=["*.example.com"]), {"host": "A.EXAMPLE.com"}, {"host": "example.com"}),
        (when("request.headers[x-tier]", "gold", "silver*"), {"x_tier": "silver-2"}, {"x_tier": "lead"}),
        (when("request.headers[x-tier]", "*"), {"x_tier": "any"}, {}),
        (
            by(remoteIpBlocks=["203.0.113.0/24"]),
            {"x_forwarded_for": "1.2.3.4, 203.0.113.9"},
            {"x_forwarded_for": "1.2.3.4"},
        ),
        (by(ipBlocks=["127.0.0.1"]) | to(paths=["/x"]), {"path": "/x"}, {"path": "/y"}),
        (when("destination.ip", "127.0.0.0/8") | to(paths=["/x"]), {"path": "/x"}, {"path": "/y"}),
    ],
    ids=str,
)
async def test_only_what_a_policy_allows_passes(app, rule, passing, denied):
    await app.obey(policy("only", [rule]))

    assert await app.status(**passing) == 200
    assert await app.status(**denied) == 403


async def test_whoever_asks_from_elsewhere_is_denied(app):
    await app.obey(policy("elsewhere", [by(ipBlocks=["192.0.2.0/24"])]))

    assert await app.status() == 403


async def test_without_a_policy_everything_passes(app):
    await app.obey()

    assert await app.status() == 200


async def test_a_policy_without_rules_allows_nothing_and_the_record_says_that_none_did(app):
    await app.obey(policy("nothing", None))
    answer = await app.fetch()

    assert (answer.status, answer.body) == (403, b"RBAC: access denied")
    assert (await app.record(status="403")).attributes["details"] == f"{DENIED}[none]"


async def test_who_denies_is_asked_before_who_allows(app):
    await app.obey(
        policy("all", [{}]) + policy("no-admin", [to(methods=["PUT"]), to(paths=["/admin*"])], action="DENY")
    )

    assert (await app.status("/admin/x"), await app.status("/x")) == (403, 200)
    record = await app.record(status="403")
    assert record.attributes["details"] == f"{DENIED}[ns[default]-policy[no-admin]-rule[1]]"


async def test_one_of_several_policies_is_enough_to_allow(app):
    await app.obey(policy("a", [to(paths=["/a"])]) + policy("b", [to(paths=["/b"])]) + policy("none", None))

    assert [await app.status(path) for path in ("/a", "/b", "/c")] == [200, 200, 403]


async def test_a_policy_that_is_tried_denies_nobody(app):
    tried = policy("tried", [to(paths=["/x"])], action="DENY", dry_run=True) + policy("narrow", None, dry_run=True)
    await app.obey(tried)

    assert await app.status("/x") == 200
    counted = await app.proxy.stats("^http.inbound.rbac.istio_dry_run_.*shadow_denied")
    assert set(counted.values()) == {1}


async def test_a_policy_that_is_tried_is_no_reason_to_deny_what_no_other_allows(app):
    await app.obey(policy("tried", [to(paths=["/x"])], dry_run=True))

    assert await app.status("/y") == 200


async def test_what_is_noted_passes(app):
    await app.obey(policy("note", [to(paths=["/x"])], action="AUDIT"))

    assert (await app.status("/x"), await app.status("/y")) == (200, 200)


async def test_a_grpc_call_that_is_denied_gets_a_status_of_grpc(app):
    await app.obey(policy("nothing", None), port_name="grpc")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/clover.control.v1.Ambassador/Get")(b"", timeout=10)

    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert failure.value.details() == "RBAC: access denied"


async def test_of_a_detected_port_http_and_the_rest_are_guarded_alike(app):
    await app.obey(policy("read", [to(methods=["GET"])]), port_name="")

    assert (await app.status(), await app.status(method="POST")) == (200, 403)
    assert await said(app.port, b"\x01\x02\r\n\r\n") == b""
    record = await app.record(terminal=f"{DENIED}[none]")
    assert "method" not in record.attributes


# ---- TCP


async def said(port, text):
    """Send bytes and return what comes back before the connection ends or three seconds are over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(10):
            writer.write(text)
            with contextlib.suppress(ConnectionError):
                while b"}}" not in answer and (more := await reader.read(4096)):
                    answer += more
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


WORDS = b"\x16\x03 /x y\r\n\r\n"


async def test_a_connection_that_is_denied_is_closed_and_the_record_names_the_rule(app):
    await app.obey(policy("none-from-here", [by(ipBlocks=["127.0.0.0/8"])], action="DENY"), port_name="tcp")

    assert await said(app.port, WORDS) == b""
    record = await app.record(terminal=f"{DENIED}[ns[default]-policy[none-from-here]-rule[0]]")
    assert record.attributes["direction"] == "inbound"


async def test_a_rule_about_http_allows_no_connection_and_one_without_does(app):
    await app.obey(policy("get", [to(methods=["GET"])]), port_name="tcp")
    closed = await said(app.port, WORDS)
    await app.obey(policy("get", [to(methods=["GET"]), to(ports=[str(app.port)])]), port_name="tcp")
    carried = await said(app.port, WORDS)

    assert closed == b""
    assert b"200 OK" in carried


async def test_a_rule_that_denies_some_of_http_denies_every_connection(app):
    await app.obey(policy("no-delete", [to(methods=["DELETE"])], action="DENY"), port_name="tcp")

    assert await said(app.port, WORDS) == b""


# ---- CUSTOM

ASK = policy("ask", [to(paths=["/ask*"])], action="CUSTOM", provider={"name": "mine"})


def by_key(seen):
    """Say yes to whoever knows the key."""
    if seen.get("x-key") == "sesame":
        return 200, {"x-user": "ali", "x-secret": "for upstream", "x-seen": "yes"}
    return 401, {"x-why": "no key", "x-hidden": "not for clients"}


async def test_an_authorizer_is_asked_over_http_about_what_its_policy_matches(app):
    asked = []

    def verdict(seen):
        asked.append(seen)
        return by_key(seen)

    fields = {
        "pathPrefix": "/check",
        "includeRequestHeadersInCheck": ["x-key"],
        "includeAdditionalHeadersInCheck": {"x-from": "clover"},
        "headersToUpstreamOnAllow": ["x-user"],
        "headersToDownstreamOnDeny": ["x-why"],
        "headersToDownstreamOnAllow": ["x-seen"],
    }
    async with authorizing_http(verdict) as port:
        await app.obey(ASK, asking=("http", port, fields))
        elsewhere, good, bad = (
            await app.fetch("/else"),
            await app.fetch("/ask/x?y", x_key="sesame"),
            await app.fetch("/ask/x"),
        )

    assert (elsewhere.status, good.status, bad.status) == (200, 200, 401)
    assert (good.echo["headers"]["x-user"], good.headers["x-seen"]) == ("ali", "yes")
    assert "x-secret" not in good.echo["headers"]
    assert bad.headers["x-why"] == "no key"
    assert "x-hidden" not in bad.headers
    assert [(seen[":path"], seen["x-from"]) for seen in asked] == [
        ("/check/ask/x?y", "clover"),
        ("/check/ask/x", "clover"),
    ]
    record = await app.record(status="401")
    assert (record.attributes["details"], record.attributes["flags"]) == ("ext_authz_denied", "UAEX")


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 403), ({"statusOnError": "503"}, 503), ({"failOpen": True}, 200)],
    ids=str,
)
@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_an_authorizer_that_is_not_there_lets_pass_only_if_it_is_said(app, kind, fields, status):
    await app.obey(ASK, asking=(kind, free_port(), {"timeout": 2.0, **fields}))

    assert await app.status("/ask") == status
    assert await app.status("/else") == 200


async def knows_key(request):
    headers = request.attributes.request.http.headers
    if not headers:  # A connection, not a request.
        port = request.attributes.source.address.socket_address.port_value
        return external_auth_pb2.CheckResponse(status={"code": code_pb2.OK if port % 2 else code_pb2.PERMISSION_DENIED})
    if headers.get("x-key") == "sesame":
        return external_auth_pb2.CheckResponse(status={"code": code_pb2.OK})
    response = external_auth_pb2.CheckResponse(status={"code": code_pb2.PERMISSION_DENIED})
    response.denied_response.status.code = http_status_pb2.Unauthorized
    response.denied_response.body = "no key"
    return response


async def test_an_authorizer_is_asked_over_grpc(app):
    async with authorizing_grpc(knows_key) as port:
        await app.obey(ASK, asking=("grpc", port, {}))
        good, bad = await app.fetch("/ask", x_key="sesame"), await app.fetch("/ask")

    assert (good.status, bad.status, bad.body) == (200, 401, b"no key")


async def test_an_authorizer_is_shown_as_much_of_a_body_as_is_said(app):
    bodies = []

    async def verdict(request):
        bodies.append(request.attributes.request.http.body)
        return external_auth_pb2.CheckResponse(status={"code": code_pb2.OK})

    body = {"includeRequestBodyInCheck": {"maxRequestBytes": 4, "allowPartialMessage": True}}
    async with authorizing_grpc(verdict) as port:
        await app.obey(ASK, asking=("grpc", port, body))
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"POST /ask HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nabcdefgh")
        async with asyncio.timeout(10):
            top = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    assert (top[:12], bodies) == (b"HTTP/1.1 200", ["abcd"])


async def test_an_authorizer_that_says_yes_does_not_overrule_who_denies(app):
    async with authorizing_http(lambda _: (200, {})) as port:
        await app.obey(ASK + policy("no", [to(paths=["/ask/no"])], action="DENY"), asking=("http", port, {}))

        assert (await app.status("/ask/yes"), await app.status("/ask/no")) == (200, 403)


async def test_an_authorizer_is_asked_about_connections(app):
    connections = policy("ask", [{}], action="CUSTOM", provider={"name": "mine"})

    async def never(_request):
        return external_auth_pb2.CheckResponse(status={"code": code_pb2.PERMISSION_DENIED})

    async def always(_request):
        return external_auth_pb2.CheckResponse(status={"code": code_pb2.OK})

    for verdict, expected in ((never, False), (always, True)):
        async with authorizing_grpc(verdict) as port:
            await app.obey(connections, port_name="tcp", asking=("grpc", port, {}))
            assert (b"200 OK" in await said(app.port, WORDS)) is expected


# ---- what records say


async def test_a_record_says_what_a_tried_policy_would_have_done(app):
    await app.obey(
        policy("tried", [to(paths=["/x"])], action="DENY", dry_run=True)
        + policy("narrow", [to(paths=["/z"])], dry_run=True)
    )
    for path in ("/x", "/y", "/z"):
        await app.status(path)

    said = [(await app.record(path=path)).attributes for path in ("/x", "/y", "/z")]
    assert [one.get("dry_run_deny") for one in said] == ["ns[default]-policy[tried]-rule[0]", "-", "-"]
    assert [one.get("dry_run_allow") for one in said] == ["denied", "denied", "allowed"]


async def test_a_record_says_that_a_request_was_noted(app):
    await app.obey(policy("note", [to(paths=["/x"])], action="AUDIT"))
    await app.status("/x")
    await app.status("/y")

    assert [(await app.record(path=path)).attributes["audited"] for path in ("/x", "/y")] == ["true", "false"]


@pytest.mark.parametrize("port_name", ["http", "tcp"])
async def test_a_record_names_the_policies_that_did_not_allow_it(app, port_name):
    await app.obey(policy("a", [to(paths=["/a"])]) + policy("b", None), port_name=port_name)
    await said(app.port, b"GET /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    record = await app.record(direction="inbound")
    assert record.attributes["allow_policies"] == "default/a, default/b"


async def test_a_record_names_the_policy_for_which_an_authorizer_was_asked(app):
    async with authorizing_http(lambda _: (403, {})) as port:
        await app.obey(ASK, asking=("http", port, {}))
        await app.status("/ask")

    record = await app.record(status="403")
    assert record.attributes["asked_for"] == "istio-ext-authz-mine-ns[default]-policy[ask]-rule[0]"
