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


@pytest.mark.parametrize("protocol", ["HTTPS", "TLS", "TCP", "GRPC"])
def test_ports_take_plain_http(protocol):
    assert said(server(protocol=protocol)) == [
        (
            "CLV4103",
            "error",
            f"'spec.servers[0].port.protocol': the protocol {protocol!r} is not supported by Clover, expected 'HTTP'",
        )
    ]


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


def test_a_selector_that_chooses_nothing_is_a_warning():
    ((code, severity, what),) = said(server(), text=GATEWAY.replace("ingressgateway", "egressgateway"))

    assert (code, severity) == ("CLV4221", "warning")
    assert what == "'spec.selector': no gateway of the mesh has these labels, so no port is opened"
