"""
Certificates that somebody else made: what their secrets are called, and whether they are any good.

The name of a secret says which files it comes from, as on Istio, so that whoever compiles a policy reads no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SYSTEM = "system"
"""In place of a file: the authorities that the machine believes."""
_IDENTITY, _ROOTS, _FOLDER, _ROOTS_OF_FOLDER = "file-cert:", "file-root:", "kubernetes://", "-cacert"
_SEPARATOR = "~"
_SMALLEST_RSA_BITS = 2048
"""Envoy refuses shorter ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a secret comes from; paths are as the author wrote them, or below the folder of the chain."""

    certificates: str
    """`system`: the authorities that the machine believes."""
    key: str = ""
    """'': there is none; the certificates are those of authorities."""


def identity_name(*, certificate: str, key: str, credential: str) -> str:
    """Return the name of the secret with a certificate and its key."""
    return f"{_FOLDER}{credential}" if credential else f"{_IDENTITY}{certificate}{_SEPARATOR}{key}"


def roots_name(*, certificates: str, credential: str) -> str:
    """Return the name of the secret with the certificates of authorities."""
    if credential:
        return f"{_FOLDER}{credential}{_ROOTS_OF_FOLDER}"
    return f"{_ROOTS}{certificates or SYSTEM}"


def files_of(secret: str) -> Files | None:
    """Return where a secret comes from; None: from no file."""
    if secret.startswith(_IDENTITY):
        certificate, _, key = secret.removeprefix(_IDENTITY).partition(_SEPARATOR)
        return Files(certificates=certificate, key=key)
    if secret.startswith(_ROOTS):
        return Files(certificates=secret.removeprefix(_ROOTS))
    if secret.startswith(_FOLDER):
        name = secret.removeprefix(_FOLDER)
        if name.endswith(_ROOTS_OF_FOLDER):
            return Files(certificates=f"credentials/{name.removesuffix(_ROOTS_OF_FOLDER)}/ca.crt")
        return Files(certificates=f"credentials/{name}/tls.crt", key=f"credentials/{name}/tls.key")
    return None


def words_of(secret: str) -> frozenset[str]:
    """Return the words by which resources name the files of a secret; none: it comes from no file."""
    if secret.startswith(_FOLDER):
        return frozenset((secret.removeprefix(_FOLDER), secret.removeprefix(_FOLDER).removesuffix(_ROOTS_OF_FOLDER)))
    files = files_of(secret)
    return frozenset(filter(None, (files.certificates, files.key))) if files else frozenset()


def faults_of_pair(certificates: bytes, key: bytes, *, now: float) -> Iterator[str]:
    """Yield why a certificate (PEM, its chain behind it) and a key cannot prove who somebody is."""
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        yield "the private key needs a password"
        return
    except (ValueError, UnsupportedAlgorithm):
        yield "the private key is not one in PEM form"
        return
    try:
        first, *_ = x509.load_pem_x509_certificates(certificates)
        public = first.public_key()
    except ValueError:
        yield "the certificate is not one in PEM form"
        return
    except UnsupportedAlgorithm:
        yield "the certificate's key is of a kind that is not known"
        return
    if public != private.public_key():
        yield "the private key does not belong to the certificate"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _SMALLEST_RSA_BITS:
        yield f"the key has {private.key_size} bits, and Envoy takes RSA keys from {_SMALLEST_RSA_BITS} bits on"
    elif not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        yield "the key is neither an RSA nor an ECDSA key, and Envoy takes no others"
    elif isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name not in _CURVES:
        yield f"the key's curve is {private.curve.name}, and Envoy takes {', '.join(_CURVES)}"
    yield from _times(first, now)


_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def faults_of_roots(certificates: bytes, *, now: float) -> Iterator[str]:
    """Yield why certificates (PEM) are not those of authorities that one could believe."""
    try:
        found = x509.load_pem_x509_certificates(certificates)
    except ValueError:
        yield "there is no certificate in PEM form"
        return
    times = [tuple(_times(certificate, now)) for certificate in found]
    if all(times):
        yield from times[0]


def expiry_of(certificates: bytes, *, authorities: bool) -> datetime:
    """Return until when a certificate proves something; of several authorities, the one that lasts longest counts."""
    found = x509.load_pem_x509_certificates(certificates)
    return max(one.not_valid_after_utc for one in (found if authorities else found[:1]))


def _times(certificate: x509.Certificate, now: float) -> Iterator[str]:
    moment = datetime.fromtimestamp(now, UTC)
    if certificate.not_valid_after_utc <= moment:
        yield f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    elif certificate.not_valid_before_utc > moment:
        yield f"the certificate is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
