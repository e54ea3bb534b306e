"""Certificates that change on disk: a real gateway serves them, and nobody applies anything."""

import asyncio
import contextlib
import json
import ssl
import tempfile
import time
from pathlib import Path

import pytest

from clover.kit import documents
from clover.mesh import server
from clover.mesh.certificates import Authority
from clover.mesh.controller import Controller
from clover.mesh.istio import parse
from clover.mesh.xds.settings import Settings
from harness import envoy, policies
from harness.ports import free_port
from harness.web_certificates import Issuer

pytestmark = pytest.mark.envoy

ISSUER = Issuer()


def gateway(port):
    listener = {
        "name": "https",
        "port": port,
        "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "shop"}]},
    }
    return json.dumps(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "web"},
            "spec": {"gatewayClassName": "clover", "listeners": [listener]},
        }
    )


async def nothing(_):
    """Publish nothing: the gateway is asked from this machine."""


@pytest.fixture
async def served():
    """Run a gateway whose certificate is in a folder; yields its port, its folder and its controller."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        folder, port = Path(name), free_port()
        ISSUER.issue("first.example", "shop.example").write(folder / "credentials/shop")
        async with server.serving(folder / "xds.sock") as control:
            controller = Controller(
                registry=policies.REGISTRY,
                resources=policies.read(gateway(port)),
                server=control,
                settings=Settings(),
                publish=nothing,
                authority=Authority("cluster.local", now=time.time()),
                folder=folder,
            )
            await controller.start()
            following = asyncio.ensure_future(controller.follow_files())
            try:
                async with envoy.envoy(folder, policies.proxies()["gateway"].identity):
                    yield port, folder / "credentials/shop", controller
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following


async def name_of(port):
    """Return the first name of the certificate that is shown; '': nobody is there yet."""
    context = ssl.create_default_context(cadata=ISSUER.root.decode())
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="shop.example")
    except OSError:
        return ""
    found = writer.get_extra_info("peercert")["subjectAltName"][0][1]
    writer.close()
    return found


async def until(ask, wanted):
    """Ask until the answer is what is wanted."""
    async with asyncio.timeout(20):
        while await ask() != wanted:  # noqa: ASYNC110 -- from outside there is no other way to know
            await asyncio.sleep(0.05)


async def test_a_renewed_certificate_is_served_and_a_broken_one_is_told(served):
    port, folder, controller = served

    async def problems():
        return [problem.code for problem in controller.problems()]

    await until(lambda: name_of(port), "first.example")
    assert await problems() == []

    second = ISSUER.issue("second.example", "shop.example")
    (folder / "tls.crt").write_bytes(second.certificate)
    await until(problems, ["CLV4234"])
    assert await name_of(port) == "first.example"

    (folder / "tls.key").write_bytes(second.key)
    await until(lambda: name_of(port), "second.example")
    assert await problems() == []

    ISSUER.issue("third.example", "shop.example", days=(-1, 3)).write(folder)
    await until(lambda: name_of(port), "third.example")
    assert await problems() == ["CLV4239"]


async def test_a_change_beside_a_broken_certificate_is_made_and_the_last_good_one_is_served(served):
    port, folder, controller = served
    await until(lambda: name_of(port), "first.example")
    (folder / "tls.crt").write_text("garbage")

    route = policies.virtual_service("[{timeout: 3s, route: [{destination: {host: lb}}]}]")
    outcome = await controller.apply(parse.parse_with_origins(documents.parse(route, "route.yaml")))

    assert [one.code for one in outcome.warnings if one.code != "CLV4406"] == ["CLV4234"]
    assert "lb" in {one.metadata.name for one in controller.resources}
    assert await name_of(port) == "first.example"
