from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from clover.runtime import addressing, planner
from clover.runtime.local import network
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


def test_every_version_is_a_workload_and_the_gateway_is_one_too():
    assert [workload.name for workload in plan().workloads] == ["gateway", "balancer-v1", "balancer-v2", "server"]


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
    assert {workload.owner for workload in plan(rootless=rootless).workloads[1:]} == {owner}


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
            f"\n# every workload but the gateway: nft -f\n{network.interception_rules(made)}",
            f"\n# /etc/hosts\n{network.hosts_file(made)}",
        ]
    )

    golden("runtime/network.txt", text)
