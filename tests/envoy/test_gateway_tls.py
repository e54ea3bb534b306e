"""A real gateway with certificates from files: who is served, by which name, and who is turned away."""

import asyncio
import contextlib
import json
import ssl
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clover.mesh import ir, server, snapshot
from clover.mesh.credential_files import CredentialFiles
from harness import envoy, proxies
from harness.mutual import greeting
from harness.ports import free_port
from harness.proxies import GATEWAY, LB, cluster_name, members
from harness.web_certificates import Issuer

pytestmark = pytest.mark.envoy

MAIN = cluster_name(LB)
ISSUER, OTHERS = Issuer(), Issuer("Other")
SHOP = ir.ServerTls(identity="kubernetes://shop", words=("h2", "http/1.1"))
BLOG = ir.ServerTls(identity="kubernetes://blog", words=("h2", "http/1.1"))
THERE = (ir.WeightedCluster(cluster=MAIN),)


@dataclass(slots=True, kw_only=True)
class Edge:
    """A gateway at `port`, and where its files are."""

    control: server.Server
    port: int
    folder: Path
    backend: int

    async def serve(self, *servers: ir.GatewayServer, tls: ir.OriginTls | None = None, **more) -> None:
        """Bring servers into force, with the secrets that the files say."""
        gate = ir.GatewayPort(address="127.0.0.1", port=self.port, servers=servers, **more)
        proxy = replace(
            proxies.gateway(
                clusters=(ir.Cluster(name=MAIN, tls=tls, protocol=ir.Protocol.HTTP),),
                endpoints=(members(MAIN, "127.0.0.1", port=self.backend),),
            ),
            gateways=(gate,),
        )
        whole = snapshot.snapshot_from(proxy)
        held, problems = CredentialFiles(self.folder).secrets(snapshot.missing_secrets([whole]), {})
        assert problems == ()
        whole = snapshot.with_secrets(whole, held)
        assert snapshot.check(whole) == ()
        result = await self.control.acknowledged(self.control.push({"gateway": whole}), timeout_s=10)
        assert result.accepted == ("gateway",), result

    async def ask(self, host: str, *, certificate: Path | None = None, **headers: str) -> tuple[str, dict]:
        """Ask over TLS; return the status line and what the backend says it was asked."""
        async with self.connection(host, certificate) as (reader, writer):
            given = {"host": host, "connection": "close", **headers}
            writer.write(("GET / HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in given.items()) + "\r\n").encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            return head.partition("\r\n")[0], json.loads(await reader.readexactly(length))["headers"]

    @contextlib.asynccontextmanager
    async def connection(self, host: str, certificate: Path | None = None):
        context = ssl.create_default_context(cadata=ISSUER.root.decode())
        if certificate:
            context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=host)
            try:
                yield reader, writer
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()


@contextlib.asynccontextmanager
async def edge(backend: int):
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        directory = Path(name)
        for host in ("shop", "blog"):
            ISSUER.issue(f"{host}.example").write(directory / "credentials" / host, authority=ISSUER.root)
        ISSUER.issue("client.example").write(directory / "client")
        OTHERS.issue("client.example").write(directory / "stranger")
        async with server.serving(directory / "xds.sock") as control, envoy.envoy(directory, GATEWAY):
            yield Edge(control=control, port=free_port(), folder=directory, backend=backend)


@pytest.fixture
async def at_the_edge():
    async with envoy.echoing() as backend, edge(backend) as found:
        yield found


def https(host: str, tls: ir.ServerTls) -> ir.GatewayServer:
    return ir.GatewayServer(name=host, hosts=(host,), tls=tls, routes="http.8080")


async def test_each_name_has_its_own_certificate(at_the_edge):
    await at_the_edge.serve(https("shop.example", SHOP), https("blog.example", BLOG))

    for host in ("shop.example", "blog.example"):
        status, seen = await at_the_edge.ask(host)
        assert status == "HTTP/1.1 200 OK"
        assert (seen["host"], seen["x-forwarded-proto"]) == (host, "https")


async def test_a_name_that_nobody_serves_is_turned_away(at_the_edge):
    await at_the_edge.serve(https("shop.example", SHOP))

    with pytest.raises((ConnectionError, ssl.SSLError)):
        await at_the_edge.ask("blog.example")


async def test_a_client_proves_who_it_is_and_the_chain_is_told(at_the_edge):
    mutual = replace(SHOP, roots="kubernetes://shop-cacert", names=("client.example",))
    await at_the_edge.serve(https("shop.example", mutual))
    forged = {"x-forwarded-client-cert": "Hash=0;DNS=admin.example"}
    _, seen = await at_the_edge.ask("shop.example", certificate=at_the_edge.folder / "client", **forged)

    assert "DNS=client.example" in seen["x-forwarded-client-cert"]
    assert "admin" not in seen["x-forwarded-client-cert"]
    for certificate in (None, at_the_edge.folder / "stranger"):
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await at_the_edge.ask("shop.example", certificate=certificate)


async def test_a_client_may_do_without_a_certificate_where_it_is_optional(at_the_edge):
    optional = replace(SHOP, roots="kubernetes://shop-cacert", optional=True)
    await at_the_edge.serve(https("shop.example", optional))
    _, seen = await at_the_edge.ask("shop.example", **{"x-forwarded-client-cert": "DNS=admin.example"})

    assert "x-forwarded-client-cert" not in seen


async def test_bytes_inside_tls_are_carried_as_they_are():
    async with greeting(b"220 ready\r\n") as backend, edge(backend) as found:
        carried = ir.GatewayServer(
            name="tcp", hosts=("shop.example",), tls=replace(SHOP, words=()), tcp=(ir.TcpRoute(name="a", to=THERE),)
        )
        await found.serve(carried)
        async with found.connection("shop.example") as (reader, writer):
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"hello\r\n")
            assert await reader.readline() == b"hello\r\n"


async def test_tls_that_is_not_ended_shows_the_certificate_of_the_server_behind():
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        pair = ISSUER.issue("through.example").write(Path(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
        async with greeting(b"220 ready\r\n", context) as backend, edge(backend) as found:
            route = ir.TcpRoute(name="a", to=THERE, server_names=("through.example",), tls=True)
            await found.serve(ir.GatewayServer(name="through", tcp=(route,)), https("shop.example", SHOP))
            async with found.connection("through.example") as (reader, _):
                assert await reader.readline() == b"220 ready\r\n"


async def test_plain_http_is_sent_to_https(at_the_edge):
    table = ir.RouteTable(
        name="http.8080",
        virtual_hosts=(ir.VirtualHost(name="*:80", domains=("*",), routes=(), only_tls=True),),
    )
    gate = ir.GatewayPort(address="127.0.0.1", port=at_the_edge.port, routes="http.8080")
    whole = snapshot.snapshot_from(replace(proxies.gateway(), gateways=(gate,), tables=(table,)))
    control = at_the_edge.control
    assert (await control.acknowledged(control.push({"gateway": whole}), timeout_s=10)).accepted == ("gateway",)
    answer = await envoy.fetch(at_the_edge.port, "/a?b=c", host="shop.example")

    assert (answer.status, answer.headers["location"]) == (301, "https://shop.example/a?b=c")


@pytest.mark.parametrize(
    ("tls", "status"),
    [
        (ir.OriginTls(sni="origin.example", roots="file-root:client/ca.crt"), 200),
        (ir.OriginTls(roots="file-root:client/ca.crt"), 200),
        (ir.OriginTls(sni="origin.example", names=("origin.example",), roots="file-root:client/ca.crt"), 200),
        (ir.OriginTls(sni="other.example", roots="file-root:client/ca.crt"), 503),
        (ir.OriginTls(sni="origin.example", roots="file-root:stranger/ca.crt"), 503),
        (ir.OriginTls(sni="origin.example"), 200),
    ],
)
async def test_a_server_outside_is_believed_by_its_authority_and_its_name(tls, status):
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        pair = ISSUER.issue("origin.example").write(Path(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
        async with envoy.echoing(context) as backend, edge(backend) as found:
            (found.folder / "client/ca.crt").write_bytes(ISSUER.root)
            (found.folder / "stranger/ca.crt").write_bytes(OTHERS.root)
            await found.serve(tls=tls, routes="http.8080")

            assert (await envoy.fetch(found.port, host="origin.example")).status == status
