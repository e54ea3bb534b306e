"""A compiled piece of Envoy configuration: its bytes, its version, what it needs and who caused it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf import any_pb2
from google.protobuf.message import Message

_PREFIX = "type.googleapis.com/"
CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTES = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"

SECRET = f"{_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"

TYPES = (SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""In the order in which a proxy must hear of them: what is referred to comes before what refers to it."""

NOUNS = {SECRET: "secret", CLUSTER: "cluster", ENDPOINTS: "endpoints", LISTENER: "listener", ROUTES: "route table"}
"""What people call a resource of each type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One named Envoy resource, ready to be sent."""

    name: str
    type_url: str
    version: str
    """A hash of `body`: equal versions are equal configurations, whoever compiled them and when."""
    body: bytes = field(repr=False)
    """The serialised message, as it stands inside an Any."""
    requires: tuple[tuple[str, str], ...] = ()
    """(type, name) of the resources that this one refers to; without them it does not work."""
    sources: tuple[str, ...] = ()
    """The author's resources that it came from: `VirtualService/default/http-lb`."""


Resources = Mapping[str, Mapping[str, Resource]]
"""Type URL → name → resource."""


def resource(
    name: str,
    message: Message,
    *,
    requires: Iterable[tuple[str, str]] = (),
    sources: Iterable[str] = (),
) -> Resource:
    """Serialise `message`; equal messages give equal bytes in every process."""
    return made_of(name, type(message), [serialised(message)], requires=requires, sources=sources)


def serialised(message: Message) -> bytes:
    """Return the bytes of a message: equal messages have equal ones in every process."""
    return message.SerializeToString(deterministic=True)


def made_of(
    name: str,
    kind: type[Message],
    parts: Iterable[bytes],
    *,
    requires: Iterable[tuple[str, str]] = (),
    sources: Iterable[str] = (),
) -> Resource:
    """Return a resource of serialised parts: messages of one kind, one after the other, are one message (protobuf)."""
    body = b"".join(parts)
    return Resource(
        name=name,
        type_url=_PREFIX + kind.DESCRIPTOR.full_name,
        version=hashlib.sha256(body).hexdigest()[:16],
        body=body,
        requires=tuple(sorted(set(requires))),
        sources=tuple(sorted(set(sources))),
    )


def packed(message: Message) -> any_pb2.Any:
    """Put `message` into an Any, deterministically."""
    return any_pb2.Any(
        type_url=_PREFIX + message.DESCRIPTOR.full_name, value=message.SerializeToString(deterministic=True)
    )
