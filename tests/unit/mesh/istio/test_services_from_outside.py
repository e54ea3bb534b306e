"""What ServiceEntries and WorkloadEntries add to the registry."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import DocumentError, errors_only
from clover.mesh.istio.outside import ALLOCATED, names_of, virtual_addresses, with_entries
from clover.mesh.istio.policies import policies_from
from harness import policies

HOSTS = st.sets(st.from_regex(r"[a-z]{1,8}\.example\.com", fullmatch=True), max_size=20)


def entry(more="", *, host="api.example.com", name="api", ports="{number: 80, name: http, protocol: HTTP}"):
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec: {{hosts: ["{host}"], ports: [{ports}], {more}}}
"""


def member(labels, *, name="vm", address="203.0.113.9"):
    return f"""
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: {address}, labels: {labels}}}
"""


def registry(text):
    return with_entries(policies.REGISTRY, policies_from(policies.applied(text)))


def service(text, host="api.example.com"):
    return registry(text).service(host)


@given(HOSTS)
def test_every_host_gets_an_address_of_its_own_in_nobodys_network(hosts):
    found = virtual_addresses(hosts)

    assert found.keys() == hosts
    assert len(set(found.values())) == len(hosts)
    assert all(IPv4Address(address) in ALLOCATED for address in found.values())
    assert str(ALLOCATED.network_address) not in found.values()


@given(HOSTS)
def test_an_address_stays_as_other_hosts_come_and_go(hosts):
    alone = {host: virtual_addresses([host])[host] for host in hosts}
    together = virtual_addresses(hosts)

    # Only hosts that would have the same address move.
    assert {host for host in hosts if together[host] != alone[host]} <= {
        host for host in hosts if list(alone.values()).count(alone[host]) > 1 or alone[host] in together.values()
    }


def test_without_entries_nothing_changes():
    assert registry("") is policies.REGISTRY


def test_a_wildcard_and_whatever_was_dialled_get_no_address():
    assert service(entry("resolution: STATIC", host="*.example.com"), "*.example.com").address == ""
    assert service(entry("resolution: NONE")).address == ""


def test_functions_find_names_and_not_wildcards():
    both = f"{entry('resolution: DNS')}---{entry('resolution: STATIC', host='*.example.org', name='wild')}"

    assert list(names_of(registry(both))) == ["api.example.com"]


def test_a_host_that_is_looked_up_is_its_own_endpoint_unless_others_are_named():
    (own,) = service(entry("resolution: DNS")).outsiders
    (other,) = service(entry("resolution: DNS, endpoints: [{address: A.example.com}]")).outsiders

    assert (own.address, other.address) == ("api.example.com", "a.example.com")


def test_an_endpoints_port_is_its_own_or_the_target_or_the_services():
    text = entry(
        "resolution: STATIC, endpoints: [{address: 192.0.2.1, ports: {http: 8081}}, {address: 192.0.2.2}]",
        ports="{number: 80, name: http, targetPort: 8080}, {number: 81, name: other}",
    )
    found = service(text)

    assert [[one.port_for(port) for port in found.ports] for one in found.outsiders] == [[8081, 81], [8080, 81]]


def test_a_selector_chooses_entries_and_the_chains_own_workloads():
    text = entry("resolution: STATIC, workloadSelector: {labels: {app: lb}}") + member("{app: lb}")
    found = registry(text)
    chosen = found.service("api.example.com")

    assert [one.address for one in chosen.outsiders] == ["203.0.113.9"]
    assert [one.name for one in found.members(chosen)] == ["lb-v1", "lb-v2"]


def test_a_workload_entry_joins_the_function_whose_labels_it_has():
    found = registry(member("{app: lb, version: v2}"))

    assert [one.address for one in found.service("lb").outsiders] == ["203.0.113.9"]
    assert found.service("cache").outsiders == ()


def test_an_entry_is_seen_where_it_is_exported_to():
    assert service(entry("exportTo: ['.']")).namespaces == ("default",)
    assert service(entry("exportTo: [elsewhere]")).visible("default") is False
    assert service(entry("exportTo: ['*', elsewhere]")).visible("anywhere") is True


def test_a_chains_host_is_never_that_of_an_entry():
    text = entry("resolution: DNS", host="lb.default.svc.cluster.local")

    assert [problem.code for problem in policies.problems(text)] == ["CLV4311"]


@pytest.mark.parametrize("number", [15001, 15006])
def test_no_service_is_at_a_port_where_the_proxies_take_all_connections(number):
    (problem,) = errors_only(policies.problems(entry("resolution: DNS", ports=f"{{number: {number}, name: http}}")))

    assert (problem.code, problem.what.partition(": ")[2]) == (
        "CLV4317",
        f"field 'spec.ports[0].number': at port {number} the proxies of the chain take all connections",
    )


@pytest.mark.parametrize(
    "text",
    [
        entry("resolution: STATIC, endpoints: [{address: '2001:db8::1%eth0'}]"),
        entry("resolution: STATIC, addresses: ['2001:db8::1%eth0']"),
        entry(f"resolution: STATIC, endpoints: [{{address: 'unix:///{'x' * 107}'}}]"),
        entry("resolution: DNS", host="localhost"),
    ],
)
def test_what_envoy_could_not_dial_or_would_take_from_everybody_is_refused(text):
    try:
        found = policies.problems(text)
    except DocumentError as error:
        found = error.problems

    assert errors_only(found)


def test_loopback_is_refused_until_it_is_allowed():
    text = entry("resolution: STATIC, endpoints: [{address: 127.0.0.1}]")
    allowed = text.replace("{name: api}", "{name: api, annotations: {clover/loopback: allow}}")

    assert [problem.code for problem in policies.problems(text)] == ["CLV4312"]
    assert policies.problems(allowed) == ()
    assert service(allowed).outsiders[0].loopback is True


def test_a_unix_socket_of_this_machine_is_refused_until_it_is_allowed():
    text = entry("resolution: STATIC, endpoints: [{address: 'unix:///run/docker.sock'}]")
    allowed = text.replace("{name: api}", "{name: api, annotations: {clover/loopback: allow}}")

    (problem,) = policies.problems(text)
    assert problem.code == "CLV4312"
    assert problem.what.endswith(
        "'unix:///run/docker.sock' is a Unix socket of this machine, which functions do not reach"
    )
    assert problem.hint == "if that is meant, set the annotation 'clover/loopback: allow'"
    assert policies.problems(allowed) == ()


def test_a_subset_may_choose_members_from_outside():
    text = entry("resolution: STATIC, endpoints: [{address: 192.0.2.1, labels: {version: v7}}]")
    rule = policies.destination_rule("subsets: [{name: v7, labels: {version: v7}}]", host="api.example.com")

    assert policies.problems(f"{text}---{rule}") == ()
