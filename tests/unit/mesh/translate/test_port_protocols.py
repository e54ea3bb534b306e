import pytest

from clover.mesh.ir import Protocol
from clover.mesh.istio.registry import ServicePort
from clover.mesh.translate.protocols import is_tls, protocol_of


@pytest.mark.parametrize(
    ("name", "number", "protocol"),
    [
        ("", 9180, Protocol.AUTO),
        ("data", 9180, Protocol.AUTO),
        ("http", 80, Protocol.HTTP),
        ("http-web", 80, Protocol.HTTP),
        ("httpd", 80, Protocol.AUTO),
        ("http2", 80, Protocol.HTTP2),
        ("grpc-control", 50054, Protocol.HTTP2),
        ("grpc-web", 80, Protocol.HTTP2),
        ("tcp-x", 80, Protocol.TCP),
        ("https", 443, Protocol.TCP),
        ("", 3306, Protocol.TCP),
        ("http", 3306, Protocol.HTTP),
    ],
)
def test_the_name_of_a_port_says_its_protocol_and_its_number_does_for_servers_that_speak_first(name, number, protocol):
    assert protocol_of(ServicePort(number=number, name=name)) is protocol


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        (ServicePort(number=80, name="tcp", app_protocol="kubernetes.io/h2c"), Protocol.HTTP2),
        (ServicePort(number=80, name="tcp", app_protocol="kubernetes.io/ws"), Protocol.HTTP),
        (ServicePort(number=443, name="http", app_protocol="kubernetes.io/wss"), Protocol.TCP),
        (ServicePort(number=80, name="tcp", app_protocol="GRPC"), Protocol.HTTP2),
        (ServicePort(number=80, name="http", app_protocol="example.com/unknown"), Protocol.AUTO),
        (ServicePort(number=80, name="tcp", protocol="HTTP"), Protocol.HTTP),
        (ServicePort(number=80, name="http", protocol=""), Protocol.AUTO),
        (ServicePort(number=27017, name="http", protocol=""), Protocol.TCP),
        (ServicePort(number=80, name="http", protocol="MONGO"), Protocol.TCP),
    ],
)
def test_a_declared_protocol_goes_before_the_name(port, protocol):
    assert protocol_of(port) is protocol


@pytest.mark.parametrize(("name", "tls"), [("tls", True), ("https-web", True), ("http", False), ("data", False)])
def test_clients_of_a_port_for_tls_say_a_server_name(name, tls):
    assert is_tls(ServicePort(number=443, name=name)) is tls
