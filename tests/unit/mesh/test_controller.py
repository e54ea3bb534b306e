"""What the controller says about resources that are not there, and does when something changes around it."""

import asyncio
import contextlib
import time

import pytest

from clover.errors import DocumentError, HostError, Problem
from clover.kit import documents
from clover.mesh import controller as module
from clover.mesh.certificates import Authority
from clover.mesh.controller import Controller
from clover.mesh.istio import parse
from clover.mesh.server import Server
from clover.mesh.xds.settings import Settings
from harness import policies
from harness.web_certificates import Issuer


async def nothing(_):
    pass


def controller(text: str = "", **more) -> Controller:
    signed = {"authority": Authority("cluster.local", now=time.time())}
    given = {"server": Server(), "settings": Settings(), "publish": nothing, **signed, **more}
    return Controller(registry=policies.REGISTRY, resources=policies.applied(text), **given)


WEB = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 8099, protocol: HTTP}]}
"""


@contextlib.asynccontextmanager
async def while_running(work, *, until):
    """Run work that never ends until something holds; what it raises is raised here."""
    task = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(10):
            while not until():
                if task.done():
                    task.result()
                await asyncio.sleep(0.01)
        yield
    finally:
        task.cancel()


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "hint"),
    [
        ("VirtualService", "default", "sdcc", "did you mean virtualservice/sdc?"),
        ("VirtualService", "other", "sdc", "did you mean virtualservice/sdc -n default?"),
        ("Gateway", "default", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "clover get lists what there is"),
        ("Gateway", "default", "lb", "clover get lists what there is"),
        ("Gateway", "default", "web", "did you mean gateway.gateway.networking.k8s.io/web -n shop?"),
        ("VirtualServise", "default", "sdc", "did you mean 'VirtualService'?"),
    ],
)
def test_a_resource_that_is_not_there_is_answered_with_the_nearest_in_words_that_can_be_typed(
    kind, namespace, name, hint
):
    assert controller(WEB).unknown(kind, namespace, name).hint == hint


async def test_what_others_need_is_not_deleted_and_they_are_named():
    with pytest.raises(DocumentError) as failure:
        await controller().delete("Gateway", "default", "sdc-gateway")

    (problem,) = failure.value.problems
    assert problem.what.startswith("Gateway default/sdc-gateway is needed: VirtualService default/sdc: field 'spec.gat")
    assert problem.hint == "change or delete VirtualService/default/sdc first"


async def test_a_kind_that_the_mesh_does_not_have_is_called_so():
    with pytest.raises(DocumentError, match="the kind 'Foo' is not supported by Clover, which has VirtualService"):
        await controller().delete("Foo", "default", "x")


HTTPS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: shop}}
"""


async def test_workloads_come_and_go_though_the_file_of_a_certificate_is_gone(tmp_path):
    shop = Issuer().issue("shop.example").write(tmp_path / "credentials/shop")
    mesh = controller(HTTPS, folder=tmp_path, server=(server := Server()))
    await mesh.start()
    plain = parse.parse_with_origins(documents.parse(PORT, "x.yaml"))
    await mesh.apply(plain, dry_run=True)
    before = server.status()["waf"].version
    (shop / "tls.crt").unlink()

    mesh.set_ready("server", False)
    async with while_running(mesh.follow_readiness(), until=lambda: server.status()["waf"].version != before):
        pass


async def test_a_change_whose_port_cannot_be_opened_leaves_nothing_else_open():
    opened = []

    async def publish(addresses):
        if len(addresses) > 1:
            raise HostError(Problem(code="CLV5005", where="127.0.0.1:8443", what="taken"))

    async def reach(wanted):
        opened.append(wanted)

    mesh = controller(publish=publish, reach=reach, settings=Settings(way_out="/run/x/out"))
    await mesh.start()
    await mesh.publish()
    with pytest.raises(HostError):
        await mesh.apply(parse.parse_with_origins(documents.parse(OUTSIDE + PORT, "x.yaml")))

    assert [sorted(one.names) for one in opened] == [["api.example.com"], []]
    assert not opened[-1].ways


OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: default}
spec: {hosts: [api.example.com], resolution: DNS, ports: [{number: 80, name: http}]}
---
"""
PORT = HTTPS.replace("HTTPS", "HTTP").replace("https", "http").partition(", tls")[0] + "}\n"


async def test_identities_are_renewed_after_the_machine_was_asleep(monkeypatch):
    asleep_s, now = 0.0, time.time
    monkeypatch.setattr(module.time, "time", lambda: now() + asleep_s)
    monkeypatch.setattr(module, "_LOOKED_AT_S", 0.01)
    mesh = controller()
    await mesh.start()
    first = mesh.identities
    looks = 0

    def all_are_new():
        nonlocal asleep_s, looks
        looks += 1
        # By then it waits for the time when they would have been renewed.
        asleep_s = 20 * 3600.0 if looks > 5 else 0.0
        return not any(mesh.identities[node] is svid for node, svid in first.items())

    async with while_running(mesh.renew_certificates(), until=all_are_new):
        pass


SOCKETS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: node, namespace: default, annotations: {clover/loopback: allow}}
spec:
  hosts: [node.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http}]
  endpoints: [{address: "unix://DB/db.sock"}, {address: "unix://PATH"}]
"""


@pytest.mark.parametrize(
    "path", ["CHAIN/api.sock", "CHAIN/out/../xds.sock", "CHAIN/../other/api.sock", "LINK", "@clover-control-plane"]
)
async def test_no_service_leads_to_the_sockets_of_chains(tmp_path, path):
    chain = tmp_path / "run" / "sdc"
    chain.mkdir(parents=True)
    (tmp_path / "link").symlink_to(chain / "api.sock")
    path = path.replace("CHAIN", str(chain)).replace("LINK", str(tmp_path / "link"))
    mesh = controller(settings=Settings(way_out=f"{chain}/out"))
    await mesh.start()

    text = SOCKETS.replace("PATH", path).replace("DB", str(tmp_path))
    with pytest.raises(DocumentError) as refused:
        await mesh.apply(parse.parse_with_origins(documents.parse(text, "x.yaml")))

    assert [(one.code, one.where) for one in refused.value.problems] == [("CLV4312", "ServiceEntry/default/node")]


async def test_no_sidecar_leads_to_the_sockets_of_chains(tmp_path):
    text = f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: x, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: server}}}}
  ingress: [{{port: {{number: 80, name: http}}, defaultEndpoint: "unix://{tmp_path}/sdc/api.sock"}}]
"""
    mesh = controller(settings=Settings(way_out=f"{tmp_path}/sdc/out"))
    await mesh.start()

    with pytest.raises(DocumentError, match="where running chains have their own sockets"):
        await mesh.apply(parse.parse_with_origins(documents.parse(text, "x.yaml")))
