"""Authorization by who calls, which the certificates of two real sidecars prove."""

import pytest

from clover.kit import documents
from clover.mesh import ir
from clover.mesh.istio import parse
from clover.mesh.istio.policies import policies_from
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.translate.access import AccessTable
from clover.spec.mesh_config import MeshConfig
from harness import envoy, mutual
from harness.guarding import by, policy, when
from harness.mutual import CALLER

pytestmark = pytest.mark.envoy

CACHE = Workload(name="cache", service="cache", namespace="default", address="10.0.0.1", labels={"app": "cache"})
SERVICE = Service(name="cache", namespace="default", address="10.96.0.1", ports=(ServicePort(number=9180),))


def guard(text, **config):
    """Return what policies mean for the server's sidecar."""
    registry = Registry(chain="sdc", services=(SERVICE,), workloads=(CACHE,), config=MeshConfig.model_validate(config))
    found = policies_from(parse.parse(documents.parse(text, "policy.yaml")))
    return ir.Guard(access=AccessTable(registry, found).of(CACHE))


@pytest.fixture
async def pair():
    async with envoy.echoing() as backend, mutual.pair(backend) as both:
        yield both


ME = CALLER.removeprefix("spiffe://")
"""`cluster.local/ns/default/sa/lb`"""


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (by(principals=[ME]), 200),
        (by(principals=["*/sa/lb"]), 200),
        (by(principals=["cluster.local/ns/default/*"]), 200),
        (by(principals=["*"]), 200),
        (by(principals=["cluster.local/ns/default/sa/cache"]), 403),
        (by(notPrincipals=[ME]), 403),
        (by(namespaces=["default"]), 200),
        (by(namespaces=["def*"]), 200),
        (by(namespaces=["other"]), 403),
        (by(serviceAccounts=["lb"]), 200),
        (by(serviceAccounts=["default/lb"]), 200),
        (by(serviceAccounts=["other/lb"]), 403),
        (by(serviceAccounts=["l"]), 403),
        (by(trustDomains=["cluster.local"]), 200),
        (by(trustDomains=["*.local"]), 200),
        (by(trustDomains=["cluster"]), 403),
        (by(notTrustDomains=["cluster.*"]), 403),
        (when("source.principal", ME), 200),
        (when("source.namespace", "other", "default"), 200),
        (when("source.serviceAccount", "default/lb"), 200),
        (when("source.trustDomain", "other"), 403),
    ],
    ids=str,
)
async def test_only_whom_a_policy_allows_may_call(pair, rule, status):
    pushed = await pair.push(guard=guard(policy("callers", [rule])))

    assert pushed.problems == ()
    assert (await envoy.fetch(pair.port)).status == status


async def test_a_mesh_that_changes_its_name_is_known_by_the_old_one_too(pair):
    known = guard(
        policy("callers", [by(principals=["old.example/ns/default/sa/lb"])]),
        trustDomain="new.example",
        trustDomainAliases=["old.example", "cluster.local"],
    )
    await pair.push(guard=known)

    assert (await envoy.fetch(pair.port)).status == 200


@pytest.mark.parametrize("rule", [by(principals=["*"]), by(namespaces=["*"]), by(trustDomains=["*"])], ids=str)
async def test_whoever_calls_in_plain_text_is_nobody(pair, rule):
    await pair.push(guard=guard(policy("callers", [rule])), mode=ir.PeerMode.PERMISSIVE)

    assert (await envoy.fetch(pair.port)).status == 200
    assert (await envoy.fetch(pair.inbound)).status == 403


async def test_everybody_who_is_not_somebody_includes_whoever_calls_in_plain_text(pair):
    await pair.push(
        guard=guard(policy("callers", [by(notPrincipals=[ME])], action="DENY")), mode=ir.PeerMode.PERMISSIVE
    )

    assert (await envoy.fetch(pair.port)).status == 200
    assert (await envoy.fetch(pair.inbound)).status == 403


async def test_the_record_of_a_denied_call_names_the_caller_and_the_policy(pair):
    await pair.push(guard=guard(policy("callers", [by(principals=[ME])], action="DENY")))
    answer = await envoy.fetch(pair.port)

    def found():
        return [log for log in pair.received.logs if log.attributes["direction"] == "inbound"]

    await pair.received.until(lambda _: found())
    (log,) = found()
    assert answer.status == 403
    assert log.attributes["peer"] == CALLER
    assert log.attributes["details"] == "rbac_access_denied_matched_policy[ns[default]-policy[callers]-rule[0]]"


@pytest.mark.parametrize(
    ("rule", "heard"), [(by(principals=[ME]), b"hello\r\n"), (by(namespaces=["other"]), b"")], ids=str
)
async def test_connections_are_let_through_by_who_makes_them(rule, heard):
    async with mutual.greeting(b"") as backend, mutual.pair(backend) as pair:
        await pair.push(ir.Protocol.TCP, guard=guard(policy("callers", [rule])))

        assert await mutual.say(pair.port, b"hello\r\n", until=b"hello\r\n") == heard
