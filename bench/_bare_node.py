"""The engines of a chain in the chain's own network, chained directly: no sidecars, no interception, no telemetry.

Started like a node, inside `unshare`; reports one JSON line when all engines are ready, and runs until it is killed.
The engines, their files and their network are those of the plan; what differs from a real node is this module.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from clover.kit import files
from clover.mesh.xds import bootstrap
from clover.runtime import addressing, planner
from clover.runtime.local import backend, namespaces, relay
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.plan import Plan, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus
from clover.spec import load
from clover.spec.chain import Chain, workload_name


def bare_plan(chain: Chain, directory: Path, versions: Mapping[str, str]) -> Plan:
    """Return the chain's plan with names that lead to workloads; of a function with versions, to the one chosen."""
    addresses = addressing.addresses_from(chain)
    site = planner.Site(directory=str(directory), rootless=rootless(), envoy=str(bootstrap.envoy_binary()))
    plan = planner.plan_from(chain, addresses, site)
    service_to_workload = {}
    for function in chain.functions.values():
        chosen = next(
            (one for one in function.versions if one.name == versions.get(function.name)), function.versions[0]
        )
        service_to_workload[addresses.services[function.name]] = addresses.workloads[workload_name(function, chosen)]
    return replace(
        plan,
        # Functions alone: nobody asks for ambassadors here, and there are none.
        hosts={
            name: service_to_workload[address] for name, address in plan.hosts.items() if address in service_to_workload
        },
        # What nothing is redirected to, the backend calls a gateway.
        workloads=tuple(
            replace(workload, gateway=True) for workload in plan.workloads if workload.name != addressing.AGENT
        ),
    )


def rootless() -> bool:
    """Tell whether this process is root only in a user namespace of its own."""
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split()[1] != "0"


async def run(plan: Plan, *, entry: str, port: int) -> None:
    """Start everything, say so, and keep it running."""
    await backend.prepare(plan)
    gateway, *others = plan.workloads
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(4096)
        # The relay of a real chain, but for where it leads, and for the header that only Envoy understands.
        real = relay.configuration(("127.0.0.1", port), listening.fileno(), user=gateway.owner)
        text = real.replace(f"127.0.0.1:{port} send-proxy-v2", entry)
        assert text != real, real
        files.write(Path(gateway.directory, "relay.cfg"), text)
        relaying = ProcessPlan(name="relay", argv=("haproxy", "-db", "-f", "relay.cfg"))
        running = [
            supervisor(plan, gateway, relaying, inherited=(listening.fileno(),)),
            *(supervisor(plan, one, one.engine_process) for one in others if one.engine_process),
        ]
        async with asyncio.TaskGroup() as tasks:
            for one in running:
                tasks.create_task(one.run(), name=one.label)
            for one in running:
                await one.first_ready.wait()
            print(json.dumps({"event": "ready"}), flush=True)


def supervisor(
    plan: Plan,
    workload: WorkloadPlan,
    process: ProcessPlan,
    *,
    inherited: tuple[int, ...] = (),
    started: Callable[[int], None] = lambda _: None,
) -> Supervisor:
    """Return what keeps one process of a workload running, without telling anybody."""
    return Supervisor(
        workload,
        process,
        status=ProcessStatus(),
        network=Path(plan.directory, "netns", workload.name),
        output=lambda _: None,
        changed=lambda: None,
        inherited=inherited,
        started=started,
    )


def main() -> None:
    """Run inside `unshare`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chain", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--entry", required=True, help="function that the gateway would send to")
    parser.add_argument("--version", action="append", default=[], metavar="FUNCTION=VERSION")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    host_pid = int(str(Path("/proc/self").readlink()))
    namespaces.mount_proc()
    print(json.dumps({"event": "started", "pid": host_pid}), flush=True)
    chain = load.load(given.chain)
    plan = bare_plan(chain, given.directory, dict(one.split("=", 1) for one in given.version))
    target = next(one for one in plan.workloads if one.function == given.entry)
    asyncio.run(run(plan, entry=f"{target.address}:{target.port}", port=given.port))


if __name__ == "__main__":
    main()
