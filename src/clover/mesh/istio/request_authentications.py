"""What a RequestAuthentication must satisfy: somebody to protect, keys that can be used, headers that can be set."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from clover.mesh.istio import hosts, selection
from clover.mesh.istio.destination_checks import unknown_host
from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.headers import is_header_name
from clover.mesh.istio.kinds.request_authentication import JWTRule
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.policies import policy_for, service_at
from clover.mesh.istio.registry import Registry, Service
from clover.mesh.istio.resources import RequestAuthentication

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FRAMING = frozenset({"connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"})
"""Headers that say where a message goes and where it ends; a proxy would take them away from every request."""


def is_for_somebody(resource: RequestAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """Tokens are read at the workloads that the policy chooses, and nowhere else."""
    spec = resource.spec
    yield from selection.chooses_somebody(
        resource, mesh, selector=spec.selector, targets=spec.targets(), code="CLV4273"
    )
    if not spec.jwt_rules:
        what = "there are no rules, so that no token is read"
        yield Finding(code="CLV4220", path=("spec",), what=what, severity="warning")


def keys_can_be_used(resource: RequestAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """Whoever checks a signature needs the signer's public key."""
    for index, rule in enumerate(resource.spec.jwt_rules):
        path: Path = ("spec", "jwtRules", index)
        if rule.issuer is None and rule.jwks_uri is None:
            what = "neither 'issuer' nor 'jwksUri' says whose tokens these are"
            yield Finding(code="CLV4270", path=path, what=what, hint="write the 'iss' of the tokens as 'issuer'")
        match (rule.jwks, rule.jwks_uri):
            case (None, None):
                yield Finding(
                    code="CLV4270",
                    path=path,
                    what="there are no keys; Clover does not look for them at the issuer's discovery address",
                    hint="write the address of the keys as 'jwksUri', or the keys themselves as 'jwks'",
                )
            case (None, str(uri)):
                yield from _fetched(uri, (*path, "jwksUri"), resource, mesh)
            case (str(text), None):
                yield from _written(text, (*path, "jwks"))
            case _:
                yield Finding(code="CLV4270", path=path, what="'jwks' and 'jwksUri' are set, expected one of them")


def headers_can_be_set(resource: RequestAuthentication, mesh: Mesh) -> Iterator[Finding]:
    """What a request carries is read from and written to headers that it can have."""
    for index, rule in enumerate(resource.spec.jwt_rules):
        path: Path = ("spec", "jwtRules", index)
        for number, header in enumerate(rule.from_headers):
            if not is_header_name(header.name):
                here = (*path, "fromHeaders", number, "name")
                yield Finding(code="CLV4212", path=here, what=f"{header.name[:80]!r} is not a header name")
        for here, name in _written_headers(rule, path):
            if not is_header_name(name) or name.lower() in _FRAMING:
                what = f"{name[:80]!r} cannot carry what a token says"
                hint = "proxies remove the header from every request first; choose one of your own, such as 'x-jwt-sub'"
                yield Finding(code="CLV4212", path=here, what=what, hint=hint)


RULES = (is_for_somebody, keys_can_be_used, headers_can_be_set)


def keys_service(uri: str, registry: Registry, namespace: str) -> tuple[Service, int] | None:
    """Return the service, and its port, from which a policy of `namespace` has its keys fetched; None: nobody's."""
    service = service_at(registry, urlsplit(uri).hostname or "", namespace)
    port = port_of(uri)
    if service is None or port not in {known.number for known in service.ports}:
        return None
    return service, port


def port_of(uri: str) -> int:
    """Return the port of an address."""
    parts = urlsplit(uri)
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def _fetched(uri: str, path: Path, resource: RequestAuthentication, mesh: Mesh) -> Iterator[Finding]:
    namespace, host = resource.metadata.namespace, urlsplit(uri).hostname or ""
    service = service_at(mesh.registry, host, namespace)
    if service is None and not mesh.tells_services_of(hosts.full_host(host, namespace)):
        yield unknown_host(host, path, mesh, namespace=namespace)
    elif service is None:
        yield Finding(
            code="CLV4272",
            path=path,
            what=f"proxies fetch keys from services of the mesh, and {host!r} is none",
            hint=nearest(host, mesh.known_hosts()) or f"apply a ServiceEntry for {host!r}, port {port_of(uri)}",
        )
    elif keys_service(uri, mesh.registry, namespace) is None:
        ports = ", ".join(str(port.number) for port in service.ports)
        what = f"the service {host!r} has no port {port_of(uri)}; it has {ports}"
        yield Finding(code="CLV4272", path=path, what=what)
    elif uri.startswith("https:") and not _begins_tls(service, port_of(uri), namespace, mesh):
        what = f"proxies do not begin TLS towards {host!r}, so that they would ask port {port_of(uri)} in plain text"
        hint = f"apply a DestinationRule for {host!r} with 'trafficPolicy: {{tls: {{mode: SIMPLE}}}}'"
        yield Finding(code="CLV4272", path=path, what=what, hint=hint)


def _begins_tls(service: Service, port: int, namespace: str, mesh: Mesh) -> bool:
    tls = policy_for(mesh.policies.destination_rule_for(service, seen_from=namespace), port).tls
    return tls is not None and tls.mode in ("SIMPLE", "MUTUAL")


def _written(text: str, path: Path) -> Iterator[Finding]:
    from clover.mesh.istio import jwks  # Few policies have keys in them, and reading keys takes long to load.

    keys = jwks.inspect(text)
    if not keys.usable:
        why = "; ".join(keys.useless[:5]) or "the list 'keys' is empty"
        hint = 'expected a key set: {"keys": [{"kty": "RSA", "kid": ..., "n": ..., "e": ...}]}'
        yield Finding(code="CLV4270", path=path, what=f"no key can be used: {why}", hint=hint)
        return
    for problem in keys.useless:
        what = f"{problem}; proxies leave it out"
        yield Finding(code="CLV4270", path=path, what=what, severity="warning")
    for secret in keys.secrets:
        what = f"{secret}; whoever reads this policy can sign tokens"
        hint = "publish public keys only (RSA, EC or Ed25519)"
        yield Finding(code="CLV4271", path=path, what=what, hint=hint, severity="warning")


def _written_headers(rule: JWTRule, path: Path) -> Iterator[tuple[Path, str]]:
    if rule.output_payload_to_header:
        yield (*path, "outputPayloadToHeader"), rule.output_payload_to_header
    for number, output in enumerate(rule.output_claim_to_headers):
        yield (*path, "outputClaimToHeaders", number, "header"), output.header
