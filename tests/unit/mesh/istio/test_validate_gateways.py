import pytest

from harness import policies

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second}
spec:
  selector: {istio: ingressgateway}
  servers: [%s]
"""


def said(*servers, text=GATEWAY):
    found = policies.problems(text % ", ".join(servers))
    start = "Gateway default/second: field "
    return [(problem.code, problem.severity, problem.what.removeprefix(start)) for problem in found]


def server(number=8081, *, protocol="HTTP", name="http", hosts="'*'", more=""):
    return f"{{port: {{number: {number}, protocol: {protocol}, name: {name}}}, hosts: [{hosts}]{more}}}"


def test_a_sound_gateway_is_not_talked_about():
    assert said(server(hosts="a.com, ./b.com, '*/*.c.com'"), server(8082, name="other")) == []


def test_another_gateway_may_serve_more_hosts_on_the_port_of_the_chain():
    assert said(server(8080, hosts="a.com")) == []


def test_a_port_speaks_a_protocol_that_is_known():
    assert said(server(protocol="MONGO")) == [
        ("CLV4103", "error", "'spec.servers[0].port.protocol': the protocol 'MONGO' is not supported by Clover")
    ]


CERTIFICATE = "mode: SIMPLE, credentialName: shop"


def secured(number=8443, *, tls=CERTIFICATE, protocol="HTTPS", **more):
    return server(number, protocol=protocol, more=f", tls: {{{tls}}}", **more)


@pytest.mark.parametrize(
    "tls",
    [
        CERTIFICATE,
        "mode: SIMPLE, serverCertificate: a.crt, privateKey: a.key",
        "mode: MUTUAL, credentialName: shop, subjectAltNames: [client.example]",
        "mode: MUTUAL, serverCertificate: a.crt, privateKey: a.key, caCertificates: ca.crt",
        "mode: ISTIO_MUTUAL",
        f"{CERTIFICATE}, minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]",
    ],
)
def test_https_with_what_it_needs_is_not_talked_about(tls):
    assert said(secured(tls=tls)) == []


@pytest.mark.parametrize(
    ("tls", "code", "what"),
    [
        ("mode: SIMPLE", "CLV4233", "the mode 'SIMPLE' needs 'serverCertificate' and 'privateKey'"),
        ("mode: SIMPLE, serverCertificate: a", "CLV4233", "the mode 'SIMPLE' needs 'privateKey'"),
        (
            "mode: MUTUAL, serverCertificate: a, privateKey: b",
            "CLV4233",
            "the mode 'MUTUAL' needs 'caCertificates', the authorities of the clients' certificates",
        ),
        ("mode: AUTO_PASSTHROUGH", "CLV4103", "'AUTO_PASSTHROUGH' is not supported by Clover"),
    ],
)
def test_tls_that_lacks_something_is_an_error(tls, code, what):
    ((found, severity, text),) = said(secured(tls=tls))

    assert (found, severity) == (code, "error")
    assert text.endswith(what)


@pytest.mark.parametrize(
    ("more", "field", "what"),
    [
        ("cipherSuites: [NULL-SHA]", "cipherSuites[0]", "'NULL-SHA' is no cipher suite that Envoy knows"),
        (
            "minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2",
            "maxProtocolVersion",
            "no version of TLS is left between TLSV1_3 and TLSV1_2",
        ),
        ("maxProtocolVersion: TLSV1_1", "maxProtocolVersion", "no version of TLS is left between TLSV1_2 and TLSV1_1"),
        ("serverCertificate: a.crt", "serverCertificate", "'serverCertificate' is set, and 'credentialName' is set"),
    ],
)
def test_tls_that_cannot_be_is_an_error(more, field, what):
    ((_, severity, text),) = said(secured(tls=f"{CERTIFICATE}, {more}"))

    assert (severity, text) == ("error", f"'spec.servers[0].tls.{field}': {what}")


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".hidden", "UP"])
def test_a_folder_of_certificates_is_one_beside_the_chain_file(name):
    ((code, _, text),) = said(secured(tls=f"mode: SIMPLE, credentialName: '{name}'"))

    assert code == "CLV4233"
    assert text.endswith("is not the name of a folder that can be used")


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (server(8443, protocol="HTTPS"), "'spec.servers[0]': HTTPS without 'tls'"),
        (server(8443, protocol="TLS"), "'spec.servers[0]': TLS without 'tls'"),
        (
            secured(protocol="HTTP"),
            "'spec.servers[0].tls': the protocol HTTP is plain text, and only 'httpsRedirect' can be set",
        ),
        (secured(protocol="TCP"), "'spec.servers[0].tls': the protocol TCP has no TLS that the gateway would know of"),
    ],
)
def test_tls_and_the_protocol_fit(one, what):
    assert ("CLV4236", "error", what) in said(one)


def test_plain_http_may_send_to_https():
    assert said(secured(8081, protocol="HTTP", tls="httpsRedirect: true")) == []


def test_a_wildcard_of_tls_stands_for_whole_parts_of_a_name():
    assert [(code, severity) for code, severity, _ in said(secured(hosts="'*-a.com'"))] == [("CLV4201", "error")]
    assert said(server(8081, hosts="'*-a.com'")) == []


def test_what_is_carried_without_a_rule_for_it_is_a_warning():
    assert [(code, severity) for code, severity, _ in said(secured(protocol="TLS"))] == [("CLV4238", "warning")]
    assert [(code, severity) for code, severity, _ in said(server(9000, protocol="TCP"))] == [("CLV4238", "warning")]


def test_a_port_speaks_plain_http_or_tls():
    assert said(server(8443, hosts="a.com"), secured(name="https")) == [
        (
            "CLV4236",
            "error",
            "'spec.servers[1].port': port 8443 speaks HTTPS here and HTTP in Gateway 'default/second'",
        )
    ]


def test_servers_of_tcp_share_no_port_whatever_their_hosts():
    found = said(server(9000, protocol="TCP", hosts="a.com"), server(9000, protocol="TCP", hosts="b.com", name="b"))
    what = "port 9000 is taken by Gateway 'default/second', and TCP connections cannot be told apart"

    assert ("CLV4209", "error", f"'spec.servers[1]': {what}") in found


def test_servers_with_tls_share_a_port_for_different_hosts():
    assert said(secured(hosts="a.com"), secured(hosts="b.com", name="b")) == []


def test_two_gateways_do_not_serve_one_name_with_tls():
    other = GATEWAY.replace("second", "third") % secured(hosts="a.com")
    what = "'spec.servers[0].hosts': port 8443 already serves 'a.com' by Gateway 'default/third'"

    assert ("CLV4209", "error", what) in said(secured(hosts="a.com, b.com"), text=f"{other}---{GATEWAY}")


def test_an_address_is_an_ip_address():
    assert said(server(more=", bind: localhost")) == [
        ("CLV4104", "error", "'spec.servers[0].bind': 'localhost' is not an IP address")
    ]


def test_hosts_are_host_names():
    assert said(server(hosts="'a b'")) == [("CLV4201", "error", "'spec.servers[0].hosts[0]': 'a b' is not a host name")]


def test_names_of_ports_tell_them_apart():
    assert said(server(), server(8082)) == [
        ("CLV4209", "error", "'spec.servers[1].port.name': the port name 'http' is written twice")
    ]


def test_one_port_serves_a_host_once():
    assert said(server(), server(name="other")) == [
        ("CLV4209", "error", "'spec.servers[1].hosts[0]': port 8081 already serves '*'")
    ]


def test_a_port_that_another_gateway_opens_at_an_overlapping_address_is_an_error():
    assert said(server(8080, more=", bind: 0.0.0.0")) == [
        (
            "CLV4209",
            "error",
            "'spec.servers[0]': port 8080 at '0.0.0.0' is also opened at '127.0.0.1' by Gateway 'default/sdc-gateway'",
        )
    ]


@pytest.mark.parametrize("label", ["istio: ingressgateway", "app: istio-ingressgateway"])
def test_the_chains_gateway_has_both_labels_of_istios(label):
    text = GATEWAY.replace("istio: ingressgateway", label)

    assert said(server(), text=text) == []
    assert [port.port for port in policies.proxies(text % server())["gateway"].gateways] == [8080, 8081]


def test_a_selector_that_chooses_nothing_is_a_warning():
    ((code, severity, what),) = said(server(), text=GATEWAY.replace("ingressgateway", "egressgateway"))

    assert (code, severity) == ("CLV4221", "warning")
    assert what == "'spec.selector': no gateway of the mesh has these labels, so no port is opened"
