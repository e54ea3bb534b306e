"""Which PeerAuthentication decides about which port, and what is said about those that decide about none."""

import pytest

from clover.errors import DocumentError
from clover.mesh import ir
from clover.mesh.istio.registry import ServicePort
from clover.mesh.translate import proxies_from
from harness import policies
from harness.policies import REGISTRY, destination_rule

LB = "lb.default.svc.cluster.local"


def peers(spec, *, name="one", namespace="default"):
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
---"""


def mode(*documents, workload="lb-v1"):
    """Return the mode of a workload's port under these documents alone."""
    told = {proxy.node: proxy for proxy in proxies_from(REGISTRY, policies.read("".join(documents)))}
    return told[workload].inbound[0].peers.name


def said(*documents):
    return [
        (problem.code, problem.severity, problem.what.partition(": field ")[2])
        for problem in policies.problems("".join(documents))
    ]


MESH = peers("mtls: {mode: STRICT}", namespace="istio-system", name="mesh")
NAMESPACE = peers("mtls: {mode: DISABLE}", name="namespace")
WORKLOAD = peers("selector: {matchLabels: {app: lb}}, mtls: {mode: PERMISSIVE}", name="workload")
PORT = peers("selector: {matchLabels: {app: lb}}, portLevelMtls: {9180: {mode: STRICT}}", name="port")


@pytest.mark.parametrize(
    ("documents", "wanted"),
    [
        ((), "PERMISSIVE"),
        ((MESH,), "STRICT"),
        ((NAMESPACE, MESH), "DISABLE"),
        ((MESH, NAMESPACE, WORKLOAD), "PERMISSIVE"),
        ((NAMESPACE, PORT), "STRICT"),
        ((MESH, peers("mtls: {mode: UNSET}")), "STRICT"),
        ((MESH, peers("mtls: {}")), "STRICT"),
        ((NAMESPACE, peers("selector: {matchLabels: {app: lb}}")), "DISABLE"),
        ((NAMESPACE, PORT.replace("STRICT", "UNSET")), "DISABLE"),
        ((MESH, peers("selector: {matchLabels: {app: cache}}, mtls: {mode: DISABLE}")), "STRICT"),
        ((MESH, peers("selector: {matchLabels: {}}, mtls: {mode: DISABLE}")), "DISABLE"),
        ((WORKLOAD.replace("default", "istio-system").replace("PERMISSIVE", "STRICT"),), "PERMISSIVE"),
    ],
)
def test_the_narrower_policy_wins_and_what_is_unset_is_inherited(documents, wanted):
    assert mode(*documents) == wanted
    assert mode(*reversed(documents)) == wanted


def test_within_one_scope_the_first_by_name_decides_and_the_other_is_told_so():
    second = peers("mtls: {mode: STRICT}", name="zz")
    what = "PeerAuthentication 'default/default' is for the same namespace, and decides; this one does not"

    assert mode(second, NAMESPACE) == "DISABLE"
    assert ("CLV4230", "warning", f"'spec': {what}") in said(second)


def test_policies_for_different_workloads_do_not_compete():
    other = WORKLOAD.replace("app: lb", "app: cache").replace("workload", "other")

    assert "CLV4230" not in [code for code, _, _ in said(WORKLOAD, other)]


@pytest.mark.parametrize(
    "document",
    [
        WORKLOAD.replace("app: lb", "app: nobody"),
        peers("mtls: {mode: STRICT}", namespace="elsewhere"),
        WORKLOAD.replace("default", "istio-system"),
        PORT.replace("9180", "9999"),
    ],
)
def test_a_policy_for_nobody_is_a_warning(document):
    assert [(code, severity) for code, severity, _ in said(document) if code == "CLV4231"] == [("CLV4231", "warning")]


def test_a_port_is_the_workloads_own_whatever_callers_dial():
    registry = policies.with_ports(ServicePort(number=80, target_port=8080))
    told = {
        port: [
            problem.code
            for problem in policies.problems(
                peers(f"selector: {{matchLabels: {{app: server}}}}, portLevelMtls: {{{port}: {{mode: STRICT}}}}"),
                registry=registry,
            )
        ]
        for port in (80, 8080)
    }

    assert (told[80], told[8080]) == (["CLV4231"], [])


def test_ports_that_no_service_leads_to_have_modes_as_well():
    text = PORT.replace("9180", "7000") + NAMESPACE
    told = {proxy.node: proxy for proxy in proxies_from(REGISTRY, policies.read(text))}

    assert told["lb-v1"].peers == ir.Peers(
        domains=("cluster.local",), mode=ir.PeerMode.DISABLE, ports=((7000, ir.PeerMode.STRICT),)
    )


def endpoint(*documents):
    told = {proxy.node: proxy for proxy in proxies_from(REGISTRY, policies.read("".join(documents)))}
    group = next(one for one in told["waf"].endpoints if one.cluster == f"outbound|9180||{LB}")
    return {member.workload: member.mtls for member in group.members}


def test_endpoints_say_whether_they_take_mutual_tls():
    only = "selector: {matchLabels: {app: lb, version: v2}}, mtls: {mode: DISABLE}"

    assert endpoint(MESH) == {"lb-v1": True, "lb-v2": True}
    assert endpoint(MESH, peers(only)) == {"lb-v1": True, "lb-v2": False}


def test_a_service_is_known_by_who_stands_behind_it_in_every_name_of_the_trust_domain():
    tls = policies.cluster(policies.proxies()["waf"], f"outbound|9180||{LB}").tls

    assert tls == ir.MeshTls(
        sni=f"outbound_.9180_._.{LB}", principals=("spiffe://cluster.local/ns/default/sa/lb",), detected=True
    )


@pytest.mark.parametrize(
    ("tls", "peer", "what"),
    [
        ("mode: DISABLE", "STRICT", "takes mutual TLS only at port 9180"),
        ("mode: SIMPLE, insecureSkipVerify: true", "STRICT", "takes mutual TLS only at port 9180"),
        ("mode: ISTIO_MUTUAL", "DISABLE", "takes no mutual TLS at port 9180"),
    ],
)
def test_two_sides_that_disagree_are_a_warning(tls, peer, what):
    rule = destination_rule(f"trafficPolicy: {{tls: {{{tls}}}}}", host="lb", name="lb-tls")
    policy = peers(f"selector: {{matchLabels: {{app: lb}}}}, mtls: {{mode: {peer}}}")
    found = [text for code, severity, text in said(policy, rule) if (code, severity) == ("CLV4232", "warning")]

    assert len(found) == 1
    assert what in found[0]
    assert "PeerAuthentication default/one" in found[0]


@pytest.mark.parametrize(
    ("tls", "peer"),
    [("DISABLE", "PERMISSIVE"), ("DISABLE", "DISABLE"), ("ISTIO_MUTUAL", "STRICT"), ("ISTIO_MUTUAL", "PERMISSIVE")],
)
def test_two_sides_that_agree_are_not_talked_about(tls, peer):
    rule = destination_rule(f"trafficPolicy: {{tls: {{mode: {tls}}}}}", host="lb", name="lb-tls")
    policy = peers(f"selector: {{matchLabels: {{app: lb}}}}, mtls: {{mode: {peer}}}")

    assert "CLV4232" not in [code for code, _, _ in said(policy, rule)]


def test_a_port_of_its_own_decides_for_itself():
    ports = "portLevelSettings: [{port: {number: 9180}, tls: {mode: ISTIO_MUTUAL}}]"
    rule = destination_rule(f"trafficPolicy: {{tls: {{mode: DISABLE}}, {ports}}}", host="server")

    assert "CLV4232" not in [code for code, _, _ in said(peers("mtls: {mode: STRICT}"), rule)]


@pytest.mark.parametrize(
    "spec",
    [
        "portLevelMtls: {9180: {mode: STRICT}}",
        "selector: {matchLabels: {app: lb}}, portLevelMtls: {0: {mode: STRICT}}",
        "selector: {matchLabels: {app: lb}}, portLevelMtls: {http: {mode: STRICT}}",
        "selector: {matchLabels: {app: lb}}, portLevelMtls: {}",
        "mtls: {mode: SOMETIMES}",
        "mtls: STRICT",
    ],
)
def test_what_cannot_be_meant_is_refused(spec):
    with pytest.raises(DocumentError):
        policies.read(peers(spec))


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        ("mode: DISABLE", None),
        (
            "mode: SIMPLE, sni: api.example",
            ir.OriginTls(sni="api.example", roots="file-root:system"),
        ),
        (
            "mode: MUTUAL, clientCertificate: a.crt, privateKey: a.key, caCertificates: ca.crt, subjectAltNames: [x.y]",
            ir.OriginTls(names=("x.y",), roots="file-root:ca.crt", identity="file-cert:a.crt~a.key"),
        ),
        (
            "mode: MUTUAL, credentialName: shop",
            ir.OriginTls(roots="kubernetes://shop-cacert", identity="kubernetes://shop"),
        ),
        ("mode: SIMPLE, insecureSkipVerify: true", ir.OriginTls()),
        (
            "mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://a/ns/b/sa/c'], sni: me",
            ir.MeshTls(sni="me", principals=("spiffe://a/ns/b/sa/c",)),
        ),
    ],
)
def test_a_destination_rule_says_how_connections_are_encrypted(tls, wanted):
    rule = destination_rule(f"trafficPolicy: {{tls: {{{tls}}}}}", host="lb", name="lb-tls")
    told = {proxy.node: proxy for proxy in proxies_from(REGISTRY, policies.read(rule))}

    assert policies.cluster(told["waf"], f"outbound|9180||{LB}").tls == wanted


@pytest.mark.parametrize(
    ("tls", "code"),
    [
        ("mode: MUTUAL", "CLV4233"),
        ("mode: MUTUAL, clientCertificate: a", "CLV4233"),
        ("mode: SIMPLE, credentialName: a, caCertificates: b", "CLV4233"),
        ("mode: SIMPLE, caCertificates: 'a~b'", "CLV4233"),
        ("mode: ISTIO_MUTUAL, clientCertificate: a", "CLV4220"),
        ("mode: DISABLE, sni: a", "CLV4220"),
    ],
)
def test_tls_of_clients_has_what_it_needs_and_no_more(tls, code):
    rule = destination_rule(f"trafficPolicy: {{tls: {{{tls}}}}}", host="server")

    assert code in [found for found, _, _ in said(peers("mtls: {mode: PERMISSIVE}", name="sdc"), rule)]
