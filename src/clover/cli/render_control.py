"""What ambassadors answer, as text: the state of a function, what a change did, and what a function holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from rich.text import Text

from clover.cli import screen
from clover.cli.ambassadors import Answer, Target
from clover.cli.screen import Column, Marks

Json = Mapping[str, Any]

FUNCTIONS = (
    Column(title="FUNCTION"),
    Column(title="TYPE"),
    Column(title="ENGINE"),
)
BACKENDS = (
    Column(title="HOST"),
    Column(title="PORT", right=True),
    Column(title="WEIGHT", right=True),
    Column(title="STATE"),
    Column(title="ENGINE SAYS"),
    Column(title="REQUESTS", right=True),
    Column(title="ACTIVE", right=True),
)
FILES = (Column(title="PATH"), Column(title="SIZE", right=True), Column(title="SHA256"))
RULES = (
    Column(title="ID", right=True),
    Column(title="SEVERITY", right=True),
    Column(title="MESSAGE"),
    Column(title="LOOKS FOR"),
)
BLOCKS = (
    Column(title="ADDRESS"),
    Column(title="SINCE"),
    Column(title="UNTIL"),
    Column(title="ALERTS", right=True),
    Column(title="REASON"),
    Column(title="TRACE"),
)
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


# ---- changes


def change_as_json(target: Target, answer: Answer, *, took_ms: float) -> dict[str, Any]:
    """Return what a change did, for programs."""
    said = answer.response
    return {
        "function": target.function,
        "version": target.version,
        "workload": target.workload,
        "generation": number(said, "generation"),
        "changed": bool(said.get("changed")),
        "dryRun": bool(said.get("dryRun")),
        "method": word(said, "method", "METHOD"),
        "diff": said.get("diff", ""),
        "steps": [{"name": step.get("name", ""), "durationMs": duration_ms(step)} for step in said.get("steps", ())],
        "tookMs": took_ms_of(said, took_ms),
        "traceId": answer.trace_id,
    }


def change(target: Target, answer: Answer, *, took_ms: float, diff: bool, marks: Marks) -> Iterator[Text]:
    """Yield what a change did: a line, and with `diff` what is different now."""
    said = answer.response
    generation = number(said, "generation")
    dry_run = bool(said.get("dryRun"))
    trace = f"  trace {answer.trace_id}" if answer.trace_id else ""
    if not said.get("changed"):
        yield Text(f"{target}: unchanged (generation {generation}){' (dry run)' if dry_run else ''}{trace}")
        return
    how = word(said, "method", "METHOD")
    by = {"runtime": " at run time", "reload": " by reload"}.get(how, f" by {how}" if how else "")
    arrow = "→" if marks is screen.UNICODE else "->"
    told = " (dry run)" if dry_run else f" in {screen.duration(took_ms_of(said, took_ms))}"
    yield Text(f"{target}: generation {generation - 1} {arrow} {generation}{by}{told}{trace}")
    if diff or dry_run:
        yield from difference(said.get("diff", ""))


def difference(diff: str) -> Iterator[Text]:
    """Yield the lines of a unified diff."""
    for line in diff.splitlines():
        yield Text(screen.printable(line), style=_DIFF_STYLES.get(line[:1], ""))


def took_ms_of(said: Json, otherwise_ms: float) -> float:
    """Return how long the ambassador worked at it; what the caller measured when it does not say."""
    steps = [duration_ms(step) for step in said.get("steps", ())]
    return round(sum(steps), 3) if steps else round(otherwise_ms, 3)


# ---- state


def functions(targets: Sequence[Target]) -> Iterator[Text]:
    """Yield the functions that can be controlled."""
    if not targets:
        yield Text("no functions")
        return
    yield from screen.table(FUNCTIONS, [[str(one), one.type, one.engine] for one in targets])


def state(target: Target, said: Json, configuration: str, *, zone: tzinfo | None) -> Iterator[Text]:
    """Yield a function's state; `configuration` is the YAML of its configuration."""
    yield Text.assemble((str(target), "bold"), f"  {target.type}, {target.engine}")
    since = moment(said.get("appliedAt", ""), zone)
    yield Text(f"generation {number(said, 'generation')}" + (f" since {since}" if since else ""))
    if said.get("engineReady"):
        yield Text("engine ready", style="green")
    else:
        why = screen.printable(said.get("engineMessage", "")) or "it does not answer"
        yield Text(f"engine not ready: {why}", style="bold red")
    yield Text("")
    for line in configuration.splitlines():
        yield Text(screen.printable(line))


def status(target: Target, said: Json, *, zone: tzinfo | None) -> Text:
    """Return one line for one status."""
    parts = [moment(said.get("time", ""), zone), str(target), f"generation {number(said, 'generation')}"]
    ready = bool(said.get("engineReady"))
    text = Text("  ".join(filter(None, parts)))
    text.append("  ready" if ready else "  not ready", style="green" if ready else "bold red")
    if said.get("changing"):
        text.append("  changing", style="yellow")
    if message := said.get("engineMessage"):
        text.append(f"  {screen.printable(message)}")
    for name, value in sorted(said.get("statistics", {}).items()):
        text.append(f"  {screen.printable(name)}={float(value):g}")
    return text


def backends(said: Json) -> Iterator[Text]:
    """Yield the backends of a function, as it is told and as its engine sees them."""
    rows: list[list[Text | str]] = []
    for one in said.get("backends", ()):
        backend = one.get("backend", {})
        set_to = word(backend, "state", "BACKEND_STATE") or "ready"
        # An engine that says nothing of its backends has not counted either.
        engine_says = screen.printable(one.get("engineState", ""))
        rows.append(
            [
                screen.printable(backend.get("host", "")),
                str(backend.get("port") or screen.NONE),
                str(backend.get("weight") or 1),
                Text(set_to, style="" if set_to == "ready" else "yellow"),
                engine_says or screen.NONE,
                f"{number(one, 'requestsTotal'):,}" if engine_says else screen.NONE,
                str(one.get("active", 0)) if engine_says else screen.NONE,
            ]
        )
    if not rows:
        yield Text("no backends")
        return
    yield from screen.table(BACKENDS, rows)
    yield Text(f"generation {number(said, 'generation')}", style="dim")


def files(said: Json) -> Iterator[Text]:
    """Yield the uploaded files of a server."""
    rows = [
        [screen.printable(one.get("path", "")), screen.size(number(one, "bytes")), one.get("sha256", "")]
        for one in said.get("files", ())
    ]
    if not rows:
        yield Text("no uploaded files")
        return
    yield from screen.table(FILES, rows)


def rules(said: Sequence[Json]) -> Iterator[Text]:
    """Yield the rules of an intrusion detection system, as people write them."""
    if not said:
        yield Text("no rules")
        return
    yield from screen.table(
        RULES,
        [
            [
                str(rule.get("id", "")),
                str(rule.get("severity") or screen.NONE),
                screen.printable(rule.get("message", "")) or screen.NONE,
                screen.printable(_looks_for(rule)),
            ]
            for rule in said
        ],
    )


def blocks(said: Json, *, zone: tzinfo | None) -> Iterator[Text]:
    """Yield the clients that a firewall refuses for a while."""
    rows = [
        [
            screen.printable(one.get("address", "")),
            moment(one.get("since", ""), zone) or screen.NONE,
            moment(one.get("until", ""), zone) or screen.NONE,
            str(len(one.get("alertIds", ()))) if one.get("alertIds") else screen.NONE,
            screen.printable(one.get("reason", "")) or screen.NONE,
            one.get("traceId", "") or screen.NONE,
        ]
        for one in said.get("blocks", ())
    ]
    if not rows:
        yield Text("no blocked clients")
        return
    yield from screen.table(BLOCKS, rows)


def _looks_for(rule: Json) -> str:
    if text := rule.get("text"):
        return str(text)
    http = rule.get("http", {})
    exact = " (case-sensitive)" if http.get("caseSensitive") else ""
    return f"{http.get('field', '')} contains {http.get('contains', '')!r}{exact}"


# ---- protobuf's JSON


def number(said: Json, field: str) -> int:
    """Return a 64-bit number, which protobuf's JSON writes as text."""
    return int(said.get(field) or 0)


def word(said: Json, field: str, prefix: str) -> str:
    """Return the word that an enum's value stands for; '' for none."""
    value = str(said.get(field) or "")
    return "" if value.endswith("_UNSPECIFIED") else value.removeprefix(f"{prefix}_").lower().replace("_", "-")


def duration_ms(said: Json, field: str = "duration") -> float:
    """Return the length of `0.212s`."""
    text = str(said.get(field) or "0s")
    return round(float(text.removesuffix("s")) * 1000, 6)


def moment(text: str, zone: tzinfo | None) -> str:
    """Return `2026-11-23T02:33:10.123456Z` as local date and time; '' for none."""
    if not text or text.startswith("1970-01-01T00:00:00"):
        return ""
    return f"{datetime.fromisoformat(text).astimezone(zone):%Y-%m-%d %H:%M:%S}"
