"""A real Envoy at the gateway, told what RequestAuthentications mean: whose tokens pass, and what becomes of them."""

import base64
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import pytest

from clover.mesh import server, snapshot
from harness import envoy, policies, tokens
from harness.ports import free_port
from harness.tokens import ISSUER, edwards, elliptic, serving_keys, signer, unsigned

pytestmark = pytest.mark.envoy

WRONG = "Jwt verification fails"


@pytest.fixture
def directory():
    """A folder whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


class Gateway:
    """The gateway of a small chain; its services are on the loopback interface."""

    def __init__(self, control, echo):
        self.control = control
        self.port = free_port()
        self.backends = {"": echo}
        """Port by the name of a service; '': of all others."""

    async def obey(self, text):
        """Put a policy into force that has no problem worse than a warning."""
        assert [str(problem) for problem in policies.problems(text) if problem.severity == "error"] == []
        proxy = policies.proxies(text)["gateway"]
        (port,) = proxy.gateways
        proxy = dataclasses.replace(
            proxy,
            gateways=(dataclasses.replace(port, port=self.port),),
            # The services here have no sidecars.
            clusters=tuple(dataclasses.replace(cluster, tls=None) for cluster in proxy.clusters),
            endpoints=tuple(self._local(group) for group in proxy.endpoints),
        )
        generation = self.control.push({"gateway": snapshot.snapshot_from(proxy)})
        result = await self.control.acknowledged(generation, timeout_s=10)
        assert (result.accepted, result.problems) == (("gateway",), ())

    def _local(self, group):
        name = group.cluster.rpartition("|")[2].partition(".")[0]
        port = self.backends.get(name, self.backends[""])
        members = (dataclasses.replace(member, address="127.0.0.1", port=port) for member in group.members[:1])
        return dataclasses.replace(group, members=tuple(members))

    async def ask(self, token=None, path="/", **headers):
        given = {"authorization": f"Bearer {token}"} if token is not None else {}
        return await envoy.fetch(self.port, path, **given, **headers)


@pytest.fixture
async def gateway(directory):
    async with (
        envoy.echoing() as echo,
        server.serving(directory / "xds.sock") as control,
        envoy.envoy(directory, policies.proxies()["gateway"].identity),
    ):
        yield Gateway(control, echo)


def believing(*rules, name="tokens"):
    """Return a policy for the gateway; JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "jwtRules": list(rules)},
        }
    )


def rule(who=None, **more):
    return {"issuer": ISSUER, "jwks": (who or signer()).jwks} | more


async def test_a_good_token_and_none_pass_and_every_bad_one_is_refused(gateway):
    await gateway.obey(believing(rule(audiences=["shop", "bank"])))
    good = {"aud": "shop"}
    head, body, signature = signer().token(**good).split(".")
    forged = f"{head}.{tokens.part({'iss': ISSUER, 'aud': 'shop', 'sub': 'root'})}.{signature}"

    async def status(token):
        return (await gateway.ask(token)).status

    assert await status(None) == 200
    assert await status(signer().token(**good)) == 200
    assert await status(signer().token(aud=["bank", "else"])) == 200
    assert await status(signer().token(aud="else")) == 403
    assert await status(signer().token(aud=None)) == 403
    for bad in (
        signer().token(**good, exp=int(time.time()) - 120),
        signer().token(**good, nbf=int(time.time()) + 120),
        signer().token(**good, iss="https://other.example.com"),
        signer().token(**good, iss=None),
        signer("two").token(**good),
        signer("two").token(**good, header={"kid": "one"}),
        signer().token(**good, header={"alg": "none"}),
        signer().token(**good, header={"alg": "HS256"}),
        unsigned(**good),
        forged,
        f"{head}.{body}.",
        f"{head}.{body}",
        "garbage",
    ):
        assert (await gateway.ask(bad)).status == 401, bad


async def test_elliptic_and_edwards_keys_are_good_too(gateway):
    await gateway.obey(believing(rule(jwks=tokens.key_set(elliptic().jwk, edwards().jwk))))

    assert (await gateway.ask(elliptic().token())).status == 200
    assert (await gateway.ask(edwards().token())).status == 200
    assert (await gateway.ask(signer().token())).status == 401


async def test_the_request_loses_its_token_and_keeps_it_where_the_policy_says_so(gateway):
    await gateway.obey(believing(rule()))
    assert "authorization" not in (await gateway.ask(signer().token())).echo["headers"]

    await gateway.obey(believing(rule(forwardOriginalToken=True)))
    token = signer().token()
    assert (await gateway.ask(token)).echo["headers"]["authorization"] == f"Bearer {token}"


async def test_headers_get_claims_and_never_what_the_client_wrote_there(gateway):
    claims = [{"header": "x-user", "claim": "sub"}, {"header": "x-group", "claim": "group.id"}]
    await gateway.obey(believing(rule(outputClaimToHeaders=claims, outputPayloadToHeader="x-payload")))
    told = (await gateway.ask(signer().token(group={"id": 7}), x_user="root", x_payload="root")).echo["headers"]

    assert (told["x-user"], told["x-group"]) == ("jason", "7")
    payload = base64.urlsafe_b64decode(told["x-payload"] + "==")
    assert json.loads(payload)["sub"] == "jason"
    without = (await gateway.ask(x_user="root", x_group="1", x_payload="root")).echo["headers"]
    assert without.keys() & {"x-user", "x-group", "x-payload"} == set()


async def test_tokens_are_looked_for_where_the_policy_says_and_only_there(gateway):
    places = {
        "fromHeaders": [{"name": "x-token", "prefix": "jwt "}],
        "fromParams": ["token"],
        "fromCookies": ["session"],
    }
    await gateway.obey(believing(rule(**places, presence="REQUIRED")))
    token = signer().token()

    assert (await gateway.ask(x_token=f"jwt {token}")).status == 200
    assert (await gateway.ask(path=f"/?token={token}")).status == 200
    assert (await gateway.ask(cookie=f"a=b; session={token}")).status == 200
    assert (await gateway.ask(token)).status == 401
    assert (await gateway.ask()).status == 401


async def test_rules_of_several_policies_hold_together(gateway):
    other = {"issuer": "other", "jwks": signer("two").jwks}
    await gateway.obey(f"{believing(rule())}\n---\n{believing(other, name='others')}")

    assert (await gateway.ask()).status == 200
    assert (await gateway.ask(signer().token())).status == 200
    assert (await gateway.ask(signer("two").token(iss="other"))).status == 200
    assert (await gateway.ask(signer("two").token())).status == 401
    assert (await gateway.ask(signer("two").token(iss="third"))).status == 401


async def test_where_one_of_several_is_required_a_token_of_any_is_enough_and_none_is_not(gateway):
    other = {"issuer": "other", "jwks": signer("two").jwks, "presence": "REQUIRED"}
    await gateway.obey(believing(rule(), other))

    assert (await gateway.ask()).status == 401
    assert (await gateway.ask(signer().token())).status == 200
    assert (await gateway.ask(signer("two").token(iss="other"))).status == 200


async def test_a_browser_may_ask_for_permission_before_it_has_a_token(gateway):
    await gateway.obey(believing(rule(presence="REQUIRED")))
    preflight = {"origin": "https://example.com", "access-control-request-method": "POST"}

    assert (await envoy.fetch(gateway.port, method="OPTIONS", **preflight)).status == 200
    assert (await envoy.fetch(gateway.port, method="OPTIONS")).status == 401


KEYS_AT = "http://cache.default.svc.cluster.local:9180/keys.json"


async def test_the_proxy_fetches_keys_once_and_uses_them(gateway):
    async with serving_keys(signer().jwks) as keys:
        gateway.backends["cache"] = keys.port
        await gateway.obey(believing({"issuer": ISSUER, "jwksUri": KEYS_AT, "timeout": "2s"}))

        assert [(await gateway.ask(signer().token())).status for _ in range(3)] == [200] * 3
        assert (await gateway.ask(signer("two").token())).status == 401
        assert keys.asked == ["/keys.json"]


@pytest.mark.parametrize(("status", "body"), [(500, "{}"), (200, "no keys"), (200, '{"keys": []}')])
async def test_keys_that_cannot_be_had_let_no_token_pass(gateway, status, body):
    async with serving_keys(body) as keys:
        keys.status = status
        gateway.backends["cache"] = keys.port
        await gateway.obey(believing({"issuer": ISSUER, "jwksUri": KEYS_AT}))
        answer = await gateway.ask(signer().token())

        assert answer.status == 401
        assert (await gateway.ask()).status == 200
        assert b"Jwks" in answer.body


ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sdc}
spec:
  hosts: ['*']
  gateways: [sdc-gateway]
  http:
  - name: deep
    match: [{headers: {'@request.auth.claims[group][id]': {exact: admins}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: waf, port: {number: 9180}}}]
  - name: listed
    match: [{headers: {'@request.auth.claims.scope': {exact: write}}}]
    directResponse: {status: 201}
  - name: prefixed
    match: [{headers: {'@request.auth.claims.sub': {prefix: test-}}}]
    directResponse: {status: 202}
  - name: anybody
    match: [{headers: {'@request.auth.claims.iss': {}}}]
    directResponse: {status: 203}
  - name: strangers
    match: [{withoutHeaders: {'@request.auth.claims.sub': {}}}]
    directResponse: {status: 204}
"""


async def test_claims_choose_the_route_with_all_that_belongs_to_it(gateway):
    await gateway.obey(f"{believing(rule())}\n---{ROUTES}")

    async def status(**claims):
        return (await gateway.ask(signer().token(**claims))).status

    assert await status(group={"id": "admins"}) == 418
    assert await status(group={"id": ["users", "admins"]}) == 418
    assert await status(scope="read write") == 201
    assert await status(scope="rewrite") == 203
    assert await status(sub="test-7") == 202
    assert await status() == 203
    assert (await gateway.ask()).status == 204
    assert (await gateway.ask(unsigned(group={"id": "admins"}))).status == 401


ONLY_SHOPPERS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shoppers}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  rules:
  - from: [{source: {requestPrincipals: ['https://issuer.example.com/*']}}]
    when: [{key: 'request.auth.claims[group]', values: [shoppers]}]
"""


async def test_an_authorization_policy_asks_what_the_token_said(gateway):
    await gateway.obey(f"{believing(rule())}\n---{ONLY_SHOPPERS}")

    assert (await gateway.ask()).status == 403
    assert (await gateway.ask(signer().token())).status == 403
    assert (await gateway.ask(signer().token(group=["shoppers", "staff"]))).status == 200
    assert (await gateway.ask(unsigned(group="shoppers"))).status == 401
