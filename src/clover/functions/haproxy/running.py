"""A running HAProxy, as its ambassador reaches it: by the sockets of its worker and of its master.

Weights and states change in the running worker, between two requests. Everything else takes a reload: the master
starts another worker by the configuration in force, which takes over the listening sockets. The one before it accepts
nothing more, and answers one more request on each connection that it has. What a worker was told by its socket ends
with it, so both ways lead to the same only because the files of each generation say everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clover.functions import templates
from clover.functions.driver import BackendReport, EngineDownError, EngineError, How, Settings
from clover.functions.haproxy import reports
from clover.functions.haproxy.reports import BACKEND, FRONTEND, Workers
from clover.functions.haproxy.sockets import ask
from clover.functions.templates import Target
from clover.spec.configuration import LoadBalancerConfiguration

ADMIN_SOCKET = "admin.sock"
MASTER_SOCKET = "master.sock"
BALANCE = {
    "round-robin": ("roundrobin",),
    "least-connections": ("leastconn",),
    "random": ("random", "unknown"),  # HAProxy 2.6 has no name for this one
    "source": ("hash",),
}
"""What HAProxy calls the ways to choose a backend."""
RELOAD_S = 10.0
"""How long a reload may take: a tenth of a second on an idle machine."""
CONFIRM_S = 5.0
"""How long the worker before may go on accepting connections, and the new one be silent."""
_PAUSE_S = 0.02
_LOG_S = 1.0
_MOST_BYTES = 64 * 1024
_MOST_WORDS = 2000
_ALERT = re.compile(rb"\[ALERT\] +\(\d+\) : (.*)")
_TOTALS = {
    "conn_tot": "connections_total",
    "req_tot": "requests_total",
    "bin": "bytes_in_total",
    "bout": "bytes_out_total",
    **{f"hrsp_{kind}xx": f"responses_{kind}xx_total" for kind in "12345"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyRunning:
    """Changes a HAProxy at run time where that is possible, and by a reload otherwise."""

    directory: str
    """The workload's folder, in which the sockets are."""

    async def change(self, before: Settings, after: Settings) -> How:
        """Bring `after` into force, as little as it takes. Raises EngineError with HAProxy's own words."""
        if not await self._differences(after):
            return How.NONE  # put back what was never replaced
        if _fixed(before) == _fixed(after):
            await self._tell(after)
            return How.RUNTIME
        await self._reload()
        return How.RELOAD

    async def confirm(self, wanted: Settings, how: How) -> None:
        """Return once the worker says that it works by `wanted`, and no other accepts connections."""
        found: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(CONFIRM_S):
                while True:
                    found = await self._differences(wanted)
                    if not found:
                        found = await self._still_accepting()
                    if not found:
                        return
                    if how is not How.RELOAD:
                        break  # what it was told is done by the time it answers
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            pass
        raise EngineError(
            f"HAProxy does not work by generation {wanted.generation}: {'; '.join(found) or 'it does not answer'}"
        )

    async def statistics(self) -> dict[str, float]:
        """Return the counters of the worker that accepts connections; each reload begins them anew."""
        rows = reports.statistics_from(await self._ask(ADMIN_SOCKET, "show stat"))
        frontend, backend = rows.get((FRONTEND, "FRONTEND")), rows.get((BACKEND, "BACKEND"))
        information = reports.information_from(await self._ask(ADMIN_SOCKET, "show info"))
        if frontend is None or backend is None:
            raise EngineError("HAProxy's counters have no frontend or no backend")
        workers = await self._workers()
        return {
            "connections_active": _number(frontend["scur"]),
            **{name: _number(frontend[field]) for field, name in _TOTALS.items()},
            "requests_queued": _number(backend["qcur"]),
            "upstream_connections_total": _number(backend["connect"]),
            "upstream_retries_total": _number(backend["wretr"]),
            "uptime_seconds": _number(information.get("Uptime_sec", "")),
            "reloads_total": float(workers.reloads),
            "workers_leaving": float(len(workers.leaving)),
        }

    async def backends(self, settings: Settings) -> dict[str, BackendReport]:
        """Return what HAProxy says of each backend; one without health checks is `UP` until it is told otherwise."""
        rows = reports.statistics_from(await self._ask(ADMIN_SOCKET, "show stat"))
        names = [_server(target) for target in _targets(settings)]
        return {name: _report(row) for name in names if (row := rows.get((BACKEND, name))) is not None}

    async def _tell(self, wanted: Settings) -> None:
        # What may get requests comes first: there is never none that does, only because the order is bad.
        targets = sorted(_targets(wanted), key=lambda target: target.state != "ready")
        commands = (
            "experimental-mode on",  # for `set var`
            *(command for target in targets for command in _commands(target)),
            f"set var proc.generation int({wanted.generation})",
        )
        if answer := (await self._ask(ADMIN_SOCKET, "; ".join(commands))).strip():
            raise EngineError(f"HAProxy says: {answer[:_MOST_WORDS]}")

    async def _reload(self) -> None:
        """Make the master start another worker, and return when it has. Raises EngineError with why it has not."""
        before = await self._workers()
        said = _size(self._log)
        with contextlib.suppress(EngineDownError):  # it may be gone before it has hung up
            if answer := (await self._ask(MASTER_SOCKET, "reload")).strip():
                raise EngineError(f"HAProxy's master says: {answer[:_MOST_WORDS]}")
        try:
            async with asyncio.timeout(RELOAD_S):
                while True:
                    now = await self._workers_after(before)
                    if now is not None:
                        break
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise EngineError(f"HAProxy's master has not read its configuration after {RELOAD_S:g} s") from None
        if now.failed:
            raise EngineError(await self._alerts(said) or "HAProxy refuses the configuration, and does not say why")

    async def _workers_after(self, before: Workers) -> Workers | None:
        """Return the workers once the master has read its configuration again; None: not yet."""
        now = await self._workers()
        return now if (now.master, now.reloads) != (before.master, before.reloads) else None

    async def _differences(self, wanted: Settings) -> tuple[str, ...]:
        """Return what the worker says that is not as it should be."""
        try:
            generation = reports.generation_from(await self._ask(ADMIN_SOCKET, "get var proc.generation"))
            servers = reports.servers_from(await self._ask(ADMIN_SOCKET, f"show servers state {BACKEND}"))
            rows = reports.statistics_from(await self._ask(ADMIN_SOCKET, "show stat"))
        except reports.UnreadableError as answer:
            return (f"it says {str(answer)[:_MOST_WORDS]!r}",)
        balance = rows.get((BACKEND, "BACKEND"), {}).get("algo")
        return tuple(_unlike(wanted, generation, servers, balance))

    async def _still_accepting(self) -> tuple[str, ...]:
        """Return who of those that are to leave has not heard of it."""
        found = []
        for pid in (await self._workers()).leaving:
            try:
                information = reports.information_from(await self._ask_master(f"@!{pid} show info"))
            except reports.UnreadableError:
                continue  # it is gone
            if information.get("Stopping") == "0":
                found.append(f"worker {pid} still accepts connections")
        return tuple(found)

    async def _workers(self) -> Workers:
        try:
            return reports.workers_from(await self._ask_master("show proc"))
        except reports.UnreadableError as answer:
            raise EngineError(f"HAProxy's master says {str(answer)[:_MOST_WORDS]!r}") from None

    async def _ask_master(self, question: str) -> str:
        """Ask until there is an answer: after each start and reload the master replaces itself, and its socket."""
        deadline = time.monotonic() + RELOAD_S
        while True:
            try:
                return await self._ask(MASTER_SOCKET, question)
            except EngineDownError:
                await self._ask(ADMIN_SOCKET, "show version")  # without a master there is soon no worker
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self, socket: str, command: str) -> str:
        return await ask(Path(self.directory, socket), command)

    @property
    def _log(self) -> Path:
        return Path(self.directory, "logs", "engine.log")

    async def _alerts(self, said: int) -> str:
        """Return what HAProxy has printed as the reason of a failure since its log had that many bytes."""
        try:
            async with asyncio.timeout(_LOG_S):
                while True:
                    if alerts := _alerts(self._log, said):
                        return alerts
                    await asyncio.sleep(_PAUSE_S)  # who writes the log down may not be there yet
        except TimeoutError:
            return ""


def _fixed(settings: Settings) -> Settings:
    """Return the settings without what can change at run time: two that are equal here need no reload."""
    configuration = templates.told(settings, LoadBalancerConfiguration)
    backends = tuple(
        sorted(
            (backend.model_copy(update={"weight": 1, "state": "ready"}) for backend in configuration.backends),
            key=lambda backend: (backend.host, backend.port or 0),
        )
    )
    return replace(settings, generation=1, configuration=configuration.model_copy(update={"backends": backends}))


def _targets(settings: Settings) -> tuple[Target, ...]:
    return templates.values_from(settings).upstreams


def _server(target: Target) -> str:
    return f"{target.host}:{target.port}"


def _weight(target: Target) -> int:
    """A drained server has the weight 0, which can be written in a configuration; HAProxy's own `drain` cannot."""
    return 0 if target.state == "drain" else target.weight


def _commands(target: Target) -> tuple[str, str]:
    state = "maint" if target.state == "disabled" else "ready"
    server = f"{BACKEND}/{_server(target)}"
    return f"set server {server} weight {_weight(target)}", f"set server {server} state {state}"


def _unlike(
    wanted: Settings, generation: int, servers: dict[str, reports.Server], balance: str | None
) -> Iterator[str]:
    targets = {_server(target): target for target in _targets(wanted)}
    if generation != wanted.generation:
        yield f"it says generation {generation}"
    told = templates.told(wanted, LoadBalancerConfiguration)
    if balance not in (expected := BALANCE[told.algorithm]):
        yield f"it balances by {balance!r}, expected {expected[0]!r}"
    if missing := targets.keys() - servers.keys():
        yield f"it does not know {', '.join(sorted(missing))}"
    if unknown := servers.keys() - targets.keys():
        yield f"it still knows {', '.join(sorted(unknown))}"
    for name, target in targets.items():
        if (server := servers.get(name)) is None:
            continue
        if server.weight != _weight(target):
            yield f"{name} has the weight {server.weight}, expected {_weight(target)}"
        if server.maintenance != (target.state == "disabled"):
            yield f"{name} is {'in maintenance' if server.maintenance else 'not in maintenance'}"
        elif not server.maintenance and not server.running:
            yield f"{name} is down"


def _report(row: dict[str, str]) -> BackendReport:
    state = row["status"].partition(" ")[0]
    if state == "no":  # `no check`
        state = "DRAIN" if row["weight"] == "0" else "UP"
    return BackendReport(state=state, requests_total=int(_number(row["stot"])), active=int(_number(row["scur"])))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise EngineError(f"HAProxy has {text!r} among its counters") from None


def _alerts(log: Path, said: int) -> str:
    try:
        with log.open("rb") as lines:
            lines.seek(min(said, _size(log)))
            found = _ALERT.findall(lines.read(_MOST_BYTES))
    except OSError:
        return ""
    return b"; ".join(dict.fromkeys(found)).decode("utf-8", "replace")[:_MOST_WORDS]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
