"""What is said about RequestAuthentications, and about matches of claims, before a proxy hears of them."""

import json

import pytest

from harness import policies, tokens
from harness.policies import virtual_service

ISSUER = "https://issuer.example.com"
AT = "http://cache.default.svc.cluster.local:9180/keys"


def policy(*rules, selector="{matchLabels: {app: server}}", more=""):
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens}}
spec:
  selector: {selector}
  jwtRules: {json.dumps(rules)}
{more}"""


def rule(**more):
    return {"issuer": ISSUER, "jwks": tokens.signer().jwks} | more


def about(text):
    """Return code, severity, message after the resource's name, and hint of each problem."""
    found = policies.problems(text)
    return [(one.code, one.severity, one.what.partition("field ")[2], one.hint) for one in found]


def test_a_sound_policy_is_not_spoken_of():
    assert about(policy(rule(), {"issuer": ISSUER, "jwksUri": AT})) == []


def test_a_key_set_may_span_lines():
    text = json.dumps(json.loads(tokens.signer().jwks), indent=2)

    assert about(policy(rule(jwks=text))) == []


def test_keys_are_written_down_or_fetched():
    ((code, severity, what, _),) = about(policy({"issuer": ISSUER}))
    assert (code, severity) == ("CLV4270", "error")
    assert what.startswith("'spec.jwtRules[0]': there are no keys")

    ((code, _, what, _),) = about(policy(rule(jwksUri=AT)))
    assert (code, what) == ("CLV4270", "'spec.jwtRules[0]': 'jwks' and 'jwksUri' are set, expected one of them")


def test_a_key_set_without_a_usable_key_is_refused_where_it_is_written():
    ((code, severity, what, _),) = about(policy(rule(jwks='{"keys": [{"kty": "RSA"}]}')))

    assert (code, severity) == ("CLV4270", "error")
    assert what == "'spec.jwtRules[0].jwks': no key can be used: key 0 needs 'n' and 'e' in base64url"


def test_a_useless_key_beside_a_good_one_and_a_secret_are_warnings():
    secret = {"kty": "oct", "k": "c2VjcmV0"}
    found = about(policy(rule(jwks=tokens.key_set(tokens.signer().jwk, {"kty": "odd"}, secret))))

    assert [(code, severity) for code, severity, _, _ in found] == [("CLV4270", "warning"), ("CLV4271", "warning")]


def test_somebody_signs_the_tokens():
    ((code, _, what, _),) = about(policy({"jwks": tokens.signer().jwks}))

    assert (code, what) == ("CLV4270", "'spec.jwtRules[0]': neither 'issuer' nor 'jwksUri' says whose tokens these are")


@pytest.mark.parametrize(
    ("uri", "what", "hint"),
    [
        (
            "http://keys.example.com/x",
            "proxies fetch keys from services of the mesh, and 'keys.example.com' is none",
            "apply a ServiceEntry for 'keys.example.com', port 80",
        ),
        ("http://cach.default.svc.cluster.local:9180/x", "is none", "cache.default.svc.cluster.local"),
        ("http://cache:1/x", "the service 'cache' has no port 1; it has 9180", ""),
        ("https://cache:9180/x", "proxies do not begin TLS towards 'cache'", "mode: SIMPLE"),
    ],
)
def test_keys_are_fetched_from_where_proxies_can_reach(uri, what, hint):
    ((code, severity, said, way_out),) = about(policy({"issuer": ISSUER, "jwksUri": uri}))

    assert (code, severity) == ("CLV4272", "error")
    assert what in said
    assert hint in way_out


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"fromHeaders": [{"name": "a b"}]}, "fromHeaders[0].name"),
        ({"outputPayloadToHeader": "a b"}, "outputPayloadToHeader"),
        ({"outputClaimToHeaders": [{"header": "Content-Length", "claim": "x"}]}, "outputClaimToHeaders[0].header"),
    ],
)
def test_headers_are_ones_that_a_request_can_have(more, field):
    ((code, _, what, _),) = about(policy(rule(**more)))

    assert code == "CLV4212"
    assert what.startswith(f"'spec.jwtRules[0].{field}'")


def test_a_policy_for_nobody_and_one_without_rules_are_warnings():
    ((code, severity, _, _),) = about(policy(rule(), selector="{matchLabels: {app: nobody}}"))
    assert (code, severity) == ("CLV4273", "warning")

    ((code, severity, _, _),) = about(policy())
    assert (code, severity) == ("CLV4220", "warning")


@pytest.mark.parametrize(
    ("target", "severity", "what"),
    [
        ("{kind: Service, name: server}", "warning", "leave a policy for a Service to waypoints"),
        ("{kind: Service, name: nobody}", "error", "there is no service 'nobody'"),
        ("{group: gateway.networking.k8s.io, kind: Gateway, name: none}", "error", "there is no Gateway 'none'"),
        ("{group: x.io, kind: Thing, name: none}", "error", "is for a waypoint"),
    ],
)
def test_what_a_policy_names_exists(target, severity, what):
    text = policy(rule()).replace("selector: {matchLabels: {app: server}}", f"targetRefs: [{target}]")
    ((code, found, said, _),) = about(text)

    assert (code, found) == ("CLV4273", severity)
    assert what in said


TOKENS_AT_THE_GATEWAY = policy(rule(), selector="{matchLabels: {istio: ingressgateway}}")


def routed(name, *, gateways="[sdc-gateway]", match_gateways="", before="headers"):
    match = f"{{{before}: {{'{name}': {{exact: x}}}}{match_gateways}}}"
    return virtual_service(
        f"[{{match: [{match}], route: [{{destination: {{host: lb, port: {{number: 9180}}}}}}]}}]",
        host="'*'" if "mesh" not in gateways else "lb",
        name="claims" if "mesh" in gateways else "sdc",
        more=f"gateways: {gateways}",
    )


def test_a_claim_decides_at_a_gateway_that_reads_tokens():
    assert about(f"{TOKENS_AT_THE_GATEWAY}\n---\n{routed('@request.auth.claims[group][id]')}") == []


def test_without_a_policy_at_the_gateway_no_claim_is_known():
    ((code, severity, what, _),) = about(routed("@request.auth.claims.sub"))

    assert (code, severity) == ("CLV4275", "warning")
    assert "no RequestAuthentication is for a gateway" in what


@pytest.mark.parametrize(
    "name", ["@request.auth.principal", "@request.auth.claims", "@request.auth.claims.", "@request.auth.claims[a][]"]
)
def test_a_name_that_is_no_claim_is_refused(name):
    ((code, severity, what, _),) = about(f"{TOKENS_AT_THE_GATEWAY}\n---\n{routed(name)}")

    assert (code, severity) == ("CLV4275", "error")
    assert f"{name!r} names no claim" in what


def test_sidecars_know_no_claims():
    (problem,) = (one for one in about(routed("@request.auth.claims.sub", gateways="[mesh]")) if one[0] == "CLV4275")

    assert problem[1] == "error"
    assert problem[2].endswith("the match never sees a claim there")


def test_a_policy_for_a_service_holds_at_its_ports_and_nowhere_else():
    text = policy(rule()).replace(
        "selector: {matchLabels: {app: server}}", "targetRefs: [{group: '', kind: Service, name: server}]"
    )
    guard = policies.proxies(text)["server"].guard

    assert [issuer.name for issuer in guard.at_port(9180).authentication.issuers] == [ISSUER]
    assert guard.at_port(50054).authentication.issuers == ()
    assert policies.proxies(text)["waf"].guard.authentication.issuers == ()
