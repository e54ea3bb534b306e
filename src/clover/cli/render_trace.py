"""One trace as a picture of where the time went: a line per hop, then proxies against functions, then the log lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from urllib.parse import urlsplit

from rich.cells import cell_len
from rich.text import Text

from clover.cli import flags, hops, loglines, render_events, screen
from clover.cli.answers import BreakdownAnswer, LogAnswer, SpanAnswer, StoredChangeAnswer, TraceAnswer
from clover.cli.hops import Hop
from clover.cli.screen import Column, Marks

LABEL_CELLS = 34
"""A longer name of a hop is cut; deep trees lose their ends, not their bars."""
CHANGES_SHOWN = 3
"""More changes before a trace are counted, unless everything is asked for."""
SUMMARY_CELLS = 100
_CHANGES = (Column(title="", right=True), Column(title=""), Column(title=""))
_BAR_STYLES = {
    hops.FUNCTION: "green",
    hops.PROXY: "magenta",
    hops.NETWORK: "blue",
    hops.WAITING: "dim",
    hops.NOTHING: "",
}


def lines(
    trace: TraceAnswer, *, width: int, marks: Marks = screen.UNICODE, full: bool = False, zone: tzinfo | None = None
) -> Iterator[Text]:
    """
    Yield the whole view, `width` cells wide where a drawing is.

    `full` shows every span and every log line; else sidecars' access records are left to the hops' own lines.
    """
    visits = hops.fold(trace["spans"])
    logs = _by_hop(trace["logs"], visits)
    labels = {(hop.entry["service"], hop.entry["version"]): hop.name for hop in visits}
    yield from _heading(trace, visits, marks=marks, zone=zone)
    if visits:
        yield Text("")
        yield from _waterfall(trace, visits, logs, width=width, marks=marks, full=full)
    if changes := trace.get("changes"):
        yield Text("")
        yield from _changes_before(trace, changes, full=full)
    if trace["breakdown"]:
        yield Text("")
        yield from _breakdown(trace, labels)
    if trace["logs"]:
        yield Text("")
        yield from _logs(trace, labels, full=full)


def _heading(trace: TraceAnswer, visits: Sequence[Hop], *, marks: Marks, zone: tzinfo | None) -> Iterator[Text]:
    if visits:
        request, host = _request(visits[0].entry)
        status = visits[0].status
        yield Text.assemble(
            (screen.printable(request), "bold"),
            "  ",
            (status or "no answer", screen.status_style(status) or "bold red"),
            f"  {screen.duration(trace['durationMs'])}",
            f"  {screen.printable(host)}" if host else "",
        )
    about = f"trace {trace['traceId']}"
    if trace["spans"]:
        start = min(span["startUnixNano"] for span in trace["spans"])
        moment = datetime.fromtimestamp(start // 1_000_000_000, tz=UTC).astimezone(zone)
        about += f"  {moment:%Y-%m-%d %H:%M:%S}.{start // 1_000_000 % 1000:03d}"
    yield Text(about)
    verdict = (f"{marks.good} complete", "green") if trace["complete"] else (f"{marks.bad} incomplete", "bold yellow")
    counts = f"  {screen.count(len(visits), 'hop')}, {screen.count(len(trace['spans']), 'span')}"
    yield Text.assemble(verdict, counts)
    if not trace["complete"]:
        for reason in trace["incompleteBecause"]:
            yield Text(f"  {screen.printable(reason)}", style="yellow")


def _waterfall(
    trace: TraceAnswer,
    visits: Sequence[Hop],
    logs: dict[int, list[LogAnswer]],
    *,
    width: int,
    marks: Marks,
    full: bool,
) -> Iterator[Text]:
    start = min(span["startUnixNano"] for span in trace["spans"])
    end = max(span["startUnixNano"] + round(span["durationMs"] * 1_000_000) for span in trace["spans"])
    end = max(end, start + 1)
    statuses = [" ".join(filter(None, (hop.status or screen.NONE, hop.flags))) for hop in visits]
    branches = _branches(visits, marks)
    names = [
        screen.cut(branch + screen.printable(hop.label), LABEL_CELLS)
        for hop, (branch, _) in zip(visits, branches, strict=True)
    ]
    name_cells = max(map(cell_len, (*names, "HOP")))
    status_cells = max(map(len, (*statuses, "STATUS")))
    bar_cells = max(width - name_cells - status_cells - 2 * 8 - 4 * 2, 16)

    scale = screen.duration((end - start) / 1_000_000)
    yield Text(
        f"{'HOP':<{name_cells}}  {'STATUS':<{status_cells}}  {'TOTAL':>8}  {'SELF':>8}  0{scale:>{bar_cells - 1}}",
        style="bold",
    )
    signs = (marks.function, marks.proxy, marks.network, marks.waiting, " ")
    for hop, name, status, (_, indent) in zip(visits, names, statuses, branches, strict=True):
        line = Text.assemble(
            name,
            " " * (name_cells - cell_len(name) + 2),
            (f"{status:<{status_cells}}", screen.status_style(status) or "bold red"),
            f"  {screen.duration(hop.entry['durationMs']):>8}  {screen.duration(hop.self_ms):>8}  ",
        )
        spent = hops.moments(hop, start_nano=start, end_nano=end, cells=bar_cells)
        for kind, cells in groupby(spent):
            line.append(signs[kind] * len(list(cells)), style=_BAR_STYLES[kind])
        line.rstrip()
        yield line
        for note in _notes(hop, logs.get(id(hop), ()), marks=marks, full=full):
            yield Text.assemble(indent, note)
    yield Text(
        f"{marks.function} function  {marks.proxy} sidecar  {marks.network} network  {marks.waiting} next hop",
        style="dim",
    )


def _notes(hop: Hop, logs: Sequence[LogAnswer], *, marks: Marks, full: bool) -> Iterator[Text]:
    """Yield what is worth a line of its own below a hop."""
    if said := loglines.verdict(logs):
        deciding, *others = said.findings or (None,)
        reason = f": {screen.printable(f'{deciding.message} [{deciding.rule}]')}" if deciding else ""
        if said.blocked:
            yield Text(f"{marks.bad} blocked by the firewall's rules{reason}", style="bold red")
        else:
            yield Text(f"the firewall's rules matched{reason}", style="yellow")
        for finding in others:
            data = f" ({screen.cut(screen.printable(finding.data), 60)})" if finding.data else ""
            yield Text(f"  {screen.printable(finding.message)} [{finding.rule}]{data}", style="red")
    if refused := loglines.refusal(logs):
        yield Text(f"{marks.bad} refused: {refused}", style="bold red")
    for log in logs:
        # Flags have words of their own, below; who denies a request sets none but this one. Of what failed outside of
        # the chain they tell nothing.
        told_by_flags = log["attributes"].get("flags", "-") not in ("", "-", "UAEX")
        if (why := log.get("why", "")) and ("way_out" in log["attributes"] or not told_by_flags):
            yield Text(screen.printable(f"{marks.bad} {why}"), style="bold red")
        for remark in log.get("remarks", ()):
            yield Text(screen.printable(remark), style="yellow")
        if loglines.source(log) == "alert":
            yield Text(loglines.alert(log), style="bold red")
        elif loglines.source(log) == "change":
            came_off = log["attributes"].get("clover.change.outcome", "applied") == "applied"
            yield Text(loglines.change(log), style="cyan" if came_off else "bold red")
    for cached in filter(None, map(loglines.cache, logs)):
        yield Text(f"cache {cached}", style="cyan")
    for call in hops.failed_attempts(hop):
        said_flags = ",".join(hops.response_flags(call))
        cluster, answer = hops.upstream_cluster(call) or "its next hop", hops.http_status(call) or "no answer"
        if cluster.startswith("inbound|"):
            cluster = "its own function"
        failure = f"{marks.bad} call to {cluster} failed: {answer} {said_flags}".rstrip()
        yield Text(screen.printable(failure), style="bold red")
    if hop.flags:
        for log in logs:
            if loglines.source(log) == "envoy" and log["attributes"].get("flags", "-") not in ("", "-"):
                yield Text(loglines.summary(log), style="red")
        for meaning in flags.explained(hop.flags):
            yield Text(f"  {meaning}", style="yellow")
    for span in hop.spans if full else hops.own_spans(hop):
        yield Text(
            screen.printable(f"{span['kind'].lower()} {span['name']}  {screen.duration(span['durationMs'])}")
            + (f"  self {screen.duration(span['selfMs'])}  {span['spanId']}" if full else ""),
            style="red" if span["status"] == "Error" else "dim",
        )


def _changes_before(trace: TraceAnswer, changes: Sequence[StoredChangeAnswer], *, full: bool) -> Iterator[Text]:
    """Yield the last changes that may explain the trace: what was changed before this got slow."""
    start = min(span["startUnixNano"] for span in trace["spans"])
    shown = changes if full else changes[:CHANGES_SHOWN]
    yield Text("CHANGED BEFORE", style="bold")
    rows: list[list[Text | str]] = []
    for change in shown:
        generations = render_events.generations(change)
        what = f"generation {generations}: {change['summary']}" if generations else change["summary"]
        rows.append(
            [
                f"-{screen.duration((start - change['timeUnixNano']) / 1_000_000)}",
                render_events.function(change),
                screen.cut(screen.printable(what), SUMMARY_CELLS),
            ]
        )
    yield from list(screen.table(_CHANGES, rows))[1:]
    if more := len(changes) - len(shown):
        yield Text(f"  and {screen.count(more, 'change')} before that: clover changes", style="dim")


def _breakdown(trace: TraceAnswer, labels: Mapping[tuple[str, str], str]) -> Iterator[Text]:
    parts = trace["breakdown"]
    columns = (
        Column(title="TIME SPENT IN"),
        Column(title="FUNCTION", right=True),
        Column(title="SIDECAR", right=True),
        Column(title="NETWORK", right=True),
    )
    rows = [_share(part, labels) for part in parts]
    sums = [sum(part[key] for part in parts) for key in ("functionMs", "proxyMs", "networkMs")]
    whole = sum(sums) or 1.0
    rows.append(["all", *(screen.duration(spent) for spent in sums)])
    rows.append(["", *(f"{spent / whole:.0%}" for spent in sums)])
    if beside := trace.get("beside"):
        rows.append(["beside it, with copies", "", "", ""])
        spent = (part for part in beside if part["functionMs"] or part["proxyMs"] or part["networkMs"])
        rows += [_share(part, labels) for part in spent]
    yield from screen.table(columns, rows)


def _share(part: BreakdownAnswer, labels: Mapping[tuple[str, str], str]) -> list[Text | str]:
    times = (part["functionMs"], part["proxyMs"], part["networkMs"])
    return [
        _label(part["service"], part["version"], labels),
        *(screen.duration(spent) if spent else screen.NONE for spent in times),
    ]


def _logs(trace: TraceAnswer, labels: Mapping[tuple[str, str], str], *, full: bool) -> Iterator[Text]:
    shown = [log for log in trace["logs"] if full or loglines.source(log) != "envoy"]
    hidden = len(trace["logs"]) - len(shown)
    start = min((span["startUnixNano"] for span in trace["spans"]), default=None)
    if start is None:
        start = min(log["timestampUnixNano"] for log in trace["logs"])
    more = f" ({screen.count(hidden, 'access record')} of sidecars left out, see --full)" if hidden else ""
    yield Text.assemble(("LOG LINES", "bold"), more)
    names = [_label(log["service"], log["version"], labels) for log in shown]
    cells = max(map(len, names), default=0)
    for log, name in sorted(zip(shown, names, strict=True), key=lambda pair: pair[0]["timestampUnixNano"]):
        offset = (log["timestampUnixNano"] - start) / 1_000_000
        since = f"{'-' if offset < 0 else '+'}{screen.duration(abs(offset))}"
        style = "red" if loglines.source(log) in ("waf", "alert") else ""
        yield Text.assemble(f"{since:>10}  {name:<{cells}}  ", (loglines.summary(log), style))


def _by_hop(logs: Sequence[LogAnswer], visits: Sequence[Hop]) -> dict[int, list[LogAnswer]]:
    """Give each log line to the hop whose span it names, else to the first visit to the workload that wrote it."""
    spans = {span["spanId"]: hop for hop in visits for span in hop.spans}
    places: dict[tuple[str, str], Hop] = {}
    for hop in visits:
        places.setdefault((hop.entry["service"], hop.entry["version"]), hop)
    found: dict[int, list[LogAnswer]] = {}
    for log in logs:
        place = (log["service"], log["version"])
        named = spans.get(log["spanId"])
        # A function may name a span of its caller: the one it was called with.
        right = named is not None and (named.entry["service"], named.entry["version"]) == place
        if (owner := named if right else places.get(place)) is not None:
            found.setdefault(id(owner), []).append(log)
    return found


def _label(service: str, version: str, labels: Mapping[tuple[str, str], str]) -> str:
    return screen.printable(labels.get((service, version)) or f"{service} {version}".rstrip())


def _branches(visits: Sequence[Hop], marks: Marks) -> list[tuple[str, str]]:
    """Return, for each hop, what leads to it in the drawing of the tree, and what stands before the notes below it."""
    blank = " " * len(marks.stem)
    leading: dict[Hop, str] = {}
    drawn = []
    for hop in visits:
        branch = leading[hop] = ""
        if hop.parent:
            last = hop is hop.parent.children[-1]
            branch = leading[hop.parent] + (marks.branch if last else marks.fork)
            leading[hop] = leading[hop.parent] + (blank if last else marks.stem)
        drawn.append((branch, leading[hop] + (marks.stem if hop.children else blank)))
    return drawn


def _request(span: SpanAnswer) -> tuple[str, str]:
    """Return what was asked, and of which host ('' if the span does not say)."""
    method = hops.attribute(span, "http.method", "http.request.method")
    path = hops.attribute(span, "url.path")
    host = hops.attribute(span, "http.host", "server.address")
    try:
        url = urlsplit(hops.attribute(span, "http.url", "url.full"))
    except ValueError:
        # A client may send anything as its Host.
        return f"{method} {span['name']}".strip(), host
    if url.path or url.netloc:
        path = url.path + (f"?{url.query}" if url.query else "")
        host = host or url.netloc.rpartition("@")[2]
    return (f"{method} {screen.cut(path or '/', 100)}" if method else span["name"]), host
