"""Whose tokens a workload believes: request authentication in the intermediate form, below `ir`, which carries it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Where the public keys of an issuer come from: written down, or fetched by the proxy itself."""

    inline: str = ""
    """A JSON Web Key Set (RFC 7517)."""
    uri: str = ""
    cluster: str = ""
    """Through which `uri` is fetched."""
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One who signs tokens, where requests carry them, and what becomes of them."""

    name: str
    """What a token's `iss` says; '': anybody whose signature fits the keys."""
    keys: Keys
    audiences: tuple[str, ...] = ()
    """A token is for one of them at least; empty: that is not looked at."""
    headers: tuple[tuple[str, str], ...] = ()
    """(name, what stands before the token)."""
    parameters: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    """No header, parameter or cookie: `Authorization: Bearer` and the parameter `access_token`."""
    required: bool = False
    """True: a request without a token is refused; False: it passes as nobody's."""
    forward: bool = False
    """True: the request keeps its token."""
    payload_header: str = ""
    """Header that gets the payload, in base64url."""
    claim_headers: tuple[tuple[str, str], ...] = ()
    """(claim, header that gets its value)."""
    lists: tuple[str, ...] = ()
    """Claims whose words, separated by spaces, are a list."""
    ports: frozenset[int] = frozenset()
    """Of a sidecar, the ports at which the tokens are believed; empty: all."""
    gateways: frozenset[str] = frozenset()
    """Of a gateway, the resources at whose ports they are; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """All issuers of tokens that one workload believes."""

    issuers: tuple[Issuer, ...] = ()
    decides_routes: bool = False
    """True: routes may ask for claims, so that a request's route is looked up again when its token has been read."""
    sources: tuple[str, ...] = ()

    def at_port(self, port: int) -> Authentication:
        """Return what holds at one port of a sidecar."""
        return self._with(issuer for issuer in self.issuers if not issuer.ports or port in issuer.ports)

    def at_gateway(self, resources: Iterable[str]) -> Authentication:
        """Return what holds at a port of a gateway that `resources` opened."""
        opened = frozenset(resources)
        return self._with(issuer for issuer in self.issuers if not issuer.gateways or issuer.gateways & opened)

    def _with(self, issuers: Iterable[Issuer]) -> Authentication:
        return replace(self, issuers=tuple(issuers))


NO_TOKENS = Authentication()
"""Nobody's tokens are read."""

FILTER = "envoy.filters.http.jwt_authn"
"""Where proxies keep what a token said, for those that ask later."""
PAYLOAD = "payload"
"""The name of the claims there."""
