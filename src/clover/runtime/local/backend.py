"""The local backend: runs a plan in Linux namespaces on this machine, as root or as an ordinary user.

It must run inside the node's own process-id and mount namespaces (see `launch`): what it makes lives exactly as long as
the node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

from clover.errors import FunctionError, HostError, Problem
from clover.kit import files
from clover.kit.requirements import SYSTEM_PATH
from clover.runtime.local import namespaces, network
from clover.runtime.local.relay import Relays
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.plan import Plan, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus, WorkloadStatus

Output = Callable[[WorkloadPlan, ProcessPlan, bytes], None]
"""Gets every whole line that a process prints."""


async def prepare(plan: Plan) -> None:
    """Write every file; make every namespace, link and rule of the plan. Raises HostError with the kernel's words."""
    await asyncio.gather(asyncio.to_thread(_write_files, plan), _build_network(plan))


@contextlib.asynccontextmanager
async def running(
    plan: Plan,
    *,
    tasks: asyncio.TaskGroup,
    statuses: Mapping[str, WorkloadStatus],
    output: Output,
    changed: Callable[[str], None],
    progress: Callable[[str], None],
) -> AsyncIterator[None]:
    """
    Run a prepared plan for as long as the block runs; the block is entered once every process is ready.

    A process that dies before it was ever ready fails `tasks`; later, it is started again. `changed` gets the name of
    a workload whose status changed.
    """
    sidecars: list[Supervisor] = []
    engines: list[Supervisor] = []
    for workload in plan.workloads:
        status = statuses[workload.name]
        inside = Path(plan.directory, "netns", workload.name)
        make = partial(_supervisor, workload, output=output, changed=partial(changed, workload.name))
        sidecars.append(make(workload.sidecar, status=status.sidecar, network=inside))
        if workload.engine_process and status.engine:
            engines.append(make(workload.engine_process, status=status.engine, network=inside))
    running_tasks = [tasks.create_task(supervisor.run(), name=supervisor.label) for supervisor in sidecars]
    refused: list[Problem] = []

    async def start(engine: Supervisor) -> None:
        try:
            await engine.check()
        except FunctionError as failure:
            refused.extend(failure.problems)
            return
        running_tasks.append(tasks.create_task(engine.run(), name=engine.label))
        await _wait_ready(engine, progress)

    try:
        # The engines check their files while the sidecars start: on two cores, waiting for either costs the other.
        async with asyncio.TaskGroup() as starting:
            for engine in engines:
                starting.create_task(start(engine))
            for sidecar in sidecars:
                starting.create_task(_wait_ready(sidecar, progress))
        if refused:
            raise FunctionError(*refused)
        yield
    finally:
        await asyncio.shield(_stop(sidecars, engines, running_tasks))


def relays(
    plan: Plan,
    *,
    tasks: asyncio.TaskGroup,
    statuses: Mapping[str, WorkloadStatus],
    changed: Callable[[str], None],
) -> Relays:
    """Return what publishes the gateway's ports on the host; nothing is published yet."""
    gateway = next(workload for workload in plan.workloads if workload.gateway)
    return Relays(
        gateway,
        network=Path(plan.directory, "netns", gateway.name),
        tasks=tasks,
        status=statuses[gateway.name].engine or ProcessStatus(),
        changed=partial(changed, gateway.name),
    )


async def _wait_ready(supervisor: Supervisor, progress: Callable[[str], None]) -> None:
    await supervisor.first_ready.wait()
    progress(supervisor.label)


async def _stop(sidecars: list[Supervisor], engines: list[Supervisor], running_tasks: list[asyncio.Task[None]]) -> None:
    # Functions first: their sidecars carry the last answers out, and send the last spans.
    for group in (engines, sidecars):
        await asyncio.gather(*(supervisor.stop() for supervisor in group))
    for task in running_tasks:
        task.cancel()


def _supervisor(
    workload: WorkloadPlan,
    process: ProcessPlan,
    *,
    status: ProcessStatus,
    network: Path | None,
    output: Output,
    changed: Callable[[], None],
) -> Supervisor:
    return Supervisor(
        workload,
        process,
        status=status,
        network=network,
        output=partial(output, workload, process),
        changed=changed,
    )


def _write_files(plan: Plan) -> None:
    # The engines' workers run as another user when Clover runs as root: they pass through, and cannot list.
    passable = 0o711 if any(workload.owner for workload in plan.workloads) else 0o700
    for workload in plan.workloads:
        root = Path(workload.directory)
        for folder in (root.parent, root):
            folder.mkdir(mode=passable, exist_ok=True)
        (root / "logs").mkdir(mode=0o700, exist_ok=True)
        for name, text in workload.files.items():
            path = root / name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.write(path, text, mode=0o644 if workload.owner and name.startswith("site/") else 0o600)
        for name in workload.directories:
            folder = root / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if workload.owner:
                shutil.chown(folder, workload.owner)


async def _build_network(plan: Plan) -> None:
    folder = Path(plan.directory, "netns")
    folder.mkdir(mode=0o700, exist_ok=True)  # noqa: ASYNC240 - one system call
    hosts = Path(plan.directory, "hosts")
    files.write(hosts, network.hosts_file(plan), mode=0o644)
    names = [network.FABRIC, *(workload.name for workload in plan.workloads)]
    try:
        namespaces.bind_mount(hosts, Path("/etc/hosts"))
        await asyncio.to_thread(namespaces.make_network_namespaces, [folder / name for name in names])
    except OSError as failure:
        raise HostError(
            Problem(
                code="CLV2103",
                where="network namespaces",
                what=f"the kernel refuses: {failure}",
                hint="clover doctor",
            )
        ) from failure
    await _inside(folder / network.FABRIC, ("ip", "-batch", "-"), network.fabric_commands(plan, folder))
    rules = network.interception_rules(plan)
    async with asyncio.TaskGroup() as tasks:
        for workload in plan.workloads:
            inside = folder / workload.name
            tasks.create_task(_inside(inside, ("ip", "-batch", "-"), network.workload_commands(plan, workload)))
            if not workload.gateway:
                tasks.create_task(_inside(inside, ("nft", "-f", "-"), rules))


async def _inside(namespace: Path, argv: tuple[str, ...], text: str) -> None:
    """Run a command in a network namespace with `text` as its input. Raises HostError with its words if it fails."""
    child = await asyncio.create_subprocess_exec(
        "nsenter",
        f"--net={namespace}",
        "--",
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": SYSTEM_PATH},
    )
    words, _ = await child.communicate(text.encode())
    if child.returncode != 0:
        raise HostError(
            Problem(
                code="CLV2104",
                where=f"network of {namespace.name}",
                what=f"{' '.join(argv)} failed: {words.decode('utf-8', 'replace').strip()}",
                hint="clover doctor",
            )
        )
