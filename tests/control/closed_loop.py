"""Both ends of the closed loop on loopback: who finds alerts, and the firewall that hears of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from clover.control import telemetry
from clover.control.alerts import Alerts
from clover.control.blocks import Blocks
from clover.control.handlers import Handlers, Surroundings
from clover.control.server import serving
from clover.control.settings import AmbassadorSettings, settings_from
from clover.functions.modsecurity import driver as modsecurity
from clover.functions.state import State
from clover.functions.suricata import driver as suricata
from clover.spec.configuration import MODELS, BlockPolicy

FIREWALL, IDS = "firewall", "ids"
DRIVERS = {FIREWALL: modsecurity.Firewall(), IDS: suricata.Ids()}


def settings_for(type_: str, directory: Path, otlp: Path, *, report_to: tuple[str, ...] = ()) -> AmbassadorSettings:
    directory.mkdir(exist_ok=True)
    (directory / "eve").mkdir(exist_ok=True)
    return AmbassadorSettings(
        chain="c",
        namespace="default",
        function=type_,
        version="v1",
        workload=f"{type_}-v1",
        type=type_,
        engine=DRIVERS[type_].engine,
        directory=str(directory),
        port=8080,
        control_port=50054,
        report_to=report_to,
        otlp=str(otlp),
    )


@contextlib.asynccontextmanager
async def surrounded(settings: AmbassadorSettings, **configuration) -> AsyncIterator[Surroundings]:
    """What a part of this function's ambassador is made from, with telemetry that is really sent."""
    state = State(type=settings.type, generation=1, configuration=MODELS[settings.type](**configuration))
    driver = DRIVERS[settings.type]
    async with telemetry.sending(
        settings.otlp, resource=telemetry.resource_of(settings), attributes=telemetry.attributes_of(settings)
    ) as sender:
        yield Surroundings(
            settings=settings,
            driver=driver,
            running=driver.running(settings_from(settings, state)),
            configuration=lambda: state.configuration,
            telemetry=sender,
        )


@contextlib.asynccontextmanager
async def firewall(
    directory: Path,
    otlp: Path,
    *,
    policy: BlockPolicy | None = None,
    port: int = 0,
    delay_s: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[int, Blocks]]:
    """A firewall's ambassador, as far as blocks go, and its port; it takes reports only `delay_s` after they come."""
    settings = settings_for(FIREWALL, directory, otlp)
    async with surrounded(settings, block_policy=policy) as surroundings, asyncio.TaskGroup() as tasks:
        blocks = Blocks(surroundings, clock=clock)
        async with answering(_slowed(blocks.handlers(), delay_s), surroundings, port=port) as port:
            working = tasks.create_task(blocks.run())
            yield port, blocks
            working.cancel()


@contextlib.asynccontextmanager
async def answering(handlers: Handlers, surroundings: Surroundings, *, port: int = 0) -> AsyncIterator[int]:
    settings = surroundings.settings
    async with serving(
        f"127.0.0.1:{port}",
        handlers,
        function=settings.function,
        type_=settings.type,
        engine=settings.engine,
        telemetry=surroundings.telemetry,
    ) as port:
        yield port


@contextlib.asynccontextmanager
async def ids(directory: Path, otlp: Path, *, report_to: tuple[str, ...]) -> AsyncIterator[Alerts]:
    """The part of an intrusion detection system's ambassador that hands alerts on."""
    settings = settings_for(IDS, directory, otlp, report_to=report_to)
    async with surrounded(settings) as surroundings, asyncio.TaskGroup() as tasks:
        alerts = Alerts(surroundings)
        working = tasks.create_task(alerts.run())
        yield alerts
        working.cancel()


@contextlib.asynccontextmanager
async def ids_process(directory: Path, otlp: Path, *, report_to: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The same in a process of its own, which is killed without warning at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(directory), str(otlp), report_to, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def records(number: int, *, client: str = "192.0.2.7", rule: int = 9000001) -> bytes:
    """What Suricata writes of one request that a rule describes: the alert, and the request with its headers."""
    common = {
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        "flow_id": 10_000 + number,
        "in_iface": "lo",
        "src_ip": "127.0.0.6",
        "src_port": 40000 + number % 20000,
        "dest_ip": "127.0.0.1",
        "dest_port": 8080,
        "proto": "TCP",
        "tx_id": 0,
    }
    http = {"hostname": "shop.example", "url": f"/?n={number}", "http_method": "GET", "protocol": "HTTP/1.1"}
    alert = {
        "action": "allowed",
        "gid": 1,
        "signature_id": rule,
        "rev": 1,
        "signature": "evil",
        "category": "",
        "severity": 1,
    }
    headers = [
        {"name": "Host", "value": "shop.example"},
        {"name": "traceparent", "value": f"00-{trace_id(number)}-{number + 1:016x}-01"},
        {"name": "X-Forwarded-For", "value": f"{client}, 127.0.0.6"},
    ]
    lines = (
        common | {"event_type": "alert", "alert": alert, "http": http, "app_proto": "http"},
        common | {"event_type": "http", "http": http | {"request_headers": headers}},
    )
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def trace_id(number: int) -> str:
    return f"{number + 1:032x}"


def eve(directory: Path) -> Path:
    return directory / "eve" / "eve.json"


def _slowed(handlers: Handlers, delay_s: float) -> Handlers:
    async def slow(request, call):
        await asyncio.sleep(delay_s)
        return await handlers["ReportAlerts"](request, call)

    return {**handlers, "ReportAlerts": slow} if delay_s else handlers


async def _report_for_ever(directory: str, otlp: str, report_to: str) -> None:
    async with ids(Path(directory), Path(otlp), report_to=(report_to,)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_report_for_ever(*sys.argv[1:]))
