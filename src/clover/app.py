"""Composition root: the only place where all parts of a running chain meet.

The order below is the start-up order. Importing this module takes half a second, so `clover up` starts the node
before it looks at anything itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clover.kit import files
from clover.mesh import server as xds_server
from clover.mesh.certificates import Authority
from clover.mesh.controller import Controller, Reach
from clover.mesh.istio.from_chain import resources_from
from clover.mesh.istio.registry import Registry
from clover.mesh.xds import bootstrap
from clover.mesh.xds.settings import CONTROL_PLANE, Settings
from clover.runtime import addressing, planner
from clover.runtime.addressing import GATEWAY
from clover.runtime.local import backend, ledger
from clover.runtime.local.door import Door
from clover.runtime.local.outside import Unreached
from clover.runtime.local.way_out import Way
from clover.runtime.plan import Plan, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus, WorkloadStatus
from clover.spec import load
from clover.spec.chain import Chain, renamed
from clover.telemetry.ingest.server import serving_otlp
from clover.telemetry.store.store import Store, open_store
from clover.visibility import recorded
from clover.visibility.api import serving_api
from clover.visibility.node import RunningNode

Event = dict[str, Any]
Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What `clover up` tells the node."""

    chain: Path
    directory: Path
    """Run-time folder of the chain; exists."""
    store: Path
    name: str
    port: int
    host_pid: int
    """The node's own process id, as the host numbers it."""


class _Stopped(Exception):
    """Somebody asked the node to stop: ends its task group, and is no error."""


async def run_node(settings: NodeSettings, *, report: Report) -> None:
    """
    Run the chain until SIGTERM. Raises CloverError when it cannot come up, or cannot go on.

    This process has the chain's lock (see `ledger.claim`), and keeps it to its end.
    """
    timeline = Timeline()
    chain = renamed(load.load(settings.chain), name=settings.name, port=settings.port)
    rootless = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[1] != "0"  # noqa: ASYNC240 - /proc
    site = planner.Site(directory=str(settings.directory), rootless=rootless, envoy=str(bootstrap.envoy_binary()))
    addresses = addressing.addresses_from(chain)
    plan = planner.plan_from(chain, addresses, site)
    stop = asyncio.Event()
    # Before the ledger tells anybody whom to stop: the first process of a namespace hears no signal without a handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    book = _ledger(settings, chain)
    ledger.write(settings.directory, book)
    timeline.mark("planned")
    try:
        async with asyncio.TaskGroup() as tasks:
            registry = planner.registry_from(chain, addresses)
            await _run(chain, plan, registry, book, settings, stop=stop, tasks=tasks, report=report, timeline=timeline)
            raise _Stopped
    except* _Stopped:
        pass


async def _stop_when(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


async def _run(
    chain: Chain,
    plan: Plan,
    registry: Registry,
    book: ledger.Ledger,
    settings: NodeSettings,
    *,
    stop: asyncio.Event,
    tasks: asyncio.TaskGroup,
    report: Report,
    timeline: Timeline,
) -> None:
    giving_up = tasks.create_task(_stop_when(stop), name="stop while starting")
    report({"event": "progress", "text": "building the network ..."})
    statuses = {
        workload.name: WorkloadStatus(
            name=workload.name,
            engine=ProcessStatus() if workload.engine_process or workload.gateway else None,
        )
        for workload in plan.workloads
    }
    wires = _Wires(chain=chain, statuses=statuses)
    warm = await backend.warming_up()
    await backend.prepare(plan)
    timeline.mark("network")
    door = Door()
    processes = backend.Processes(
        plan,
        tasks=tasks,
        statuses=statuses,
        output=wires.output,
        changed=wires.changed,
        restarted=wires.restarted,
        warm=warm,
        door=door,
    )
    async with contextlib.AsyncExitStack() as stack:
        xds = settings.directory / "xds.sock"
        server = await stack.enter_async_context(xds_server.serving(xds, peers=door.peers))
        entrances = backend.entrances(plan, CONTROL_PLANE)
        await stack.enter_async_context(door.opened(xds, entrances, tasks=tasks))
        relays = backend.relays(plan, tasks=tasks, statuses=statuses)
        outside = backend.outside(
            plan, tasks=tasks, statuses=statuses, unreached=wires.unreached, restarted=wires.restarted
        )

        async def reach(wanted: Reach) -> None:
            ways = {way.socket: Way(host=way.host, port=way.port, loopback=way.loopback) for way in wanted.ways}
            await outside.reach(wanted.names, ways)

        controller = Controller(
            registry=registry,
            resources=resources_from(chain),
            server=server,
            settings=Settings(
                mark=plan.mark,
                outbound_port=plan.outbound_port,
                inbound_port=plan.inbound_port,
                gateway_proxy_protocol=True,
                detection_timeout_s=registry.config.protocol_detection_timeout,
                http10=chain.mesh.http10,
                way_out=str(outside.folder),
            ),
            publish=relays.publish,
            reach=reach,
            authority=Authority(registry.config.trust_domain, now=time.time()),
            certificate_lifetime_s=chain.mesh.certificate_lifetime,
            folder=load.file_of(settings.chain).resolve().parent,
        )
        await controller.start()
        tasks.create_task(controller.follow_readiness(), name="readiness")
        tasks.create_task(controller.renew_certificates(), name="certificates")
        tasks.create_task(controller.follow_files(), name="files of certificates")
        timeline.mark("mesh")
        # Sidecars find their configuration waiting: one that has to ask twice loses a second.
        processes.start()
        publishing = tasks.create_task(controller.publish(), name="publish the gateway")
        store = await stack.enter_async_context(open_store(settings.store))
        await stack.enter_async_context(serving_otlp(settings.directory / "otlp.sock", store))
        stack.push_async_callback(processes.aclose)
        stack.push_async_callback(relays.aclose)
        stack.push_async_callback(outside.aclose)
        wires.connect(store=store, controller=controller)
        node = RunningNode(
            plan=plan,
            namespace=chain.namespace,
            gateway=book.gateway,
            pid=book.pid,
            store_path=book.store,
            statuses=statuses,
            controller=controller,
            server=server,
            store=store,
            started=book.started,
        )
        timeline.mark("services")

        def progress(text: str) -> None:
            ready = sum(status.state.value == "ready" for status in statuses.values())
            report({"event": "progress", "text": f"{ready} of {len(statuses)} workloads are ready ({text})"})

        async with serving_api(settings.directory / "api.sock", node, tasks=tasks):
            await processes.ready(progress)
            timeline.mark("processes")
            await controller.acknowledged(timeout_s=30)
            await publishing
            # Ready means that a request can be looked at, too.
            await store.opened()
            node.ready = True
            timeline.mark("acknowledged")
            result = _up_result(plan, book, statuses, timeline)
            files.write(settings.directory / "up.json", json.dumps(result))
            report({"event": "ready", "chain": result})
            wires.tell(recorded.came_up(chain.name))
            # From here on a stop is orderly: the blocks are left from the inside out.
            giving_up.cancel()
            await stop.wait()
            wires.tell(recorded.went_down(chain.name))


@dataclass(slots=True, kw_only=True)
class _Wires:
    """Brings what the processes do to the store and the mesh, which come up a little later than they."""

    chain: Chain
    statuses: Mapping[str, WorkloadStatus]
    _store: Store | None = None
    _controller: Controller | None = None
    _early: list[tuple[WorkloadPlan, bytes]] = field(default_factory=list)

    def connect(self, *, store: Store, controller: Controller) -> None:
        """From now on, pass everything on, and first what was said until now."""
        self._store, self._controller = store, controller
        for workload, lines in self._early:
            store.insert_lines(_resource(self.chain, workload), lines)
        self._early.clear()
        for name in self.statuses:
            self.changed(name)

    def output(self, workload: WorkloadPlan, process: ProcessPlan, lines: bytes) -> None:
        """Keep what a function prints; the words of its sidecar and its ambassador are in their files alone."""
        if not process.log:
            return
        if self._store is None:
            self._early.append((workload, lines))
        else:
            self._store.insert_lines(_resource(self.chain, workload), lines)

    def unreached(self, failures: Sequence[Unreached]) -> None:
        """Keep why endpoints beyond the chain were not reached."""
        if self._store is not None:
            told = [(failure.socket, failure.words) for failure in failures]
            self._store.note_logs(recorded.unreached(told, chain=self.chain.name, time_unix_nano=time.time_ns()))

    def restarted(self, workload: WorkloadPlan, what: str, ending: str) -> None:
        """Keep that a process died and is started again."""
        self.tell(recorded.restarted(what, ending), resource=_resource(self.chain, workload))

    def tell(self, change: recorded.Recorded, *, resource: Mapping[str, str] | None = None) -> None:
        """Keep what happened to the chain, or to one of its functions, among the changes."""
        if self._store is not None:
            now = time.time_ns()
            self._store.note_logs(
                recorded.request(change, chain=self.chain.name, time_unix_nano=now, resource=resource)
            )

    def changed(self, workload: str) -> None:
        """Tell the mesh whether a workload takes traffic."""
        if self._controller is not None:
            self._controller.set_ready(workload, self.statuses[workload].takes_traffic)


class Timeline:
    """When each step of the start-up was reached, in ms since the process began."""

    def __init__(self) -> None:
        with Path("/proc/self/stat").open(encoding="ascii") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        self._began = ticks / os.sysconf("SC_CLK_TCK")
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Note that a step is done."""
        self.marks[name] = round((time.clock_gettime(time.CLOCK_BOOTTIME) - self._began) * 1000)


def _ledger(settings: NodeSettings, chain: Chain) -> ledger.Ledger:
    address = chain.gateway.address
    return ledger.Ledger(
        chain=chain.name,
        pid=settings.host_pid,
        gateway=f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{chain.gateway.port}",  # noqa: S104
        api=str(settings.directory / "api.sock"),
        store=str(settings.store),
        source=str(load.file_of(settings.chain)),
        digest=ledger.digest(load.file_of(settings.chain), chain.name, chain.gateway.port),
        started=time.time(),
    )


def _resource(chain: Chain, workload: WorkloadPlan) -> Mapping[str, str]:
    """Return the OpenTelemetry resource of what a function prints; the same as its sidecar's."""
    return {
        "service.name": workload.function,
        "service.version": workload.version,
        "service.namespace": chain.name,
        "service.instance.id": workload.name,
        "clover.workload": workload.name,
    }


def _up_result(
    plan: Plan, book: ledger.Ledger, statuses: Mapping[str, WorkloadStatus], timeline: Timeline
) -> dict[str, Any]:
    return {
        "chain": plan.chain,
        "gateway": book.gateway,
        "startMs": timeline.marks,
        "workloads": [
            {
                "function": workload.function,
                "version": workload.version,
                "engine": workload.engine,
                "state": statuses[workload.name].state.value,
                "address": f"{workload.address}:{workload.port}" if workload.port else workload.address,
            }
            for workload in plan.workloads
            if workload.name != GATEWAY
        ],
    }
