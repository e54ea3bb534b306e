"""Small protobuf messages that many resources are made of."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, config_source_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter
from google.protobuf import duration_pb2
from google.protobuf.message import Message

from clover.mesh.xds.resource import packed


def over_ads() -> config_source_pb2.ConfigSource:
    """Say that a resource comes over the same stream as all others, however long that takes."""
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
    )
    # Without this, a listener whose routes are late goes live after 15 s and answers 404.
    source.initial_fetch_timeout.FromSeconds(0)
    return source


def network_filter(name: str, config: Message) -> Filter:
    """Wrap a network filter's configuration."""
    return Filter(name=f"envoy.filters.network.{name}", typed_config=packed(config))


def socket_address(address: str, port: int) -> address_pb2.Address:
    """Return an IP address and TCP port as Envoy writes them."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def duration(seconds: float) -> duration_pb2.Duration:
    """Return seconds as protobuf counts them, to the nearest microsecond."""
    result = duration_pb2.Duration()
    result.FromMicroseconds(round(seconds * 1_000_000))
    return result
