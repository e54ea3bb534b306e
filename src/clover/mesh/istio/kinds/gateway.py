"""Istio's Gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clover.mesh.istio.kinds.part import NetworkingResource, NonEmpty, Part, Port


class ServerPort(Part):
    """A port that a gateway opens."""

    unsupported = frozenset({"targetPort"})

    number: Port
    protocol: NonEmpty
    name: NonEmpty


class Server(Part):
    """A port, and the hosts that are served on it."""

    unsupported = frozenset({"tls", "defaultEndpoint"})

    port: ServerPort
    hosts: tuple[NonEmpty, ...] = Field(min_length=1)
    name: str = ""
    bind: str = ""
    """Address to listen on; empty: 127.0.0.1."""


class GatewaySpec(Part):
    """Where traffic enters the mesh."""

    selector: dict[str, str] = Field(default_factory=dict)
    servers: tuple[Server, ...] = Field(min_length=1)


class Gateway(NetworkingResource):
    """Istio's Gateway."""

    kind: Literal["Gateway"] = "Gateway"
    spec: GatewaySpec
