"""A change of a mesh while it is being made: who waits for it, who does not, and what is left when it is given up."""

import asyncio
import contextlib
import time

import pytest

from clover.errors import DocumentError
from clover.kit import documents
from clover.mesh.certificates import Authority
from clover.mesh.controller import Controller
from clover.mesh.istio import parse
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.server import Acknowledgement, Server
from clover.mesh.xds.settings import Settings
from harness import policies
from harness.web_certificates import Issuer

ISSUER = Issuer()
HTTPS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: shop}}
"""
BESIDE = HTTPS.replace("edge", "beside").replace("a.com", "b.com").replace("shop", "blog")
GUARD = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: default}
spec: {selector: {matchLabels: {istio: ingressgateway}}, rules: [{}]}
"""
ROUTE = policies.virtual_service("[{timeout: 3s, route: [{destination: {host: lb}}]}]")


async def nothing(_):
    pass


class Obeyed(Server):
    """A server whose proxies all take what they are told."""

    async def acknowledged(self, generation, **_):
        return Acknowledgement(
            generation=generation, accepted=(), refused=(), disconnected=(), pending=(), problems=(), elapsed_ms=0.0
        )


def controller(text="", *, registry=policies.REGISTRY, **more):
    authority = Authority("cluster.local", now=time.time())
    given = {"server": Obeyed(), "settings": Settings(), "publish": nothing, "authority": authority, **more}
    return Controller(registry=registry, resources=policies.applied(text) if text else (), **given)


def parsed(text):
    return parse.parse_with_origins(documents.parse(text, "x.yaml"))


@pytest.fixture
async def broken(tmp_path):
    """Return a mesh with a gateway whose certificate has been replaced by garbage, and the folder of that."""
    shop = ISSUER.issue("a.com").write(tmp_path / "credentials/shop")
    ISSUER.issue("b.com").write(tmp_path / "credentials/blog")
    mesh = controller(HTTPS, folder=tmp_path)
    await mesh.start()
    (shop / "tls.crt").write_text("garbage")
    return mesh, shop


@pytest.mark.parametrize("text", [ROUTE, GUARD, BESIDE])
async def test_a_broken_certificate_in_force_is_told_and_stops_no_other_change(broken, text):
    mesh, _ = broken

    outcome = await mesh.apply(parsed(text))

    (problem,) = outcome.warnings
    assert (problem.code, problem.severity) == ("CLV4234", "warning")
    assert problem.where == "Gateway/default/edge"
    assert problem.what.endswith("the certificate is not one in PEM form")
    assert problem.hint == "what was read before keeps serving; the files are read again when they change"


async def test_a_broken_certificate_is_told_as_long_as_it_is_broken(broken):
    mesh, shop = broken
    await mesh.apply(parsed(ROUTE))
    await mesh.look_at_files()
    assert [problem.code for problem in mesh.problems()] == ["CLV4234"]

    ISSUER.issue("a.com").write(shop)
    await mesh.look_at_files()
    assert mesh.problems() == ()


async def test_a_change_that_names_a_broken_certificate_itself_is_refused(broken):
    mesh, _ = broken

    with pytest.raises(DocumentError) as refused:
        await mesh.apply(parsed(HTTPS))

    assert [(one.code, one.severity) for one in refused.value.problems] == [("CLV4234", "error")]


async def test_what_others_need_can_be_deleted_though_a_certificate_is_broken(broken):
    mesh, _ = broken
    await mesh.apply(parsed(ROUTE))

    outcome = await mesh.delete("VirtualService", "default", "lb")

    assert [problem.code for problem in outcome.warnings] == ["CLV4234"]


class Waits:
    """Something that is waited for: of the calls, that of a number never ends."""

    def __init__(self, number):
        self.number, self.calls, self.reached = number, [], asyncio.Event()

    async def __call__(self, wanted):
        self.calls.append(wanted)
        if len(self.calls) == self.number:
            self.reached.set()
            await asyncio.Event().wait()


async def given_up(mesh, text, *, when):
    """Begin a change, and cancel it at a moment."""
    changing = asyncio.ensure_future(mesh.apply(parsed(text)))
    await asyncio.wait_for(when, 30)
    changing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await changing
    assert changing.cancelled()


PLAIN = HTTPS.replace("HTTPS", "HTTP").replace(", tls: {mode: SIMPLE, credentialName: shop}", "")


@pytest.mark.parametrize("at", [1, 2])
async def test_a_change_that_is_given_up_leaves_resources_and_proxies_together(at):
    publish, server = Waits(at), Obeyed()
    mesh = controller(ROUTE, publish=publish, server=server)
    await mesh.start()

    await given_up(mesh, PLAIN, when=publish.reached.wait())

    addresses = {port for _, port in publish.calls[-1]}
    made = "edge" in {one.metadata.name for one in mesh.resources}
    assert made == (at == 2)
    assert addresses == ({8080, 8443} if made else {8080})
    # A change that was made leaves nothing to send, and one that was not is sent again.
    before = server.status()["gateway"].version
    await mesh.apply(parsed(PLAIN))
    assert (server.status()["gateway"].version == before) == made


async def test_a_change_that_is_given_up_while_ways_out_are_opened_leaves_none_open():
    reach = Waits(1)
    mesh = controller(reach=reach, settings=Settings(way_out="/run/x/out"))
    await mesh.start()

    await given_up(mesh, OUTSIDE, when=reach.reached.wait())

    first, *_, last = reach.calls
    assert (sorted(first.names), sorted(last.names), last.ways) == (["api.example.com"], [], frozenset())


OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: default}
spec: {hosts: [api.example.com], resolution: DNS, ports: [{number: 80, name: http}]}
"""


async def test_a_change_that_no_proxy_has_confirmed_is_taken_back_when_it_is_given_up():
    class Deaf(Server):
        def __init__(self):
            super().__init__()
            self.waiting = asyncio.Event()

        async def acknowledged(self, *_, **__):
            self.waiting.set()
            await asyncio.Event().wait()

    server = Deaf()
    mesh = controller(ROUTE, server=server)
    await mesh.start()
    before = {node: status.version for node, status in server.status().items()}

    await given_up(mesh, PLAIN, when=server.waiting.wait())

    assert {node: status.version for node, status in server.status().items()} == before
    assert "edge" not in {one.metadata.name for one in mesh.resources}


def large(services):
    """Return an open mesh, in which everybody knows everybody."""
    return Registry(
        chain="large",
        services=tuple(
            Service(
                name=f"s-{number}",
                namespace="default",
                address=f"10.96.{number // 250}.{number % 250 + 1}",
                ports=(ServicePort(number=80, name="http"),),
            )
            for number in range(services)
        ),
        workloads=tuple(
            Workload(
                name=f"w-{number}",
                service=f"s-{number}",
                namespace="default",
                address=f"10.244.{number // 250}.{number % 250 + 1}",
                labels={"app": f"s-{number}"},
            )
            for number in range(services)
        ),
    )


async def longest_pause(work):
    """Do something; return the longest that the loop left others waiting, and how long it took, in seconds."""
    over, longest, began = asyncio.ensure_future(work), 0.0, time.monotonic()
    while not over.done():
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before - 0.001)
    await over
    return longest, time.monotonic() - began


async def test_whom_the_loop_serves_waits_a_fraction_of_what_a_large_mesh_takes_to_compile():
    mesh = controller(registry=large(300))

    pause, took = await longest_pause(mesh.start())

    assert pause < took / 4
