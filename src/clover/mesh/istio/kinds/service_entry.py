"""Istio's ServiceEntry and WorkloadEntry: services, and members of services, that the chain does not have itself."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.part import Count, NetworkingResource, NonEmpty, Part, Port

UNIX = "unix://"
LONGEST_SOCKET = 107
"""The kernel's limit of a socket's path, in bytes."""
_PORT_NAME = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,60}[a-zA-Z0-9])?")


def _without_wildcard(text: str) -> str:
    if "*" in text:
        raise PydanticCustomError("wildcard", "the value has a wildcard, which a selector cannot have")
    return text


def _port_name(text: str) -> str:
    if not _PORT_NAME.fullmatch(text):
        raise PydanticCustomError("port_name", "the name of a port has letters, digits and dashes only")
    return text


def _network(text: str) -> str:
    try:
        # What stands behind a '%' is the name of an interface, which Envoy does not read.
        ipaddress.ip_network(text.replace("%", "?"), strict=False)
    except ValueError:
        raise PydanticCustomError("address", "the value is neither an IP address nor a network") from None
    return text


NetworkAddress = Annotated[str, Field(max_length=64), AfterValidator(_network)]
SelectedValue = Annotated[str, Field(max_length=63), AfterValidator(_without_wildcard)]
PortName = Annotated[str, AfterValidator(_port_name)]


class WorkloadSelector(Part):
    """Chooses workloads of the resource's own namespace that have all of these labels."""

    labels: dict[str, SelectedValue] = Field(default_factory=dict)


class EntryPort(Part):
    """A port of a service, or one that a sidecar opens."""

    number: Port
    name: NonEmpty = Field(max_length=256)
    protocol: str = Field(default="", max_length=256)
    target_port: Port | None = None
    """Where the members take the traffic; None: at `number`."""


class WorkloadEntrySpec(Part):
    """A member of a service that is not the chain's."""

    address: str = Field(default="", max_length=256)
    ports: dict[PortName, Port] = Field(default_factory=dict)
    """By the name of the service's port; those that are not named are the service's."""
    labels: dict[str, str] = Field(default_factory=dict)
    network: str = ""
    locality: str = Field(default="", max_length=2048)
    weight: Count = 0
    """Its share among the members; 0 is as good as 1."""
    service_account: str = Field(default="", max_length=253)

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if not self.address and not self.network:
            raise PydanticCustomError("address", "there is no 'address'")
        if self.address.startswith(UNIX):
            self._is_a_socket(self.address.removeprefix(UNIX))
        return self

    def _is_a_socket(self, path: str) -> None:
        if len(path.encode("utf-8", "replace")) > LONGEST_SOCKET:
            raise PydanticCustomError(
                "socket", "the path of a Unix socket has at most {most} bytes", {"most": LONGEST_SOCKET}
            )
        if not path.startswith(("/", "@")) or path.endswith("/"):
            raise PydanticCustomError("socket", "a Unix socket is an absolute path or begins with '@'")
        if self.ports:
            raise PydanticCustomError("socket", "a Unix socket has no 'ports'")


class WorkloadEntry(NetworkingResource):
    """Istio's WorkloadEntry."""

    kind: Literal["WorkloadEntry"] = "WorkloadEntry"
    spec: WorkloadEntrySpec


class ServiceEntrySpec(Part):
    """A service that is not the chain's."""

    hosts: tuple[NonEmpty, ...] = Field(min_length=1, max_length=256)
    addresses: tuple[NetworkAddress, ...] = Field(default=(), max_length=256)
    ports: tuple[EntryPort, ...] = Field(default=(), max_length=256)
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: tuple[WorkloadEntrySpec, ...] = Field(default=(), max_length=4096)
    workload_selector: WorkloadSelector | None = None
    subject_alt_names: tuple[str, ...] = ()
    export_to: tuple[NonEmpty, ...] = ()

    @model_validator(mode="after")
    def _finds_members_in_one_way(self) -> Self:
        said = self.model_fields_set
        if self.workload_selector is not None and "endpoints" in said:
            raise PydanticCustomError("members", "'workloadSelector' and 'endpoints' exclude each other")
        if self.resolution == "NONE" and "endpoints" in said:
            raise PydanticCustomError("members", "with the resolution 'NONE' there are no 'endpoints'")
        if self.resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            raise PydanticCustomError("members", "with 'DNS_ROUND_ROBIN' there is one of 'endpoints' at most")
        if self.resolution not in ("NONE", "STATIC") and any("/" in address for address in self.addresses):
            raise PydanticCustomError("addresses", "networks are for the resolutions 'NONE' and 'STATIC'")
        return self


class ServiceEntry(NetworkingResource):
    """Istio's ServiceEntry."""

    kind: Literal["ServiceEntry"] = "ServiceEntry"
    spec: ServiceEntrySpec
