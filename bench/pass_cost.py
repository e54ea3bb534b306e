"""What one pass through a sidecar costs, against an Envoy that was configured by hand for the same job.

    bench/pass_cost.py [--quick]

Four Envoys of the same program and the same flags, each beside an nginx that answers 1 kB, each in a network of its
own: *compiled* has what a sidecar of a chain has (configuration over ADS, interception, protocol detection, filters
for policies), *by hand* has `pass_cost.yaml`. Both report two spans and one record with the same 23 fields for each
request, to a receiver that throws them away. The *silent* two are the same without spans and records: the difference is
what reporting costs.

Two passes: *inbound*, from another network to the nginx beside the Envoy; *outbound*, from the Envoy's own network to
an nginx in another. wrk, Envoy, nginx and the receiver share the machine, so the measure is the processor time that
Envoy itself used for a request; throughput and latency stand beside it. Runs take turns. The aim is 1.10 at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import _bare_node
import _chain
import _processes
import _report
import _wrk
import grpc
import grpc.aio
import yaml

from clover.mesh import server, snapshot, translate
from clover.mesh.istio.from_chain import resources_from
from clover.mesh.xds import bootstrap
from clover.mesh.xds.settings import CONTROL_PLANE, Settings
from clover.runtime import addressing, planner
from clover.runtime.local import backend, launch, namespaces
from clover.runtime.local.door import Door
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.plan import Plan, ProcessPlan, WorkloadPlan
from clover.spec import load

AIM = 1.10
COMPILED, BY_HAND, SILENT_COMPILED, SILENT_BY_HAND = TARGETS = (
    "compiled",
    "by-hand",
    "silent-compiled",
    "silent-by-hand",
)
INBOUND_PORT, OUTBOUND_PORT = 8180, 8181
"""Where the hand-written Envoy listens; the compiled one is found by interception."""
CHAIN = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: bench}
spec:
  # What was written by hand, and the backend that has no sidecar here, have no identity.
  mesh: {mtls: DISABLE, authorization: none}
  gateway: {port: 8080, to: entry}
  functions:
    entry: {type: load-balancer, engine: nginx, to: [backend, compiled, silent-compiled, by-hand, silent-by-hand]}
    backend: {type: server}
    compiled: {type: server}
    silent-compiled: {type: server}
    by-hand: {type: server}
    silent-by-hand: {type: server}
"""
PATH = "/bytes/1k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Envoy, and how to make a request pass through it."""

    name: str
    pid: int
    inbound: str
    outbound: str
    network: Path
    client: Path

    def load(self, direction: str, *, connections: int, seconds: int) -> dict[str, float]:
        """Load it for a few seconds."""
        url, network = (self.inbound, self.client) if direction == "inbound" else (self.outbound, self.network)
        before = _processes.cpu_s(self.pid)
        found = _wrk.run(
            f"http://{url}{PATH}",
            connections=connections,
            seconds=seconds,
            prefix=("nsenter", f"--net={network}", "--"),
        )
        # What it has still to report belongs to the price.
        _chain.wait_until_idle(lambda: _processes.cpu_s(self.pid))
        used = _processes.cpu_s(self.pid) - before
        return {
            "cpuUs": used * 1e6 / found.requests,
            "rps": found.rps,
            "p50Ms": found.p50_ms,
            "p99Ms": found.p99_ms,
        }


@contextlib.asynccontextmanager
async def swallowing(path: Path) -> AsyncIterator[None]:
    """Receive OTLP, and throw it away."""

    async def export(_request: bytes, _context: object) -> bytes:
        return b""

    receiver = grpc.aio.server()
    for signal in ("trace.v1.TraceService", "logs.v1.LogsService"):
        service = f"opentelemetry.proto.collector.{signal}"
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
        receiver.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    receiver.add_insecure_port(f"unix:{path}")
    await receiver.start()
    try:
        yield
    finally:
        await receiver.stop(grace=None)


def by_hand(*, silent: bool) -> str:
    """Return the hand-written configuration; without its reports if `silent`."""
    text = Path(__file__).with_name("pass_cost.yaml").read_text(encoding="utf-8")
    document = copy.deepcopy(yaml.safe_load(text))
    for listener in document["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if silent:
            del manager["tracing"], manager["access_log"]
    return json.dumps(document)


def planned(plan: Plan) -> Plan:
    """Put the hand-written Envoys in the place of two sidecars; redirect traffic to the compiled ones only."""
    changed = []
    for workload in plan.workloads:
        if workload.name in (BY_HAND, SILENT_BY_HAND):
            argv = bootstrap.argv(bootstrap.envoy_binary(), "by-hand.json")
            sidecar = ProcessPlan(name="sidecar", argv=argv, ready_tcp=INBOUND_PORT)
            text = by_hand(silent=workload.name == SILENT_BY_HAND)
            changed.append(
                replace(workload, sidecar=sidecar, files={**workload.files, "by-hand.json": text}, gateway=True)
            )
        else:
            changed.append(replace(workload, gateway=workload.name not in (COMPILED, SILENT_COMPILED)))
    return replace(plan, workloads=tuple(changed))


async def measure(directory: Path, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Start everything; return what each target did, by pass and number of connections."""
    source = directory / "chain.yaml"
    source.write_text(CHAIN, encoding="utf-8")
    chain = load.load(source)
    rootless = _bare_node.rootless()
    site = planner.Site(directory=str(directory), rootless=rootless, envoy=str(bootstrap.envoy_binary()))
    addresses = addressing.addresses_from(chain)
    plan = planned(planner.plan_from(chain, addresses, site))
    await backend.prepare(plan)
    door = Door()
    xds = directory / "xds.sock"
    async with (
        swallowing(directory / "otlp.sock"),
        server.serving(xds, peers=door.peers) as control,
        asyncio.TaskGroup() as tasks,
        door.opened(xds, backend.entrances(plan, CONTROL_PLANE), tasks=tasks),
    ):
        loud = Settings(mark=plan.mark, outbound_port=plan.outbound_port, inbound_port=plan.inbound_port)
        settings = {COMPILED: loud, SILENT_COMPILED: replace(loud, otlp_cluster="")}
        proxies = translate.proxies_from(planner.registry_from(chain, addresses), resources_from(chain))
        generation = control.push(
            {
                proxy.node: snapshot.snapshot_from(proxy, settings[proxy.node])
                for proxy in proxies
                if proxy.node in settings
            }
        )
        sidecars = {
            one.name: _bare_node.supervisor(plan, one, one.sidecar, started=partial(door.expect, one.name))
            for one in plan.workloads
            if one.name in TARGETS
        }
        engines = [
            _bare_node.supervisor(plan, one, one.engine_process)
            for one in plan.workloads
            if one.engine_process and one.name in (*TARGETS, "backend")
        ]
        running = [*sidecars.values(), *engines]
        for one in running:
            tasks.create_task(one.run(), name=one.label)
        for one in running:
            await one.first_ready.wait()
        answer = await control.acknowledged(generation, timeout_s=10, nodes=settings)
        if not answer.accepted or answer.problems:
            raise RuntimeError(f"the compiled configuration was not accepted: {answer}")
        targets = [
            _target(workload, sidecars[workload.name], plan, addresses.services["backend"])
            for workload in plan.workloads
            if workload.name in sidecars
        ]
        found = await asyncio.to_thread(compare, targets, rounds=rounds, seconds=seconds)
        for one in running:
            await one.stop()
        return found


def _target(workload: WorkloadPlan, sidecar: Supervisor, plan: Plan, service: str) -> Target:
    compiled = workload.name in (COMPILED, SILENT_COMPILED)
    networks = Path(plan.directory, "netns")
    return Target(
        name=workload.name,
        pid=sidecar.status.pid,
        inbound=f"{workload.address}:{workload.port if compiled else INBOUND_PORT}",
        outbound=f"{service}:{workload.port}" if compiled else f"127.0.0.1:{OUTBOUND_PORT}",
        network=networks / workload.name,
        client=networks / "gateway",
    )


def compare(targets: list[Target], *, rounds: int, seconds: int) -> dict[str, Any]:
    """Load the targets in turn, each case a few times, and compare within each turn."""
    cases: dict[str, Any] = {}
    for direction in ("inbound", "outbound"):
        for connections in (1, 16):
            runs: list[dict[str, dict[str, float]]] = []
            for turn in range(rounds):
                order = targets if turn % 2 else targets[::-1]
                runs.append({one.name: one.load(direction, connections=connections, seconds=seconds) for one in order})
            cases[f"{direction} {connections}"] = {
                "targets": {
                    name: {key: _report.spread(run[name][key] for run in runs) for key in runs[0][name]}
                    for name in TARGETS
                },
                "compiledToByHand": ratios(runs, COMPILED, BY_HAND),
                "silentCompiledToByHand": ratios(runs, SILENT_COMPILED, SILENT_BY_HAND),
                "reportingToSilent": ratios(runs, COMPILED, SILENT_COMPILED),
            }
    return cases


def ratios(runs: list[dict[str, dict[str, float]]], one: str, other: str) -> Mapping[str, float]:
    """Return the medians of one target's numbers divided by another's, of the same turn."""
    return {key: statistics.median(run[one][key] / run[other][key] for run in runs) for key in runs[0][one]}


def show(cases: dict[str, Any], *, rounds: int, seconds: int) -> None:
    """Print what was found."""
    _report.table(
        f"One pass through Envoy, {rounds} runs of {seconds} s in turn: medians",
        ("pass connections envoy", "CPU us a request", "least to most", "rps", "p50 ms", "p99 ms"),
        [
            (
                f"{case} {name}",
                _report.number(row["cpuUs"].median),
                f"{row['cpuUs'].least:.0f} to {row['cpuUs'].most:.0f}",
                *(_report.number(row[key].median) for key in ("rps", "p50Ms", "p99Ms")),
            )
            for case, found in cases.items()
            for name, row in found["targets"].items()
        ],
    )
    titles = {
        "compiledToByHand": "compiled / by hand",
        "silentCompiledToByHand": "the same, both silent",
        "reportingToSilent": "compiled: reporting / silent",
    }
    _report.table(
        "Ratios (median of the ratios of each turn)",
        ("pass connections", "CPU a request", "rps", "p50"),
        [
            (f"{case} {title}", *(f"{found[key][part]:.2f}" for part in ("cpuUs", "rps", "p50Ms")))
            for case, found in cases.items()
            for key, title in titles.items()
        ],
        notes=(f"aim: compiled / by hand at most {AIM:.2f} in CPU, at least {1 / AIM:.2f} in rps",),
    )


def main() -> None:
    """Measure, print, keep; everything happens in namespaces that end with this process."""
    given = _report.options(__doc__)
    rounds, seconds = (1, 1) if given.quick else (5, 2)
    if given.inside:
        namespaces.mount_proc()
        cases = asyncio.run(measure(Path(given.inside), rounds=rounds, seconds=seconds))
        show(cases, rounds=rounds, seconds=seconds)
        _report.keep("pass_cost", {"aim": AIM, "rounds": rounds, "seconds": seconds, "cases": cases}, quick=given.quick)
        return
    with _chain.scratch() as folder:
        directory = folder / "r"
        directory.mkdir(mode=0o711)
        again = [sys.executable, __file__, "--inside", str(directory), *(["--quick"] if given.quick else [])]
        child = subprocess.Popen(launch.unshare_argv(again, rootless=os.geteuid() != 0))
        try:
            raise SystemExit(child.wait())
        finally:
            # Its end is the end of everything that it started.
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
