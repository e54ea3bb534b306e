"""Istio's PeerAuthentication."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from clover.mesh.istio.kinds.part import MatchLabels, Part, SecurityResource

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


def _port(text: str) -> str:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise PydanticCustomError("port", "the port is not a whole number from 1 to 65535")
    return str(int(text))


PortName = Annotated[str, AfterValidator(_port)]
"""A port as a key: JSON has no others than text."""


class MutualTLS(Part):
    """Whether callers must show a certificate of the mesh."""

    mode: Mode = "UNSET"
    """`UNSET`: as the wider policy says, in the end `PERMISSIVE`."""


class PeerAuthenticationSpec(Part):
    """Which connections a workload takes."""

    selector: MatchLabels | None = None
    """None, or without labels: all workloads of the namespace; in the root namespace, of the mesh."""
    mtls: MutualTLS | None = None
    port_level_mtls: dict[PortName, MutualTLS] = Field(default_factory=dict, min_length=1)
    """By the workload's own port; only with a selector."""

    @property
    def chooses(self) -> bool:
        """Tell whether it is for some workloads only."""
        return bool(self.selector and self.selector.match_labels)

    @model_validator(mode="after")
    def _ports_are_those_of_workloads(self) -> Self:
        if self.port_level_mtls and not self.chooses:
            raise PydanticCustomError("ports", "'portLevelMtls' is set without a 'selector' that names labels")
        return self


class PeerAuthentication(SecurityResource):
    """Istio's PeerAuthentication."""

    kind: Literal["PeerAuthentication"] = "PeerAuthentication"
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec.model_construct()
