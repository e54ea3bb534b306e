"""The ambassador: the process beside an engine through which the chain tells the function what to do.

Composition only. Nothing runs before `run`: the process is a copy of one that has imported this.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from clover.control import telemetry
from clover.control.alerts import Alerts
from clover.control.backends import Backends
from clover.control.blocks import Blocks
from clover.control.calls import Calls
from clover.control.generations import Generations, UnreadableError
from clover.control.handlers import Handlers, Surroundings
from clover.control.purging import Purge
from clover.control.rules import Rules
from clover.control.server import serving
from clover.control.settings import AmbassadorSettings, settings_from
from clover.control.transaction import Transactions
from clover.control.uploads import Uploads
from clover.errors import FunctionError, Problem
from clover.functions import registry
from clover.spec.chain import FunctionType
from clover.spec.configuration import MODELS

EVERYWHERE = "0.0.0.0"  # noqa: S104 - of its workload's network, whose way in is the sidecar

for _model in MODELS.values():
    # Once, before the copies are made: each would need a quarter of a second and 7 MB for the same.
    _model.model_rebuild()


async def run(settings: AmbassadorSettings) -> None:
    """Answer for one workload until SIGTERM. Raises FunctionError if what is in force cannot be read."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _owned(settings) as generations:
        async with telemetry.sending(
            settings.otlp, resource=telemetry.resource_of(settings), attributes=telemetry.attributes_of(settings)
        ) as sender:
            await _serve(settings, generations, sender, stop)


async def _serve(
    settings: AmbassadorSettings, generations: Generations, sender: telemetry.OtlpTelemetry, stop: asyncio.Event
) -> None:
    try:
        state = generations.current()
    except UnreadableError as failure:
        raise _unreadable(settings, failure) from failure
    driver = registry.driver(FunctionType(settings.type), settings.engine)
    surroundings = Surroundings(
        settings=settings,
        driver=driver,
        running=driver.running(settings_from(settings, state)),
        configuration=lambda: transactions.in_force.state.configuration,
        telemetry=sender,
    )
    async with asyncio.TaskGroup() as tasks:
        transactions = Transactions(surroundings, generations, state, tasks=tasks)
        parts = _parts(surroundings)
        handlers = _handlers(surroundings, transactions, parts)
        address = f"{EVERYWHERE}:{settings.control_port}"
        async with serving(
            address,
            handlers,
            function=settings.function,
            type_=settings.type,
            engine=settings.engine,
            telemetry=sender,
        ) as port:
            working = [tasks.create_task(transactions.in_force.settling(), name="settling")]
            working += [tasks.create_task(part.run(), name=type(part).__name__) for part in parts]
            print(f"{settings.workload}: answers on port {port}, generation {state.generation}", flush=True)
            await stop.wait()
        # A change that has begun goes on to its end, though nobody waits for its answer any more.
        await transactions.idle()
        for task in working:
            task.cancel()
        print(f"{settings.workload}: stopped, generation {transactions.in_force.state.generation}", flush=True)


def _parts(surroundings: Surroundings) -> tuple[Blocks | Alerts, ...]:
    """Return what some types have beside their configuration."""
    match surroundings.settings.type:
        case FunctionType.FIREWALL:
            return (Blocks(surroundings),)
        case FunctionType.IDS:
            return (Alerts(surroundings),)
        case _:
            return ()


def _handlers(surroundings: Surroundings, transactions: Transactions, parts: tuple[Blocks | Alerts, ...]) -> Handlers:
    calls = Calls(surroundings, transactions, more=tuple(part.statistics for part in parts))
    handlers = {**calls.handlers()}
    match surroundings.settings.type:
        case FunctionType.FIREWALL | FunctionType.LOAD_BALANCER | FunctionType.CACHE:
            handlers |= Backends(surroundings, transactions).handlers()
        case FunctionType.IDS:
            handlers |= Rules(surroundings, transactions).handlers()
        case FunctionType.SERVER:
            handlers |= Uploads(surroundings, transactions).handlers()
    if surroundings.settings.type == FunctionType.CACHE:
        handlers |= Purge(surroundings).handlers()
    for part in parts:
        handlers |= part.handlers()
    return handlers


@contextlib.contextmanager
def _owned(settings: AmbassadorSettings) -> Iterator[Generations]:
    """Return the generations on disk, which nobody else changes for as long as the block runs."""
    generations = Generations(settings.directory)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(generations.owned())
        except (UnreadableError, OSError) as failure:
            raise _unreadable(settings, failure) from failure
        yield generations


def _unreadable(settings: AmbassadorSettings, failure: Exception) -> FunctionError:
    return FunctionError(
        Problem(
            code="CLV3320",
            where=f"ambassador of {settings.workload}",
            what=f"the configuration in force cannot be read: {failure}",
            hint="clover down, and clover up: the chain file's own configuration comes into force",
        )
    )
