"""HTTPS at Gateways of the Gateway API: what is refused, and what the gateway is told."""

import json

import pytest

from clover.errors import DocumentError
from harness import policies

API = "gateway.networking.k8s.io/v1"
MODE, CIPHERS = "gateway.istio.io/tls-terminate-mode", "gateway.istio.io/tls-cipher-suites"
SHOP = {"certificateRefs": [{"name": "shop"}]}
CLIENTS = {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "partners"}]}}


def document(kind, name, spec, namespace="default"):
    return json.dumps(
        {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    )


def gateway(*listeners, **more):
    given = [
        {"name": f"l{index}", "port": 8443, "protocol": "HTTPS", "tls": SHOP} | one
        for index, one in enumerate(listeners or ({},))
    ]
    return document("Gateway", "web", {"gatewayClassName": "clover", "listeners": given, **more})


def grant(*to, kind="Gateway"):
    source = {"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "default"}
    return document("ReferenceGrant", "g", {"from": [source], "to": list(to)}, namespace="other")


def codes(*documents):
    try:
        found = policies.problems("\n---\n".join(documents))
    except DocumentError as error:
        found = error.problems
    return [(problem.code, problem.severity) for problem in found]


def served(*documents):
    """Return the servers of port 8443, by the names that clients ask for."""
    gateway = policies.proxies("\n---\n".join(documents))["gateway"]
    (port,) = (port for port in gateway.gateways if port.port == 8443)
    assert port.routes == ""
    return {server.hosts: server for server in port.servers}


def hosts(*documents):
    """Return what each table of port 8443 answers by itself for a host; None: its routes decide."""
    proxy = policies.proxies("\n---\n".join(documents))["gateway"]
    names = {server.routes: server.hosts for server in served(*documents).values()}
    return {
        names[table.name]: {
            host.domains[0]: getattr(host.routes[0].action, "code", None) if host.routes else 404
            for host in table.virtual_hosts
        }
        for table in proxy.tables
        if table.name in names
    }


def route(*hostnames, **parent):
    rules = [{"backendRefs": [{"name": "server", "port": 9180}]}]
    return document(
        "HTTPRoute", "r", {"parentRefs": [{"name": "web", **parent}], "hostnames": list(hostnames), "rules": rules}
    )


def test_https_with_a_certificate_is_not_talked_about():
    assert codes(gateway(), route()) == []


@pytest.mark.parametrize(
    ("listener", "code"),
    [
        ({"protocol": "HTTP"}, "CLV4236"),
        ({"tls": None}, "CLV4236"),
        ({"tls": SHOP | {"mode": "Passthrough"}}, "CLV4236"),
        ({"tls": {}}, "CLV4233"),
        ({"tls": {"certificateRefs": [{"name": "a"}, {"name": "b"}]}}, "CLV4103"),
        ({"tls": {"certificateRefs": [{"name": "a", "kind": "ConfigMap"}]}}, "CLV4103"),
        ({"tls": {"certificateRefs": [{"name": "a", "group": "cert-manager.io"}]}}, "CLV4103"),
        ({"tls": {"certificateRefs": [{"name": "shop-cacert"}]}}, "CLV4233"),
        ({"tls": {"certificateRefs": [{"name": "../shop"}]}}, "CLV4104"),
        ({"tls": SHOP | {"options": {"example.com/min": "1.3"}}}, "CLV4103"),
        ({"tls": SHOP | {"options": {MODE: "ISTIO_SIMPLE"}}}, "CLV4103"),
        ({"tls": SHOP | {"options": {CIPHERS: "ECDHE-RSA-AES256-GCM-SHA384, RC4-SHA"}}}, "CLV4237"),
        ({"tls": SHOP | {"frontendValidation": {}}}, "CLV4102"),
    ],
)
def test_what_cannot_be_is_refused(listener, code):
    assert codes(gateway(listener)) == [(code, "error")]


def test_a_port_speaks_one_protocol():
    plain = {"protocol": "HTTP", "tls": None, "hostname": "b.com"}

    assert codes(gateway({"hostname": "a.com"}, plain)) == [("CLV4352", "error")]
    assert codes(gateway({"hostname": "a.com"}, plain | {"port": 8090})) == []


def test_a_certificate_of_another_namespace_is_granted():
    listener = {"tls": {"certificateRefs": [{"name": "shop", "namespace": "other"}]}}

    assert codes(gateway(listener)) == [("CLV4358", "error")]
    assert codes(gateway(listener), grant({"group": "", "kind": "Secret", "name": "blog"})) == [("CLV4358", "error")]
    assert codes(gateway(listener), grant({"group": "", "kind": "Secret"}, kind="HTTPRoute")) == [("CLV4358", "error")]
    assert codes(gateway(listener), grant({"group": "", "kind": "Secret", "name": "shop"})) == []


def test_authorities_of_clients_are_granted_and_one():
    def asking(**more):
        reference = {"group": "", "kind": "ConfigMap", "name": "partners"} | more
        return gateway(tls={"frontend": {"default": {"validation": {"caCertificateRefs": [reference]}}}})

    assert codes(asking()) == []
    assert codes(asking(kind="Secret")) == []
    assert codes(asking(kind="Service")) == [("CLV4103", "error")]
    assert codes(asking(namespace="other")) == [("CLV4358", "error")]
    assert codes(asking(namespace="other"), grant({"group": "", "kind": "ConfigMap"})) == []


def test_certificates_that_nobody_judged_are_not_let_through():
    lenient = {"validation": CLIENTS["validation"] | {"mode": "AllowInsecureFallback"}}

    assert codes(gateway(tls={"frontend": {"default": lenient}})) == [("CLV4103", "error")]


def test_a_port_that_is_none_of_https_is_asked_for_nothing():
    frontend = {"default": {}, "perPort": [{"port": 9999, "tls": CLIENTS}]}

    assert codes(gateway(tls={"frontend": frontend})) == [("CLV4220", "warning")]
    frontend["perPort"] *= 2
    assert codes(gateway(tls={"frontend": frontend})) == [("CLV4104", "error")]


def test_each_name_has_a_certificate_of_its_own():
    blog = {"hostname": "*.blog.com", "tls": {"certificateRefs": [{"name": "blog"}]}}
    found = served(gateway({}, blog), route())

    assert {names: server.tls.identity for names, server in found.items()} == {
        (): "kubernetes://shop",
        ("*.blog.com",): "kubernetes://blog",
    }
    assert {server.tls.words for server in found.values()} == {("h2", "http/1.1")}


def test_a_connection_is_for_the_names_of_its_listener():
    documents = (gateway({}, {"hostname": "*.a.com"}, {"hostname": "b.a.com"}), route("b.a.com", "c.a.com", "d.net"))

    assert hosts(*documents) == {
        (): {"*": 404, "d.net": None, "*.a.com": 421, "b.a.com": 421},
        ("*.a.com",): {"*.a.com": 404, "c.a.com": None, "*": 421, "b.a.com": 421},
        ("b.a.com",): {"b.a.com": None, "*": 421, "*.a.com": 421},
    }


@pytest.mark.parametrize(
    ("frontend", "options", "roots", "optional"),
    [
        (None, {}, "", False),
        ({"default": {}}, {}, "", False),
        ({"default": CLIENTS}, {}, "kubernetes://partners-cacert", False),
        ({"default": CLIENTS, "perPort": [{"port": 8443, "tls": {}}]}, {}, "", False),
        ({"default": {}, "perPort": [{"port": 8443, "tls": CLIENTS}]}, {}, "kubernetes://partners-cacert", False),
        ({"default": CLIENTS}, {MODE: "OPTIONAL_MUTUAL"}, "kubernetes://partners-cacert", True),
        ({"default": CLIENTS}, {MODE: "SIMPLE"}, "", False),
        (None, {MODE: "MUTUAL"}, "kubernetes://shop-cacert", False),
    ],
)
def test_clients_show_what_the_gateway_or_the_listener_says(frontend, options, roots, optional):
    more = {"tls": {"frontend": frontend}} if frontend else {}
    (server,) = served(gateway({"tls": SHOP | {"options": options}}, **more)).values()

    assert (server.tls.identity, server.tls.roots, server.tls.optional) == ("kubernetes://shop", roots, optional)


def test_a_gateway_may_show_its_identity_in_the_mesh():
    (server,) = served(gateway({"tls": {"options": {MODE: "ISTIO_MUTUAL"}}})).values()

    assert (server.tls.identity, server.tls.roots) == ("default", "ROOTCA")


def test_ciphers_are_chosen_by_their_names():
    (server,) = served(gateway({"tls": SHOP | {"options": {CIPHERS: "AES128-SHA, AES256-SHA"}}})).values()

    assert server.tls.ciphers == ("AES128-SHA", "AES256-SHA")


@pytest.mark.parametrize(("port", "expected"), [(8443, 8443), (443, None)])
def test_a_redirect_goes_to_the_listeners_port_which_browsers_leave_out_when_it_is_443(port, expected):
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "new.com"}}
    spec = {"parentRefs": [{"name": "web"}], "rules": [{"filters": [redirect]}]}
    proxy = policies.proxies("\n---\n".join((gateway({"port": port}), document("HTTPRoute", "r", spec))))["gateway"]
    (table,) = (table for table in proxy.tables if table.name.startswith(f"https.{port}."))

    assert table.virtual_hosts[0].routes[0].action.port == expected
