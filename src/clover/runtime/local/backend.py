"""The local backend: runs a plan in Linux namespaces on this machine, as root or as an ordinary user.

It must run inside the node's own process-id and mount namespaces (see `launch`): what it makes lives exactly as long as
the node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from clover.errors import FunctionError, HostError, Problem
from clover.kit import files
from clover.kit.requirements import SYSTEM_PATH
from clover.runtime.local import interception, namespaces, network, orphans
from clover.runtime.local.door import Door
from clover.runtime.local.outside import Outside, Unreached
from clover.runtime.local.relay import Relays
from clover.runtime.local.supervisor import Supervisor
from clover.runtime.local.warm import Warm
from clover.runtime.plan import Plan, ProcessPlan, WorkloadPlan
from clover.runtime.status import ProcessStatus, WorkloadStatus

Output = Callable[[WorkloadPlan, ProcessPlan, bytes], None]
"""Gets every whole line that a process prints."""
Restarted = Callable[[WorkloadPlan, str, str], None]
"""Gets the workload of a process that is started again, what it is (`http-lb-v1 haproxy`), and how it ended."""


async def prepare(plan: Plan) -> None:
    """Write every file; make every namespace, link and rule of the plan. Raises HostError with the kernel's words."""
    if os.statvfs(plan.directory).f_flag & os.ST_NOEXEC:
        # Where this is not allowed, the one engine that needs it says so when it checks its files.
        with contextlib.suppress(OSError):
            namespaces.let_run(Path(plan.directory))
    await asyncio.gather(asyncio.to_thread(_write_files, plan), _build_network(plan))


async def warming_up() -> Warm:
    """Start what starts ambassadors: it has a second of imports before it, best spent beside everything else."""
    warm = Warm((sys.executable, "-m", "clover", "warm"))
    await warm.start()
    return warm


class Processes:
    """All processes of a prepared plan, kept running from `start` to `aclose`."""

    def __init__(
        self,
        plan: Plan,
        *,
        tasks: asyncio.TaskGroup,
        statuses: Mapping[str, WorkloadStatus],
        output: Output,
        changed: Callable[[str], None],
        restarted: Restarted,
        warm: Warm,
        door: Door,
    ) -> None:
        """
        Start nothing yet.

        `changed` gets the name of a workload whose status changed, `restarted` what died; `warm` is closed with the
        processes; `door` lets the sidecars in.
        """
        self._tasks = tasks
        self._warm = warm
        self._sidecars: list[Supervisor] = []
        self._engines: list[Supervisor] = []
        self._companions: list[Supervisor] = []
        self._running: list[asyncio.Task[None]] = []
        self._starting: list[asyncio.Task[None]] = []
        self._refused: list[Problem] = []
        for workload in plan.workloads:
            status = statuses[workload.name]
            inside = Path(plan.directory, "netns", workload.name)
            make = partial(
                _supervisor,
                workload,
                network=inside,
                output=output,
                changed=partial(changed, workload.name),
                restarted=partial(restarted, workload),
                warm=self._warm,
            )
            expected = partial(door.expect, workload.name)
            self._sidecars.append(make(workload.sidecar, status=status.sidecar, started=expected))
            if workload.engine_process and status.engine:
                self._engines.append(make(workload.engine_process, status=status.engine))
            for companion in workload.companions:
                own = status.companions.setdefault(companion.name, ProcessStatus())
                self._companions.append(make(companion, status=own))

    def start(self) -> None:
        """
        Start everything. A process that dies before it was ever ready fails the task group; later, it is restarted.

        The engines check their files while the sidecars start: on two cores, waiting for either costs the other.
        """
        self._running.append(self._tasks.create_task(orphans.reaping(), name="orphans"))
        for sidecar in self._sidecars:
            self._run(sidecar)
        for engine in self._engines:
            self._starting.append(self._tasks.create_task(self._check_and_run(engine), name=f"check {engine.label}"))
        for companion in self._companions:
            self._run(companion)

    async def ready(self, progress: Callable[[str], None]) -> None:
        """Return once every process is ready. Raises FunctionError with all engines that refuse their files."""
        await asyncio.gather(*self._starting)
        if self._refused:
            raise FunctionError(*self._refused)
        for supervisor in (*self._sidecars, *self._engines, *self._companions):
            await supervisor.first_ready.wait()
            progress(supervisor.label)

    async def aclose(self) -> None:
        """Stop everything: functions first, because their sidecars carry the last answers and spans out."""
        for group in ((*self._companions, *self._engines), self._sidecars):
            await asyncio.gather(*(supervisor.stop() for supervisor in group))
        await self._warm.aclose()
        for task in (*self._starting, *self._running):
            task.cancel()

    def _run(self, supervisor: Supervisor) -> None:
        self._running.append(self._tasks.create_task(supervisor.run(), name=supervisor.label))

    async def _check_and_run(self, engine: Supervisor) -> None:
        try:
            await engine.check()
        except FunctionError as failure:
            self._refused.extend(failure.problems)
        else:
            self._run(engine)


def relays(plan: Plan, *, tasks: asyncio.TaskGroup, statuses: Mapping[str, WorkloadStatus]) -> Relays:
    """Return what publishes the gateway's ports on the host; nothing is published yet."""
    gateway = next(workload for workload in plan.workloads if workload.gateway)
    return Relays(
        gateway,
        network=Path(plan.directory, "netns", gateway.name),
        tasks=tasks,
        status=statuses[gateway.name].engine or ProcessStatus(),
    )


def outside(
    plan: Plan,
    *,
    tasks: asyncio.TaskGroup,
    statuses: Mapping[str, WorkloadStatus],
    unreached: Callable[[Sequence[Unreached]], None],
    restarted: Restarted,
) -> Outside:
    """Return what lets the chain reach endpoints beyond its network; `unreached` gets those that it cannot reach."""
    gateway = next(workload for workload in plan.workloads if workload.gateway)
    return Outside(
        plan,
        tasks=tasks,
        status=statuses[gateway.name],
        unreached=unreached,
        restarted=partial(restarted, gateway),
    )


def entrances(plan: Plan, name: str) -> Mapping[str, socket.socket]:
    """Open a socket in each workload's network, under an abstract name (`@...`): its sidecar finds us there."""
    opened: dict[str, socket.socket] = {}
    for workload in plan.workloads:
        entrance = namespaces.socket_in(Path(plan.directory, "netns", workload.name), socket.AF_UNIX)
        entrance.bind(name.replace("@", "\0", 1))
        entrance.listen()
        opened[workload.name] = entrance
    return opened


def _supervisor(
    workload: WorkloadPlan,
    process: ProcessPlan,
    *,
    status: ProcessStatus,
    network: Path | None,
    output: Output,
    changed: Callable[[], None],
    restarted: Callable[[str, str], None],
    warm: Warm,
    started: Callable[[int], None] = lambda _: None,
) -> Supervisor:
    return Supervisor(
        workload,
        process,
        status=status,
        network=network,
        output=partial(output, workload, process),
        changed=changed,
        warm=warm,
        started=started,
        restarted=restarted,
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
            files.write(path, text, mode=0o644 if workload.owner and "/site/" in f"/{name}" else 0o600)
        for name, target in workload.links.items():
            (root / name).symlink_to(target)
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
    async with asyncio.TaskGroup() as tasks:
        for workload in plan.workloads:
            inside = folder / workload.name
            tasks.create_task(_inside(inside, ("ip", "-batch", "-"), network.workload_commands(plan, workload)))
            if workload.gateway:
                tasks.create_task(_inside(inside, ("tee", "/proc/sys/net/ipv4/ip_nonlocal_bind"), "1"))
            else:
                rules = interception.rules(plan, workload.interception) + interception.refusals(plan)
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
