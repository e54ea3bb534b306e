"""The Gateway API's ReferenceGrant."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clover.mesh.istio.kinds.gateway_api import Namespace
from clover.mesh.istio.kinds.part import GatewayApiResource, NonEmpty, Part


class ReferenceGrantFrom(Part):
    """Who may refer to something."""

    group: str
    kind: NonEmpty
    namespace: Namespace


class ReferenceGrantTo(Part):
    """What of the grant's namespace may be referred to."""

    group: str
    kind: NonEmpty
    name: str | None = None
    """None: everything of that kind."""


class ReferenceGrantSpec(Part):
    """Who may refer to objects of the grant's namespace."""

    from_: tuple[ReferenceGrantFrom, ...] = Field(alias="from", min_length=1, max_length=16)
    to: tuple[ReferenceGrantTo, ...] = Field(min_length=1, max_length=16)


class ReferenceGrant(GatewayApiResource):
    """The Gateway API's ReferenceGrant."""

    kind: Literal["ReferenceGrant"] = "ReferenceGrant"
    spec: ReferenceGrantSpec
