"""
The chain's certificate authority, and the identities that it signs (SPIFFE X.509-SVID).

Everything lives in memory: a new authority is made whenever a chain comes up, and its key, like those of the workloads,
never touches a file. A proxy is given its key and certificate over the control plane's Unix socket (SDS).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW_S = 60.0
"""A certificate is valid from a little before it was made: clocks differ."""
_ROOT_LIFETIME_S = 10 * 365 * 86400.0
_RENEWED_AT = 0.4
_JITTER = 0.09
"""Identities are renewed when 0.4 to 0.49 of their life is over, each at its own moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Svid:
    """A workload's identity: a certificate whose only name is its SPIFFE id, and the key that proves it."""

    principal: str
    certificate: bytes
    """PEM."""
    private_key: bytes = field(repr=False)
    """PEM, PKCS #8."""
    issued: float
    """Seconds since 1970."""
    expires: float

    @property
    def renew_at(self) -> float:
        """When to replace it, in seconds since 1970: before half of its life is over."""
        jitter = _JITTER * (zlib.crc32(self.certificate) % 1000) / 1000
        return self.issued + (self.expires - self.issued) * (_RENEWED_AT + jitter)


class Authority:
    """Signs the identities of one trust domain."""

    def __init__(self, trust_domain: str, *, now: float) -> None:
        self.trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Clover"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Clover root of {trust_domain}"[:64]),
            ]
        )
        certificate = (
            _builder(self._name, self._key.public_key(), now=now, lifetime_s=_ROOT_LIFETIME_S)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self.root = certificate.public_bytes(serialization.Encoding.PEM)
        """PEM; what others need to recognise the identities, and no secret."""

    def issue(self, principal: str, *, lifetime_s: float, now: float) -> Svid:
        """Sign a new key for a SPIFFE id (X509-SVID, sections 2 to 4)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(x509.Name([]), key.public_key(), now=now, lifetime_s=lifetime_s)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            # Critical, because the subject is empty (RFC 5280, section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(principal)]), critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Svid(
            principal=principal,
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            private_key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            issued=now,
            expires=now + lifetime_s,
        )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, now: float, lifetime_s: float
) -> x509.CertificateBuilder:
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(seconds=_SKEW_S))
        .not_valid_after(moment + timedelta(seconds=lifetime_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
