"""Tokens for tests: signers, their key sets, and tokens that are good or bad in one way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://issuer.example.com"


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: object) -> str:
    return encoded(json.dumps(value).encode())


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8))


@dataclass(frozen=True, slots=True)
class Signer:
    """One who signs tokens."""

    key: object
    algorithm: str = "RS256"
    name: str = "one"

    @property
    def jwk(self) -> dict[str, str]:
        public = self.key.public_key()
        match public:
            case rsa.RSAPublicKey():
                numbers = public.public_numbers()
                own = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
            case ec.EllipticCurvePublicKey():
                numbers = public.public_numbers()
                own = {
                    "kty": "EC",
                    "crv": "P-256",
                    "x": encoded(numbers.x.to_bytes(32)),
                    "y": encoded(numbers.y.to_bytes(32)),
                }
            case _:
                own = {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())}
        return {"kid": self.name, "alg": self.algorithm, **own}

    @property
    def jwks(self) -> str:
        return key_set(self.jwk)

    def token(self, *, header: dict | None = None, **claims) -> str:
        """Return a token that is good for an hour, but for what `header` and `claims` say; None leaves a claim out."""
        said = {"iss": ISSUER, "sub": "jason", "exp": int(time.time()) + 3600} | claims
        shown = {"alg": self.algorithm, "kid": self.name, "typ": "JWT"} | (header or {})
        signed = f"{part(shown)}.{part({name: value for name, value in said.items() if value is not None})}"
        return f"{signed}.{encoded(self._signature(signed.encode()))}"

    def _signature(self, signed: bytes) -> bytes:
        match self.key:
            case rsa.RSAPrivateKey():
                return self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
            case ec.EllipticCurvePrivateKey():
                r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32) + s.to_bytes(32)
            case _:
                return self.key.sign(signed)


def key_set(*keys: object) -> str:
    return json.dumps({"keys": list(keys)})


@cache
def signer(name: str = "one") -> Signer:
    """Return an RSA signer; the same for the same name."""
    return Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048), name=name)


@cache
def elliptic() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()), "ES256", "elliptic")


@cache
def edwards() -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.generate(), "EdDSA", "edwards")


def unsigned(**claims) -> str:
    """Return a token that says that it needs no signature."""
    said = {"iss": ISSUER, "sub": "jason", "exp": int(time.time()) + 3600} | claims
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(said)}."


@dataclass(slots=True)
class KeyServer:
    """A server of keys that counts who asks."""

    port: int = 0
    body: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving_keys(body: str) -> AsyncIterator[KeyServer]:
    """Run a server that gives everybody the same key set."""
    keys = KeyServer(body=body)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                keys.asked.append(head.split(" ")[1])
                body = keys.body.encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (keys.status, len(body), body))
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    keys.port = server.sockets[0].getsockname()[1]
    try:
        yield keys
    finally:
        server.close()
