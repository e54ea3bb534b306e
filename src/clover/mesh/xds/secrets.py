"""What a proxy proves its identity with, and what it recognises others by, as SDS resources."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from clover.mesh.xds.resource import Resource, resource

IDENTITY = "default"
"""Istio's name of the secret with a workload's own certificate and key."""
ROOTS = "ROOTCA"
"""Istio's name of the secret with the certificates of the authorities that a workload trusts."""


def key_pair(name: str, certificate: bytes, private_key: bytes) -> Resource:
    """Return a certificate (PEM, its chain included) and its key as a secret."""
    return resource(
        name,
        secret_pb2.Secret(
            name=name,
            tls_certificate=common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(inline_bytes=certificate),
                private_key=base_pb2.DataSource(inline_bytes=private_key),
            ),
        ),
    )


def roots(name: str, certificates: bytes) -> Resource:
    """Return the certificates (PEM) of trusted authorities as a secret."""
    return resource(
        name,
        secret_pb2.Secret(
            name=name,
            validation_context=common_pb2.CertificateValidationContext(
                trusted_ca=base_pb2.DataSource(inline_bytes=certificates)
            ),
        ),
    )


def certificates_of(secret: Resource) -> bytes:
    """Return the certificates (PEM) in a secret."""
    message = secret_pb2.Secret.FromString(secret.body)
    sources = (message.tls_certificate.certificate_chain, message.validation_context.trusted_ca)
    return b"".join(source.inline_bytes for source in sources)
