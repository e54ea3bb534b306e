"""Authorization without a proxy: whom policies are for, what becomes of HTTP's fields on TCP, what is refused."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from clover.errors import DocumentError, errors_only
from clover.mesh import access, snapshot
from clover.mesh.access import Access, Action, Policy, on_tcp
from clover.mesh.istio.registry import ServicePort
from clover.mesh.xds import access as xds_access
from clover.mesh.xds import compile, inbound
from clover.mesh.xds.resource import LISTENER
from clover.mesh.xds.settings import Settings
from clover.spec.mesh_config import MeshConfig
from harness import envoy, policies, random_authorization
from harness.guarding import by, policy, to, when


def policies_at(node, text, *, registry=policies.REGISTRY):
    """Return the names of the policies that are for a workload."""
    found = policies.proxies(text, registry=registry)[node].guard.access.policies
    return [one.source.rpartition("/")[2] for one in found]


def told(text, *, registry=policies.REGISTRY):
    return [(problem.code, problem.severity) for problem in policies.problems(text, registry=registry)]


# ---- for whom


def test_a_policy_without_a_selector_is_for_every_workload_of_its_namespace():
    assert policies_at("server", policy("a", [{}])) == policies_at("gateway", policy("a", [{}])) == ["a"]


def test_a_policy_of_another_namespace_is_for_nobody_here():
    text = policy("a", [{}]).replace('"namespace": "default"', '"namespace": "elsewhere"')

    assert policies_at("server", text) == []


def test_a_policy_of_the_root_namespace_is_for_everybody_or_for_whom_it_chooses():
    everybody = policy("a", [{}]).replace('"namespace": "default"', '"namespace": "istio-system"')
    servers = policy("b", [{}], selector={"matchLabels": {"app": "server"}}).replace('"default"', '"istio-system"')

    assert policies_at("cache", everybody + servers) == ["a"]
    assert policies_at("server", everybody + servers) == ["a", "b"]


def test_a_selector_chooses_workloads_that_have_all_of_its_labels():
    text = policy("a", [{}], selector={"matchLabels": {"app": "lb", "version": "v2"}})

    assert [node for node in ("lb-v1", "lb-v2", "cache") if policies_at(node, text)] == ["lb-v2"]


@pytest.mark.parametrize("block", ["::1%lo", "fe80::1%eth0/64", "10.0.0.1%eth0"])
def test_an_address_names_no_interface(block):
    with pytest.raises(DocumentError, match="neither an address nor a network"):
        policies.problems(policy("a", [{"from": [{"source": {"ipBlocks": [block]}}]}]))


def test_the_gateway_is_chosen_by_the_label_of_istios_own():
    text = policy("a", [{}], selector={"matchLabels": {"istio": "ingressgateway"}})

    assert [node for node in ("gateway", "waf") if policies_at(node, text)] == ["gateway"]


def test_a_policy_for_a_service_is_for_the_ports_of_that_service():
    text = policy("a", [to(methods=["GET"])], targetRefs=[{"group": "", "kind": "Service", "name": "server"}])
    found = policies.proxies(text)["server"].guard.access

    assert policies_at("cache", text) == []
    assert [len(found.at_port(port).policies) for port in (9180, 50054)] == [1, 0]
    assert found.elsewhere([9180]).policies == ()


def test_a_policy_for_a_service_holds_at_its_port_though_a_sidecar_names_another():
    text = policy("a", [{}], action="DENY", targetRefs=[{"group": "", "kind": "Service", "name": "server"}])
    narrowed = f"""{text}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: server}}}}
  ingress: [{{port: {{number: 8080, name: http, protocol: HTTP}}}}]
"""
    proxy = policies.proxies(narrowed)["server"]
    listener = envoy.message(inbound.virtual_inbound(proxy.inbound, proxy.guard, proxy.identity, Settings()))
    (others,) = (chain for chain in listener.filter_chains if chain.name == "virtualInbound-tcp")

    assert [port.port for port in proxy.inbound] == [8080]
    assert [one.name for one in others.filters] == ["envoy.filters.network.rbac", "envoy.filters.network.tcp_proxy"]


def test_a_service_from_outside_with_a_functions_name_takes_no_policy_from_it():
    namesake = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: default}
spec: {hosts: [server], resolution: DNS, ports: [{number: 80, name: http}], endpoints: [{address: a.example.com}]}
"""
    text = policy("a", [{}], targetRefs=[{"group": "", "kind": "Service", "name": "server"}])

    assert policies_at("server", text + namesake) == ["a"]


GATEWAYS = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME, namespace: default}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: PORT, protocol: HTTP}]
"""


def test_a_policy_for_a_gateway_is_for_the_ports_that_it_opens():
    text = GATEWAYS.replace("NAME", "front").replace("PORT", "8081") + GATEWAYS.replace("NAME", "back").replace(
        "PORT", "8082"
    )
    text += policy("a", None, targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}])
    resources = compile.resources_from(policies.proxies(text)["gateway"])[LISTENER]

    assert {name: b"policy[a]" in one.body for name, one in resources.items()} == {
        "127.0.0.1_8080": False,
        "127.0.0.1_8081": True,
        "127.0.0.1_8082": False,
    }
    assert "AuthorizationPolicy/default/a" in resources["127.0.0.1_8081"].sources


def test_a_listener_that_is_refused_names_the_policies_in_it():
    proxy = policies.proxies(policy("a", [{}]))["server"]
    refused = compile.resources_from(proxy)[LISTENER][inbound.NAME]

    assert "AuthorizationPolicy/default/a" in refused.sources


# ---- TCP

PORT = access.Condition(test=access.Port(ports=(80,)))
METHOD = access.Condition(test=access.Header(name=":method", values=()), negated=True)


@pytest.mark.parametrize("action", [Action.DENY, Action.AUDIT, Action.CUSTOM])
def test_on_tcp_a_rule_forgets_what_it_asks_of_http(action):
    rule = access.Rule(name="x", operations=((PORT, METHOD), (METHOD,)), sources=((),))

    assert on_tcp(rule, action) == access.Rule(name="x", operations=((PORT,), ()), sources=((),))


def test_on_tcp_a_rule_that_allows_some_of_http_allows_nothing():
    rule = access.Rule(name="x", operations=((PORT,), (METHOD,)), sources=((),))

    assert on_tcp(rule, Action.ALLOW) is None
    assert on_tcp(access.Rule(name="y", operations=((PORT,),), sources=((),)), Action.ALLOW) is not None


def test_on_tcp_no_connection_passes_when_no_rule_is_left():
    found = Access(
        policies=(Policy(action=Action.ALLOW, rules=(access.Rule(name="x", operations=((METHOD,),), sources=((),)),)),)
    )
    (filter_,) = xds_access.tcp_filters(found)

    assert b"x" not in filter_.typed_config.value.replace(b"istio_dry_run_allow_", b"")


# ---- what is refused, and what is told


@pytest.mark.parametrize(
    "rule",
    [
        {"from": []},
        {"to": []},
        {"from": [{"source": {}}]},
        {"to": [{"operation": {}}]},
        by(principals=[""]),
        by(ipBlocks=["10.0.0"]),
        by(remoteIpBlocks=["10.0.0.0/33"]),
        by(serviceAccounts=["a/b/c"]),
        by(serviceAccounts=["a*"]),
        by(serviceAccounts=["a"] * 17),
        by(serviceAccounts=["a"], principals=["b"]),
        by(trustDomains=["a/b"]),
        by(trustDomains=["a*b"]),
        to(ports=["http"]),
        to(ports=["65536"]),
        to(ports=["-1"]),
        to(paths=["/a{b}"]),
        to(paths=["/{*}x"]),
        to(paths=["/{**}/{*}"]),
        to(paths=["{*}"]),
        to(paths=["a/{*}"]),
        to(paths=["/{*}//a"]),
        when("nonsense", "a"),
        when("source.ip", "a"),
        when("destination.port", "a"),
        when("request.headers", "a"),
        when("request.headers[]", "a"),
        when("request.auth.claims[a", "b"),
        when("experimental.envoy.filters.a", "b"),
        when("destination.labels[x]", "b"),
        {"when": [{"key": "source.ip"}]},
    ],
    ids=str,
)
def test_a_rule_that_istio_refuses_is_refused(rule):
    with pytest.raises(DocumentError) as refused:
        policies.read(policy("a", [rule]))

    assert {problem.code for problem in refused.value.problems} == {"CLV4104"}


@pytest.mark.parametrize(
    "spec",
    [
        {"action": "DENY", "rules": None},
        {"action": "CUSTOM", "rules": None, "provider": {"name": "x"}},
        {"action": "CUSTOM", "rules": [{}]},
        {"action": "ALLOW", "rules": [{}], "provider": {"name": "x"}},
        {"action": "CUSTOM", "rules": [by(principals=["a"])], "provider": {"name": "x"}},
        {"action": "CUSTOM", "rules": [when("request.auth.audiences", "a")], "provider": {"name": "x"}},
        {"action": "MAYBE", "rules": [{}]},
    ],
    ids=str,
)
def test_a_policy_that_istio_refuses_is_refused(spec):
    with pytest.raises(DocumentError):
        policies.read(policy("a", spec.pop("rules"), **spec))


def with_provider(*, service="cache.default.svc.cluster.local", port=9180, kind="Http"):
    provider = {"name": "mine", f"envoyExtAuthz{kind}": {"service": service, "port": port}}
    return MeshConfig.model_validate({"extensionProviders": [provider, provider | {"name": "yours"}]})


def asking(name="a", provider="mine"):
    return policy(name, [{}], action="CUSTOM", provider={"name": provider})


@pytest.mark.parametrize(
    ("config", "codes"),
    [
        (with_provider(), []),
        (with_provider(service="default/cache.default.svc.cluster.local"), []),
        (with_provider(service="other/cache.default.svc.cluster.local"), [("CLV4251", "error")]),
        (with_provider(service="nobody.default.svc.cluster.local"), [("CLV4251", "error")]),
        (with_provider(port=80), [("CLV4251", "error")]),
        (with_provider(kind="Grpc"), [("CLV4251", "warning")]),
    ],
    ids=str,
)
def test_an_authorizer_is_a_service_of_the_mesh(config, codes):
    registry = policies.dataclasses.replace(policies.REGISTRY, config=config)

    assert told(asking(), registry=registry) == codes


def test_two_authorizers_for_one_workload_are_refused_where_the_second_is_written():
    registry = policies.dataclasses.replace(policies.REGISTRY, config=with_provider())
    elsewhere = policy("c", [{}], action="CUSTOM", provider={"name": "yours"}, selector={"matchLabels": {"app": "x"}})
    (problem,) = errors_only(policies.problems(asking() + asking("b", "yours") + elsewhere, registry=registry))

    assert (problem.code, problem.what.split(":")[0]) == ("CLV4252", "AuthorizationPolicy default/b")


def test_a_field_of_http_is_told_where_a_port_carries_tcp_unless_the_rule_names_its_ports():
    registry = policies.with_ports(ServicePort(number=9180), ServicePort(number=3306, name="tcp-db"))
    server = {"matchLabels": {"app": "server"}}
    text = policy("a", [to(methods=["GET"]), to(methods=["GET"], ports=["9180"]), to(ports=["3306"])], selector=server)

    (problem,) = policies.problems(text, registry=registry)
    assert problem.code == "CLV4256"
    assert "spec.rules[0]" in problem.what
    assert "'methods' ask about HTTP, and the ports 3306 carry TCP: this rule allows nothing there" in problem.what


@pytest.mark.parametrize(
    ("first", "second", "codes"),
    [
        (policy("a", [{}], action="DENY"), policy("b", [to(methods=["GET"])]), ["CLV4257"]),
        (policy("b", [to(methods=["GET"])]), policy("a", [{}], action="DENY"), ["CLV4257"]),
        (policy("a", [to(methods=["PUT"])], action="DENY"), policy("b", [to(methods=["GET"])]), []),
        (policy("a", [{}], action="DENY", dry_run=True), policy("b", [{}]), []),
        (
            policy("a", [{}], action="DENY", selector={"matchLabels": {"app": "server"}}),
            policy("b", [{}]),
            [],
        ),
    ],
    ids=str,
)
def test_what_is_denied_and_allowed_is_told_once(first, second, codes):
    assert [code for code, _ in told(first + second)] == codes


def test_who_asks_for_identities_where_mutual_tls_is_off_is_told():
    off = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
"""
    asking = by(namespaces=["default"])
    text = policy("a", [asking, {**asking, **to(paths=["/x"])}], selector={"matchLabels": {"app": "server"}})

    assert [code for code, _ in told(text + off)] == ["CLV4261"]
    assert told(text) == []


MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(random_authorization.policies(odd=False))
@MANY
def test_sound_policies_are_read_checked_and_compiled(documents):
    text = yaml.safe_dump_all(documents)
    if errors_only(policies.problems(text)):
        return
    proxy = policies.proxies(text)["server"]

    assert snapshot.snapshot_from(proxy).resources[LISTENER]


@given(random_authorization.policies(odd=True))
@MANY
def test_odd_policies_are_problems_and_never_accidents(documents):
    text = yaml.safe_dump_all(documents)
    try:
        problems = policies.problems(text)
    except DocumentError:
        return
    if not errors_only(problems):
        compile.resources_from(policies.proxies(text)["server"])
