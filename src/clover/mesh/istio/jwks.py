"""
JSON Web Key Sets (RFC 7517): which keys of one can a proxy use?

Envoy leaves out keys that it cannot use, and refuses the whole listener when none is left.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format, struct_pb2

_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_CURVE_OF = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_HMAC = ("", "HS256", "HS384", "HS512")
_EXPONENTS = (3, 65537)
_RSA_BITS = range(1024, 16 * 1024 + 1)
_ED25519_BYTES = 32
_BASE64URL = re.compile(r"[-_A-Za-z0-9]+={0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """What a key set is good for."""

    usable: int = 0
    """How many keys a proxy can use."""
    useless: tuple[str, ...] = ()
    """What is wrong with each of the others, or with the set as a whole."""
    secrets: tuple[str, ...] = ()
    """Which keys could sign a token, where only checking one is called for."""


def inspect(text: str) -> KeySet:
    """Return what a key set is good for."""
    try:
        found = json_format.MessageToDict(json_format.Parse(text, struct_pb2.Struct()))
    except (json_format.Error, ValueError, RecursionError):
        return KeySet(useless=("it is not a JSON object",))
    keys = found.get("keys")
    if not isinstance(keys, list):
        return KeySet(useless=("it has no list 'keys'",))
    useless, secrets = [], []
    for index, key in enumerate(keys):
        label = _label(index, key)
        if problem := _problem(key):
            useless.append(f"{label} {problem}")
        elif key["kty"] == "oct":
            secrets.append(f"{label} is symmetric: it signs tokens as well as it checks them")
        elif "d" in key:
            secrets.append(f"{label} has its private part")
    return KeySet(usable=len(keys) - len(useless), useless=tuple(useless), secrets=tuple(secrets))


def _label(index: int, key: Any) -> str:
    name = key.get("kid") if isinstance(key, dict) else None
    return f"key {index} ({name[:40]!r})" if isinstance(name, str) and name else f"key {index}"


def _problem(key: Any) -> str:
    if not isinstance(key, dict):
        return "is not an object"
    algorithm = key["alg"] if isinstance(key.get("alg"), str) else ""
    match key.get("kty"):
        case "RSA":
            return _rsa(key, algorithm)
        case "EC":
            return _elliptic(key, algorithm)
        case "OKP":
            return _edwards(key, algorithm)
        case "oct":
            if algorithm not in _HMAC:
                return f"is symmetric, and its 'alg' is {algorithm[:20]!r}"
            return "" if _bytes(key, "k") else "has no 'k' in base64url"
        case None:
            return "has no 'kty'"
        case other:
            return f"has the 'kty' {str(other)[:20]!r}, expected 'RSA', 'EC', 'OKP' or 'oct'"


def _rsa(key: Mapping[str, Any], algorithm: str) -> str:
    if algorithm and algorithm[:2] not in ("RS", "PS"):
        return f"is an RSA key, and its 'alg' is {algorithm[:20]!r}"
    modulus, exponent = _number(key, "n"), _number(key, "e")
    if not modulus or not exponent:
        return "needs 'n' and 'e' in base64url"
    if exponent not in _EXPONENTS:
        return f"has the exponent {str(exponent)[:20]}, expected 3 or 65537"
    if modulus.bit_length() not in _RSA_BITS or modulus % 2 == 0:
        return f"has a modulus of {modulus.bit_length()} bits, expected an odd one of 1024 to 16384"
    return ""


def _elliptic(key: Mapping[str, Any], algorithm: str) -> str:
    if algorithm and algorithm not in _CURVE_OF:
        return f"is an elliptic key, and its 'alg' is {algorithm[:20]!r}"
    name = str(key.get("crv") or _CURVE_OF.get(algorithm, "P-256"))
    if name not in _CURVES or (algorithm and _CURVE_OF[algorithm] != name):
        return f"has the curve {name[:20]!r}, expected 'P-256', 'P-384' or 'P-521', as its 'alg' says"
    x, y = _number(key, "x"), _number(key, "y")
    if x is None or y is None:
        return "needs 'x' and 'y' in base64url"
    try:
        ec.EllipticCurvePublicNumbers(x, y, _CURVES[name]).public_key()
    except ValueError:
        return f"is no point of the curve {name!r}"
    return ""


def _edwards(key: Mapping[str, Any], algorithm: str) -> str:
    if algorithm not in ("", "EdDSA") or key.get("crv") != "Ed25519":
        return "is an octet key pair, expected the curve 'Ed25519' and the 'alg' 'EdDSA'"
    raw = _bytes(key, "x")
    return "" if raw and len(raw) == _ED25519_BYTES else "needs 32 bytes of 'x' in base64url"


def _bytes(key: Mapping[str, Any], name: str) -> bytes | None:
    text = key.get(name)
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        return None
    text = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def _number(key: Mapping[str, Any], name: str) -> int | None:
    raw = _bytes(key, name)
    return int.from_bytes(raw) if raw else None
