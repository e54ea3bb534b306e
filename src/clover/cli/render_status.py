"""A running chain as a table: one line per workload, problems below."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from clover.cli import screen
from clover.cli.answers import StatusAnswer, StoreAnswer, WorkloadAnswer
from clover.cli.screen import Column

COLUMNS = (
    Column(title="FUNCTION"),
    Column(title="VERSION"),
    Column(title="ENGINE"),
    Column(title="STATE"),
    Column(title="READY"),
    Column(title="RESTARTS", right=True),
    Column(title="RPS", right=True),
    Column(title="ERR%", right=True),
    Column(title="P50", right=True),
    Column(title="P99", right=True),
    Column(title="ADDRESS"),
)
GATEWAY = "gateway"
_STATE_STYLES = {"ready": "green", "starting": "yellow", "degraded": "yellow", "restarting": "yellow", "failed": "red"}


def lines(status: StatusAnswer) -> Iterator[Text]:
    """Yield the whole view."""
    yield Text.assemble(
        (status["chain"], "bold"),
        "  ",
        _state(status["state"]),
        f"  {status['gateway']}  up {_uptime(status['uptimeS'])}",
    )
    yield Text("")
    yield from screen.table(COLUMNS, [_row(workload) for workload in status["workloads"]])
    for workload in status["workloads"]:
        yield from _last_exits(workload)
    if store := status.get("store"):
        yield Text("")
        yield _store(store)
    if status["problems"]:
        yield Text("")
        yield from screen.problems(status["problems"])


def _uptime(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else screen.duration(seconds * 1000)


def _row(workload: WorkloadAnswer) -> list[Text | str]:
    rate, errors = workload["rps"], workload["errorRate"]
    traffic = bool(rate)
    return [
        workload["function"],
        workload["version"] or screen.NONE,
        workload["engine"],
        _workload_state(workload),
        Text("yes", style="green") if workload["ready"] else Text("no", style="bold red"),
        Text(str(workload["restarts"]), style="yellow" if workload["restarts"] else ""),
        f"{rate:.1f}" if traffic else screen.NONE,
        Text(f"{errors * 100:.1f}", style="red" if errors else "") if traffic and errors is not None else screen.NONE,
        screen.duration(workload["p50Ms"]),
        screen.duration(workload["p99Ms"]),
        workload["address"],
    ]


def _workload_state(workload: WorkloadAnswer) -> Text:
    sidecar = workload.get("sidecar")
    if sidecar and sidecar["state"] != "ready":
        return _state(sidecar["state"], about="sidecar ")
    if sidecar and not sidecar["acknowledged"] and workload["state"] == "ready":
        return Text("ready (sidecar behind)", style=_STATE_STYLES["starting"])
    away = [f"{name} {one['state']}" for name, one in workload.get("companions", {}).items() if one["state"] != "ready"]
    if away and workload["state"] == "ready":
        return Text(f"ready ({', '.join(away)})", style=_STATE_STYLES["degraded"])
    return _state(workload["state"])


def _state(state: str, *, about: str = "") -> Text:
    return Text(f"{about}{state}", style=_STATE_STYLES.get(state, ""))


def _last_exits(workload: WorkloadAnswer) -> Iterator[Text]:
    """Yield how the processes of a workload ended last time: one line each; more where it is not ready again."""
    companions = {name: one["lastExit"] for name, one in workload.get("companions", {}).items()}
    sidecar = workload.get("sidecar")
    said = {workload["engine"]: workload.get("lastExit", ""), **companions}
    if sidecar:
        if workload["function"] == GATEWAY:  # it is all sidecar: this is how that one ended
            del said[workload["engine"]]
        said["sidecar"] = sidecar.get("lastExit", "")
    for part, words in said.items():
        first, *more = words.splitlines() or [""]
        if first:
            again = ", started again" if workload["ready"] else ""
            yield Text(f"{workload['workload']}: {part}: {screen.printable(first)}{again}", style="yellow")
        for line in more if not workload["ready"] else ():
            yield Text(f"    {screen.printable(line.strip())}")


def _store(store: StoreAnswer) -> Text:
    text = Text(
        f"store: {screen.count(store.get('spans', 0), 'span')}, {screen.count(store.get('logs', 0), 'log line')},"
        f" {screen.size(store.get('bytes', 0))}"
    )
    for word in ("refused", "lost"):
        number = store.get(word, 0)
        if isinstance(number, int) and number:
            text.append(f", {number:,} {word}", style="bold red")
    return text
