import pytest

from clover.mesh.ir import Protocol
from clover.mesh.istio.registry import ServicePort
from clover.mesh.translate.protocols import protocol_of


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
