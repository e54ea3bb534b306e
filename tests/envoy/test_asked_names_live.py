"""Hosts of which nobody knows more than a wildcard: real Envoy, the real way out, and servers on loopback."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from harness import envoy
from harness.outward import sidecar
from harness.ports import free_port
from harness.web_certificates import Issuer

pytestmark = pytest.mark.envoy

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild, annotations: {annotations}}}
spec:
  hosts: ["*.example.com"]
  ports: [{{number: {number}, name: port, protocol: {protocol}, targetPort: {target}}}]
  resolution: DYNAMIC_DNS
"""


def entry(target, *, number=80, protocol="HTTP", annotations="{clover/loopback: allow}"):
    return ENTRY.format(target=target, number=number, protocol=protocol, annotations=annotations)


@pytest.fixture(autouse=True)
def looked_up(monkeypatch):
    """Let `a.example.com` and `b.example.com` be this machine, and other names nothing; return what was looked up."""
    asked = []

    async def found(_, host, port, **__):
        asked.append(host)
        if host not in ("a.example.com", "b.example.com"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)
    return asked


async def test_each_request_goes_to_the_name_that_it_asks_for(looked_up):
    async with envoy.echoing() as backend, sidecar(entry(backend), dialled=80, way_out=True) as (port, received):
        answers = [await envoy.fetch(port, "/x", host=f"{name}.example.com") for name in "abab"]
        await received.until(lambda got: len(got.logs) == 4)

    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.echo["headers"]["host"] for answer in answers] == [f"{name}.example.com" for name in "abab"]
    assert looked_up == [f"{name}.example.com" for name in "abab"]
    assert {log.attributes["upstream_cluster"] for log in received.logs} == {"outbound|80||*.example.com"}


async def test_a_name_that_nobody_has_is_answered_502_with_the_reason():
    async with envoy.echoing() as backend, sidecar(entry(backend), dialled=80, way_out=True) as (port, received):
        answer = await envoy.fetch(port, host="nobody.example.com")
        await received.until(lambda got: got.logs)

    assert answer.status == 502
    assert "nobody.example.com cannot be looked up" in answer.body.decode()
    assert received.logs[0].attributes["status"] == "502"


async def test_a_name_that_leads_to_loopback_is_refused_unless_that_is_meant():
    text = entry(9, annotations="{}")
    async with sidecar(text, dialled=80, way_out=True) as (port, _):
        answer = await envoy.fetch(port, host="a.example.com")

    assert answer.status == 502
    assert answer.body == b"a.example.com:9: 127.0.0.1 may not be dialled from a chain\n"


async def test_a_name_beyond_the_wildcard_is_not_its_services():
    async with envoy.echoing() as backend, sidecar(entry(backend), dialled=80, way_out=True) as (port, received):
        await envoy.fetch(port, host="a.example.org")
        await received.until(lambda got: got.logs)

    assert received.logs[0].attributes["upstream_cluster"] == "PassthroughCluster"


async def test_tls_goes_to_the_name_that_the_client_says_and_is_not_ended_on_the_way(looked_up, tmp_path):
    issuer = Issuer()
    async with greeting_by_tls(issuer, tmp_path) as backend:
        text = entry(backend, number=443, protocol="TLS")
        async with sidecar(text, dialled=443, way_out=True) as (port, received):
            heard = [await ask_by_tls(port, f"{name}.example.com", issuer) for name in "ab"]
            await received.until(lambda got: len(got.logs) == 2)

    assert heard == [b"hello a.example.com", b"hello b.example.com"]
    assert looked_up == ["a.example.com", "b.example.com"]
    assert {log.attributes["upstream_cluster"] for log in received.logs} == {"outbound|443||*.example.com"}


async def test_tls_to_a_name_that_nobody_has_is_closed_with_a_record_and_a_flag(capsys):
    text = entry(free_port(), number=443, protocol="TLS")
    async with sidecar(text, dialled=443, way_out=True) as (port, received):
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await ask_by_tls(port, "nobody.example.com", Issuer())
        await received.until(lambda got: got.logs)

    (log,) = received.logs
    assert log.attributes["upstream_cluster"] == "outbound|443||*.example.com"
    assert "UF" in log.attributes["flags"].split(",")
    assert "nobody.example.com cannot be looked up" in capsys.readouterr().out


BEGINS_TLS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: wild}
spec:
  host: "*.example.com"
  trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}
"""


async def test_where_the_sidecar_begins_tls_the_server_name_is_that_of_each_request(looked_up, tmp_path):
    pair = Issuer().issue("*.example.com").write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    said = []
    context.sni_callback = lambda _, name, __: said.append(name)
    async with (
        envoy.echoing(context) as backend,
        sidecar(entry(backend) + BEGINS_TLS, dialled=80, way_out=True) as (port, received),
    ):
        answers = [await envoy.fetch(port, host=f"{name}.example.com") for name in "aba"]
        nobody = await envoy.fetch(port, host="nobody.example.com")
        await received.until(lambda got: len(got.logs) == 4)

    assert [answer.status for answer in answers] == [200] * 3
    assert said == [f"{name}.example.com" for name in "aba"]
    assert nobody.status == 503
    assert "UF" in received.logs[-1].attributes["flags"].split(",")


@contextlib.asynccontextmanager
async def greeting_by_tls(issuer, directory):
    """Run a server that says by TLS which name it was asked for."""
    pair = issuer.issue("*.example.com").write(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def answer(_, writer):
        writer.write(f"hello {names.pop()}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask_by_tls(port, name, issuer):
    context = ssl.create_default_context(cadata=issuer.root.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
