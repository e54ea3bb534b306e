"""The chain's network as text for `ip -batch` and `nft -f`: pure, so that a golden file shows what is set up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from clover.runtime.plan import Plan, WorkloadPlan

FABRIC = "fabric"
"""Name of the network namespace that holds the bridge; no workload lives there."""


def fabric_commands(plan: Plan, namespaces: PurePath) -> str:
    """Return `ip -batch` input that makes the bridge, and a cable from it into each workload's namespace."""
    lines = ["link add bridge0 type bridge", "link set bridge0 up"]
    for number, workload in enumerate(plan.workloads):
        lines += [
            f"link add port{number} type veth peer name eth0 netns {namespaces / workload.name}",
            f"link set port{number} master bridge0 up",
        ]
    return "\n".join(lines) + "\n"


def workload_commands(plan: Plan, workload: WorkloadPlan) -> str:
    """Return `ip -batch` input for one workload's own namespace."""
    prefix = plan.network.rpartition("/")[2]
    return "\n".join(
        [
            "link set lo up",
            f"addr add {workload.address}/{prefix} dev eth0",
            "link set eth0 up",
            # Nobody answers for virtual addresses on the wire. The route only lets connect() choose a source address;
            # then interception takes the connection. Nothing takes one of the gateway, which fails at once.
            f"route add unreachable {plan.services_network}"
            if workload.gateway
            else f"route add {plan.services_network} dev eth0",
            # The same for all other addresses: what nobody claims is to end in the sidecar, with a record.
            *([] if workload.gateway else ["route add default dev eth0"]),
            # The gateway listens at the host's addresses, which it does not have: here each leads to itself.
            *(["route add local default dev lo"] if workload.gateway else []),
            "",
        ]
    )


def hosts_file(plan: Plan, outside: Mapping[str, str] | None = None) -> str:
    """
    Return /etc/hosts for the chain: its own names and localhost, nothing of the machine's.

    The names of services `outside` come last, so that the others stay where they are when these change.
    """
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{address} {name}" for name, address in plan.hosts.items()]
    lines += [f"{address} {name}" for name, address in sorted((outside or {}).items()) if name not in plan.hosts]
    return "\n".join(lines) + "\n"
