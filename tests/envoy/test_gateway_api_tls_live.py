"""A real gateway with HTTPS listeners of the Gateway API: certificates by name, clients that prove who they are."""

import asyncio
import dataclasses
import json
import ssl
import tempfile
from pathlib import Path

import pytest
import yaml

from clover.mesh import server, snapshot
from clover.mesh.credential_files import CredentialFiles
from harness import backends, envoy, policies
from harness.ports import free_port
from harness.web_certificates import Issuer

pytestmark = pytest.mark.envoy

LISTENER = 8443
ISSUER, OTHERS = Issuer(), Issuer("Other")
API = "gateway.networking.k8s.io/v1"


class Edge:
    """The gateway of a small chain, asked over TLS."""

    def __init__(self, control, folder, backend):
        self.control = control
        self.folder = folder
        self.backend = backend
        self.port = free_port()

    async def obey(self, *documents):
        text = yaml.safe_dump_all(documents)
        assert [str(one) for one in policies.problems(text) if one.severity == "error"] == []
        proxy = policies.proxies(text)["gateway"]
        proxy = dataclasses.replace(
            proxy,
            gateways=tuple(dataclasses.replace(one, port=self.port) for one in proxy.gateways if one.port == LISTENER),
            endpoints=tuple(self._local(group) for group in proxy.endpoints),
        )
        whole = snapshot.snapshot_from(proxy)
        held, problems = CredentialFiles(self.folder).secrets(snapshot.missing_secrets([whole]), {})
        whole = snapshot.with_secrets(whole, held)
        whole = snapshot.with_secrets(whole, envoy.secrets_for(whole.resources))
        assert (problems, snapshot.check(whole)) == ((), ())
        result = await self.control.acknowledged(self.control.push({"gateway": whole}), timeout_s=10)
        assert (result.accepted, result.problems) == (("gateway",), ())

    def _local(self, group):
        members = (
            dataclasses.replace(member, address="127.0.0.1", port=self.backend, mtls=False)
            for member in group.members[:1]
        )
        return dataclasses.replace(group, members=tuple(members))

    async def ask(self, sni, host="", *, certificate=None):
        """Return the status, the certificate's names, and the headers that the backend saw."""
        context = ssl.create_default_context(cadata=ISSUER.root.decode())
        if certificate:
            context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=sni)
            try:
                names = [name for _, name in writer.get_extra_info("peercert")["subjectAltName"]]
                writer.write(f"GET /x HTTP/1.1\r\nhost: {host or sni}\r\nconnection: close\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                body = await reader.read()
            finally:
                writer.close()
        status = int(head.split()[1])
        return status, names, json.loads(body)["headers"] if status == 200 else {}


@pytest.fixture
async def edge():
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        folder = Path(name)
        ISSUER.issue("shop.example").write(folder / "credentials/shop")
        ISSUER.issue("blog.example", "other.net").write(folder / "credentials/wild", authority=OTHERS.root)
        ISSUER.issue("client.example").write(folder / "client")
        OTHERS.issue("partner.example").write(folder / "partner")
        async with (
            backends.serving("server") as found,
            server.serving(folder / "xds.sock") as control,
            envoy.envoy(folder, policies.proxies()["gateway"].identity),
        ):
            yield Edge(control, folder, found["server"].port)


def gateway(*listeners, **more):
    given = [{"name": f"l{index}", "port": LISTENER, "protocol": "HTTPS"} | one for index, one in enumerate(listeners)]
    spec = {"gatewayClassName": "istio", "listeners": given, **more}
    return {"apiVersion": API, "kind": "Gateway", "metadata": {"name": "web"}, "spec": spec}


def shown(name, **more):
    return {"tls": {"certificateRefs": [{"name": name}], **more}}


ROUTE = {
    "apiVersion": API,
    "kind": "HTTPRoute",
    "metadata": {"name": "r"},
    "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": "server", "port": 9180}]}]},
}
TURNED_AWAY = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)


async def test_listeners_of_one_port_show_the_certificate_of_the_name_that_is_asked_for(edge):
    await edge.obey(gateway({"hostname": "shop.example"} | shown("shop"), shown("wild")), ROUTE)

    status, names, seen = await edge.ask("shop.example")
    assert (status, names, seen["x-forwarded-proto"]) == (200, ["shop.example"], "https")
    assert (await edge.ask("blog.example"))[:2] == (200, ["blog.example", "other.net"])
    # Who asks for one name and then for another's is told so, and connects anew.
    assert (await edge.ask("shop.example", "blog.example"))[0] == 421
    assert (await edge.ask("blog.example", "shop.example"))[0] == 421


async def test_a_name_of_no_listener_is_turned_away(edge):
    await edge.obey(gateway({"hostname": "shop.example"} | shown("shop")), ROUTE)

    assert (await edge.ask("shop.example", "blog.example"))[0] == 404
    with pytest.raises(TURNED_AWAY):
        await edge.ask("other.net")


async def test_clients_prove_who_they_are_to_the_authorities_that_the_gateway_names(edge):
    asked = {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "wild"}]}}
    await edge.obey(gateway({"hostname": "shop.example"} | shown("shop"), tls={"frontend": {"default": asked}}), ROUTE)

    status, _, seen = await edge.ask("shop.example", certificate=edge.folder / "partner")
    assert status == 200
    assert "DNS=partner.example" in seen["x-forwarded-client-cert"]
    for certificate in (None, edge.folder / "client"):
        with pytest.raises(TURNED_AWAY):
            await edge.ask("shop.example", certificate=certificate)
