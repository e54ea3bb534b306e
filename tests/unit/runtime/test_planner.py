from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from clover.control.settings import agent_settings, ambassador_settings
from clover.functions import state
from clover.mesh.istio.policies import labels_of
from clover.runtime import addressing, planner
from clover.runtime.local import interception, network
from clover.spec import load

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: sample}
spec:
  gateway: {port: 8080, to: balancer}
  functions:
    balancer:
      type: load-balancer
      versions:
        v1: {engine: haproxy, to: [server]}
        v2: {engine: nginx, to: [server]}
    server: {type: server}
"""


def plan(*, rootless=False):
    chain = load.parse(CHAIN, "chain.yaml")
    site = planner.Site(directory="/run/clover/sample", rootless=rootless, envoy="/usr/bin/envoy")
    return planner.plan_from(chain, addressing.addresses_from(chain), site)


def test_every_version_is_a_workload_and_so_are_the_gateway_and_the_control_agent():
    names = [workload.name for workload in plan().workloads]

    assert names == ["gateway", "balancer-v1", "balancer-v2", "server", "control-agent"]


def test_the_gateway_is_chosen_as_istios_own_and_keeps_its_identity():
    chain = load.parse(CHAIN, "chain.yaml")
    registry = planner.registry_from(chain, addressing.addresses_from(chain))

    gateway = registry.workloads[0]

    assert labels_of(gateway) == {"istio": "ingressgateway", "app": "istio-ingressgateway"}
    assert registry.principal(gateway) == "spiffe://cluster.local/ns/default/sa/gateway"


def test_beside_every_engine_stands_an_ambassador_that_knows_whom_it_may_send_to():
    (workload,) = [one for one in plan().workloads if one.name == "balancer-v2"]

    ambassador = workload.companions[-1]
    assert (ambassador.name, ambassador.argv) == ("ambassador", ("ambassador", workload.directory))
    settings = ambassador_settings(workload.files["ambassador.json"])
    assert (settings.workload, settings.type, settings.engine) == ("balancer-v2", "load-balancer", "nginx")
    assert settings.services == {"server": 9180}


def test_nobody_may_be_told_to_send_back_to_where_requests_come_from_or_to_who_only_looks_on():
    text = CHAIN.replace("to: balancer}", "to: waf}").replace(
        "    balancer:", "    waf: {type: firewall, to: balancer, mirrorTo: ids}\n    ids: {type: ids}\n    balancer:"
    )
    text = text.replace("to: [server]", "to: [cache]") + "    cache: {type: cache, to: server}\n"
    chain = load.parse(text.replace("spec:\n", "spec:\n  mesh: {authorization: none}\n"), "c.yaml")
    site = planner.Site(directory="/run/clover/sample", rootless=False, envoy="/usr/bin/envoy")
    made = planner.plan_from(chain, addressing.addresses_from(chain), site)

    services = {
        one.name: set(ambassador_settings(one.files["ambassador.json"]).services)
        for one in made.workloads
        if "ambassador.json" in one.files
    }
    assert services["waf"] == {"balancer", "cache", "server"}  # no policy would keep them from each other
    assert services["balancer-v1"] == services["balancer-v2"] == {"cache", "server"}
    assert services["cache"] == {"server"}


def test_the_first_generation_lies_in_a_folder_of_its_own_with_what_it_came_from():
    (workload,) = [one for one in plan().workloads if one.name == "balancer-v2"]

    assert workload.links == {"conf/current": "000001"}
    assert "conf/000001/nginx.conf" in workload.files
    first = state.parse(workload.files["conf/000001/state.json"])
    assert first.generation == 1
    assert [backend.host for backend in first.configuration.backends] == ["server"]


def test_the_control_agent_finds_the_ambassador_of_each_version_by_a_name_of_its_own():
    made = plan()
    agent = agent_settings(made.workloads[-1].files["agent.json"])

    assert [(one.function, one.version, one.host) for one in agent.functions] == [
        ("balancer", "v1", "balancer-v1"),
        ("balancer", "v2", "balancer-v2"),
        ("server", "v1", "server"),
    ]
    assert {one.host for one in agent.functions} <= set(made.hosts)


def test_addresses_are_unique_and_depend_on_the_document_alone():
    addresses = [workload.address for workload in plan().workloads]

    assert len(set(addresses)) == len(addresses)
    assert addresses == [workload.address for workload in plan().workloads]


def test_names_lead_to_virtual_addresses_and_never_to_workloads():
    made = plan()

    assert set(made.hosts) >= {"server", "server.default", "server.default.svc.cluster.local"}
    assert not set(made.hosts.values()) & {workload.address for workload in made.workloads}


def test_traffic_of_all_but_the_gateway_is_intercepted():
    assert [workload.name for workload in plan().workloads if workload.gateway] == ["gateway"]


@pytest.mark.parametrize(("rootless", "owner"), [(True, ""), (False, "www-data")])
def test_workers_give_up_root_where_there_is_another_user(rootless, owner):
    assert {workload.owner for workload in plan(rootless=rootless).workloads[1:-1]} == {owner}


def test_sockets_fit_into_what_the_kernel_allows():
    chain = load.parse(CHAIN.replace("server:", "s" * 40 + ":").replace("[server]", f"[{'s' * 40}]"), "chain.yaml")
    site = planner.Site(directory="/run/user/1000/clover/sample", rootless=True, envoy="/usr/bin/envoy")
    made = planner.plan_from(chain, addressing.addresses_from(chain), site)

    assert all(len(workload.sidecar.ready_unix or "") <= 107 for workload in made.workloads)


def test_the_network_is_set_up_by_commands_that_can_be_read(golden):
    made = plan()
    text = "".join(
        [
            f"# fabric: ip -batch\n{network.fabric_commands(made, PurePosixPath('/run/clover/sample/netns'))}",
            *(
                f"\n# {workload.name}: ip -batch\n{network.workload_commands(made, workload)}"
                for workload in made.workloads
            ),
            f"\n# every workload but the gateway: nft -f\n{interception.rules(made, made.workloads[1].interception)}",
            interception.refusals(made),
            f"\n# /etc/hosts\n{network.hosts_file(made)}",
        ]
    )

    golden("runtime/network.txt", text)


def test_what_engines_cannot_do_is_told_all_at_once_and_where_it_is_written():
    rules = "[{id: 1, text: 'drop http any any -> any any (sid: 1;)'}]"
    text = CHAIN.replace(
        "server: {type: server}",
        "server: {type: server, config: {sites: [{locations: [{path: /a, files: true}, {path: /a, files: true}]}]}}\n"
        "    mirrored: {type: ids, config: {rules: " + rules + "}}",
    ).replace("type: load-balancer", "type: load-balancer\n      mirrorTo: mirrored")
    problems = planner.refusals(load.parse(text, "chain.yaml"))

    assert [problem.code for problem in problems] == ["CLV3202", "CLV3280"]
    assert [problem.where.split(":")[0] for problem in problems] == ["chain.yaml"] * 2


def test_a_sidecar_is_told_who_it_is_by_what_no_file_can_take_the_place_of():
    for workload in plan().workloads:
        assert workload.sidecar.argv[1:3] == ("--config-path", "/dev/fd/0")
        assert workload.sidecar.input == workload.files["envoy.json"]
        assert '"path": "@clover-control-plane"' in workload.sidecar.input


def test_engines_and_what_belongs_to_them_may_not_look_into_sidecars():
    for workload in plan().workloads:
        assert not workload.sidecar.confined
        if workload.engine_process and not workload.engine_process.warm:
            assert workload.engine_process.confined
