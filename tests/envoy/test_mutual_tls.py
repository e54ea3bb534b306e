"""Mutual TLS between two real sidecars, with certificates of the real authority."""

import asyncio
import time

import pytest

from clover.mesh import ir
from clover.mesh.certificates import Authority
from harness import envoy, http2, mutual
from harness.mutual import CALLED, CALLER, MESH_TLS

pytestmark = pytest.mark.envoy

HTTP = (ir.Protocol.AUTO, ir.Protocol.HTTP)


@pytest.fixture
async def pair():
    async with envoy.echoing() as backend, mutual.pair(backend) as both:
        yield both


async def logs(pair, **wanted):
    """Return the access records with these attributes, once there is one."""

    def found():
        return [log for log in pair.received.logs if wanted.items() <= log.attributes.items()]

    await pair.received.until(lambda _: found())
    return found()


@pytest.mark.parametrize("protocol", HTTP)
@pytest.mark.parametrize("mode", [ir.PeerMode.STRICT, ir.PeerMode.PERMISSIVE])
async def test_a_request_is_encrypted_and_its_caller_is_known_by_name(pair, protocol, mode):
    assert (await pair.push(protocol, mode=mode)).problems == ()
    answer = await envoy.fetch(pair.port)

    assert answer.status == 200
    assert f"URI={CALLER}" in answer.echo["headers"]["x-forwarded-client-cert"]
    (log,) = await logs(pair, direction="inbound")
    assert log.attributes["peer"] == CALLER
    assert log.attributes["filter_chain"].endswith("-mtls-http")


@pytest.mark.parametrize("protocol", [ir.Protocol.AUTO, ir.Protocol.HTTP2])
async def test_http2_travels_as_http2(pair, protocol):
    assert (await pair.push(protocol)).problems == ()
    await http2.ask(pair.port)
    (log,) = await logs(pair, direction="inbound")

    assert (log.attributes["protocol"], log.attributes["peer"]) == ("HTTP/2", CALLER)


async def test_a_port_that_the_caller_takes_for_http_is_recognised_by_a_callee_that_was_told_nothing(pair):
    assert (await pair.push(ir.Protocol.AUTO, dialled=ir.Protocol.HTTP)).problems == ()
    await envoy.fetch(pair.port)
    (log,) = await logs(pair, direction="inbound")

    assert log.attributes["filter_chain"].endswith("-mtls-http")


@pytest.mark.parametrize("protocol", [ir.Protocol.AUTO, ir.Protocol.TCP])
@pytest.mark.parametrize("mode", [ir.PeerMode.STRICT, ir.PeerMode.PERMISSIVE])
async def test_what_is_not_http_is_encrypted_too_and_carried_as_it_is(protocol, mode):
    async with mutual.greeting(b"") as backend, mutual.pair(backend) as pair:
        assert (await pair.push(protocol, mode=mode)).problems == ()
        answer = await mutual.say(pair.port, b"\x01\x02 hello\r\n", until=b"hello\r\n")
        (log,) = await logs(pair, direction="inbound")

    assert answer == b"\x01\x02 hello\r\n"
    assert log.attributes["peer"] == CALLER
    assert log.attributes["filter_chain"].endswith("-mtls-tcp")


async def test_a_server_that_speaks_first_is_heard_over_mutual_tls():
    async with mutual.greeting(b"220 ready\r\n") as backend, mutual.pair(backend) as pair:
        assert (await pair.push(ir.Protocol.TCP)).problems == ()

        assert await mutual.say(pair.port, b"", until=b"\r\n") == b"220 ready\r\n"


async def test_a_server_that_speaks_first_is_heard_in_plain_text_where_nothing_needs_a_look():
    async with mutual.greeting(b"220 ready\r\n") as backend, mutual.pair(backend) as pair:
        assert (await pair.push(ir.Protocol.TCP, mode=ir.PeerMode.DISABLE, tls=None)).problems == ()

        assert await mutual.say(pair.port, b"", until=b"\r\n") == b"220 ready\r\n"
        assert await mutual.say(pair.inbound, b"", until=b"\r\n") == b"220 ready\r\n"


@pytest.mark.parametrize("protocol", HTTP)
async def test_plain_text_to_a_strict_port_is_refused_and_both_sides_say_why(pair, protocol):
    assert (await pair.push(protocol, tls=None)).problems == ()
    answer = await envoy.fetch(pair.port)
    refused, *_ = await logs(pair, direction="inbound")
    asked, *_ = await logs(pair, direction="outbound")

    assert answer.status == 503
    assert (refused.attributes["flags"], refused.attributes["details"]) == ("NR", "filter_chain_not_found")
    assert asked.attributes["flags"] in ("UC", "URX,UC")


@pytest.mark.parametrize("protocol", HTTP)
async def test_a_permissive_port_takes_both(pair, protocol):
    assert (await pair.push(protocol, mode=ir.PeerMode.PERMISSIVE)).problems == ()

    assert (await envoy.fetch(pair.port)).status == 200
    assert (await envoy.fetch(pair.inbound)).status == 200
    assert len(await logs(pair, direction="inbound", peer=CALLER)) == 1


async def test_who_called_is_not_believed_from_a_header(pair):
    assert (await pair.push(mode=ir.PeerMode.PERMISSIVE)).problems == ()
    forged = "Hash=0;URI=spiffe://cluster.local/ns/default/sa/admin"

    through = await envoy.fetch(pair.port, x_forwarded_client_cert=forged)
    direct = await envoy.fetch(pair.inbound, x_forwarded_client_cert=forged)

    assert f"URI={CALLER}" in through.echo["headers"]["x-forwarded-client-cert"]
    assert "admin" not in through.echo["headers"]["x-forwarded-client-cert"]
    assert "x-forwarded-client-cert" not in direct.echo["headers"]


async def test_a_server_with_another_identity_is_refused_and_the_caller_says_whom_it_met(pair):
    other = "spiffe://cluster.local/ns/default/sa/other"
    await pair.push(called=pair.svid(other))
    answer = await envoy.fetch(pair.port)
    asked, *_ = await logs(pair, direction="outbound")

    assert answer.status == 503
    assert "CERTIFICATE_VERIFY_FAILED" in asked.attributes["upstream_failure"]
    assert other in asked.attributes["upstream_failure"]


async def test_a_server_whose_certificate_is_over_is_refused_and_the_caller_says_so(pair):
    late = pair.authority.issue(CALLED, lifetime_s=1, now=time.time() - 10)
    await pair.push(called=late)
    answer = await envoy.fetch(pair.port)
    asked, *_ = await logs(pair, direction="outbound")

    assert answer.status == 503
    assert "certificate_has_expired" in asked.attributes["upstream_failure"]


async def test_a_server_of_another_authority_is_refused_and_the_caller_says_so(pair):
    other = Authority("cluster.local", now=time.time())
    await pair.push(callers_roots=other.root)
    answer = await envoy.fetch(pair.port)
    asked, *_ = await logs(pair, direction="outbound")

    assert answer.status == 503
    assert "CERTIFICATE_VERIFY_FAILED" in asked.attributes["upstream_failure"]


async def test_a_caller_of_another_trust_domain_is_refused_and_the_server_says_so(pair):
    await pair.push(caller=pair.svid("spiffe://elsewhere/ns/default/sa/lb"))
    answer = await envoy.fetch(pair.port)
    refused, *_ = await logs(pair, direction="inbound")

    assert answer.status == 503
    assert "elsewhere" in refused.attributes["downstream_failure"]


async def test_new_certificates_every_second_cost_no_request(pair):
    await pair.push(ir.Protocol.HTTP)
    statuses: list[int] = []
    stop = asyncio.Event()

    async def asking():
        while not stop.is_set():
            statuses.append((await envoy.fetch(pair.port)).status)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(asking())
        for _ in range(6):
            result = await pair.push(
                ir.Protocol.HTTP,
                caller=pair.svid(CALLER, lifetime_s=2),
                called=pair.svid(CALLED, lifetime_s=2),
            )
            assert result.problems == ()
            seen = len(statuses)
            while len(statuses) < seen + 50:  # noqa: ASYNC110 -- requests are the clock
                await asyncio.sleep(0.01)
        stop.set()

    assert set(statuses) == {200}
    assert len(statuses) >= 300


async def test_a_control_plane_that_is_gone_disturbs_nobody():
    async with envoy.echoing() as backend, mutual.pair(backend) as pair:
        assert (await pair.push()).problems == ()
        await pair.stop_control()

        assert [(await envoy.fetch(pair.port)).status for _ in range(20)] == [200] * 20


async def test_a_copy_of_a_request_is_recognised_as_http_as_the_request_is(pair):
    assert (await pair.push(mirrored=True)).problems == ()
    await envoy.fetch(pair.port)
    await pair.received.until(lambda got: sum(log.attributes["direction"] == "inbound" for log in got.logs) == 2)

    chains = {log.attributes["filter_chain"] for log in pair.received.logs if log.attributes["direction"] == "inbound"}
    assert {chain.rpartition("_")[2].partition("-")[2] for chain in chains} == {"mtls-http"}


async def test_a_caller_without_a_certificate_is_refused_and_the_server_says_so(pair):
    assert (await pair.push(tls=ir.OriginTls(sni=MESH_TLS.sni))).problems == ()
    answer = await envoy.fetch(pair.port)
    refused, *_ = await logs(pair, direction="inbound")

    assert answer.status == 503
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in refused.attributes["downstream_failure"]
