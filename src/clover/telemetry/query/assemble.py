"""A trace put together from its spans and log lines: the tree, where the time went, and whether anything is missing.

How a request looks when every Envoy makes a span for what it receives and one for each attempt to send it on:

    gateway     Server ─ Client ┐ network
    firewall    sidecar, in     └ Server ─ Client ┐ function
                sidecar, out                      └ Server ─ Client ┐ network
    ...                                                             └ ...

So the time that a `Server` span does not pass on is the proxy's; the time that a `Client` span to the function
(cluster `inbound|…`) does not pass on is the function's; and the time that a `Client` span to a peer (cluster
`outbound|…`) does not pass on is the network's.

A copy of the request (a `mirror` span and all below it) runs beside the request, and nobody waits for it: it takes no
time from who sent it, and its own time stands apart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clover.telemetry.records import LogLine, Share, Span, Trace

GATEWAY = "gateway"
"""The workload whose `Server` span may continue a trace that a client began."""
NEVER_ARRIVED = frozenset({"UF", "UH", "UO", "NC", "NR", "DF", "DC", "URX", "UMSDR"})
"""Envoy's response flags that say that the peer need not have seen the request."""
_ADDRESS = re.compile(r":[1-9][0-9]*\b")
"""An engine that asked nobody logs '', '-', '-:-' or '-:0'."""
COPY = "mirror"
"""The name that Envoy gives to its span of a copy that it sends."""
SPANS_KEPT = "spans_kept"
"""Attribute of the records of a proxy whose policy keeps the spans of some traces only: `10 %`."""
LOGS_KEPT = "logs_kept"
"""Attribute of the spans of a proxy whose policy keeps some records only, or none."""
REASONS = 20
"""How many of what is missing are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class _Tree:
    spans: Mapping[str, Span]
    roots: tuple[str, ...]
    children: Mapping[str, tuple[str, ...]]
    """Copies of the request among them."""
    order: tuple[str, ...]
    """Every span once, parents before children."""
    copies: frozenset[str]
    """The spans of copies, and all below them."""

    def waited_for(self, span_id: str) -> Iterator[Span]:
        """Yield the children that the span may have waited for: not the copies that it sent."""
        for child in self.children.get(span_id, ()):
            if not is_copy(self.spans[child]):
                yield self.spans[child]


def assemble(trace_id: str, spans: Iterable[Span], logs: Iterable[LogLine]) -> Trace:
    """Return the trace; `spans` and `logs` come in any order, and possibly more than once."""
    tree = _tree(spans)
    lines = tuple(sorted(dict.fromkeys(map(_hashable, logs)), key=lambda line: line.key))
    logs = tuple(line.value for line in lines)
    timed = {span_id: replace(tree.spans[span_id], self_ms=_self_ms(span_id, tree)) for span_id in tree.order}
    spent = _spent_ns(tree)
    reasons = tuple(_shortened(_missing(tree, logs)))
    return Trace(
        trace_id=trace_id,
        complete=not reasons,
        incomplete_because=reasons,
        duration_ms=timed[tree.roots[0]].duration_ms if tree.roots else 0.0,
        spans=tuple(timed[span_id] for span_id in tree.order),
        logs=logs,
        breakdown=tuple(_breakdown(tree, (span_id for span_id in tree.order if span_id not in tree.copies), spent)),
        beside=tuple(_breakdown(tree, (span_id for span_id in tree.order if span_id in tree.copies), spent)),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    key: tuple[int, str, str, str]
    attributes: tuple[tuple[str, str], ...]
    value: LogLine

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Line) and (self.key, self.attributes) == (other.key, other.attributes)


def _hashable(line: LogLine) -> _Line:
    """Two exports of the same record are one record."""
    key = (line.timestamp_unix_nano, line.workload, line.span_id, line.body)
    return _Line(key, tuple(sorted(line.attributes.items())), line)


# ---- the tree


def _tree(spans: Iterable[Span]) -> _Tree:
    by_id: dict[str, Span] = {}
    for span in spans:
        known = by_id.get(span.span_id)
        # A sender that tried twice sent the same span twice.
        if known is None or span.duration_ms > known.duration_ms:
            by_id[span.span_id] = span
    by_start = sorted(by_id.values(), key=lambda span: (span.start_unix_nano, -span.duration_ms, span.span_id))
    children: dict[str, list[str]] = defaultdict(list)
    roots: list[str] = []
    for span in by_start:
        if span.parent_span_id in by_id:
            children[span.parent_span_id].append(span.span_id)
        else:
            roots.append(span.span_id)
    roots.sort(key=lambda span_id: bool(by_id[span_id].parent_span_id))  # stable: by start among equals
    order: list[str] = []
    seen: set[str] = set()

    def walk(start: str) -> None:
        stack = [start]
        while stack:
            span_id = stack.pop()
            if span_id not in seen:
                seen.add(span_id)
                order.append(span_id)
                stack.extend(reversed(children[span_id]))

    for root in roots:
        walk(root)
    for span in by_start:
        # Spans that are one another's parents hang from no root; they are shown all the same.
        if span.span_id not in seen:
            roots.append(span.span_id)
            walk(span.span_id)
    copies: set[str] = set()
    for span_id in order:
        if is_copy(by_id[span_id]) or by_id[span_id].parent_span_id in copies:
            copies.add(span_id)
    return _Tree(
        by_id,
        tuple(roots),
        {key: tuple(value) for key, value in children.items()},
        tuple(order),
        frozenset(copies),
    )


# ---- time


def _self_ms(span_id: str, tree: _Tree) -> float:
    """Return how long none of the span's children ran; a copy that it sent is none of them."""
    span = tree.spans[span_id]
    duration = _nanoseconds(span)
    intervals = sorted(_inside(span.start_unix_nano, duration, child) for child in tree.waited_for(span_id))
    covered, reached = 0, 0
    for begin, end in intervals:
        covered += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return (duration - covered) / 1e6


def _spent_ns(tree: _Tree) -> Mapping[str, int]:
    """
    Return how much of each root's time, and of each copy's, is spent in each span itself, in nanoseconds.

    Every moment is one span's. Of children that ran at once, it is the one's that ended last, since that is the one
    that was waited for; so what a tree's spans spent adds up to how long its root took.
    """
    begun = (*tree.roots, *(span_id for span_id in tree.copies if is_copy(tree.spans[span_id])))
    windows = {span_id: (0, _nanoseconds(tree.spans[span_id])) for span_id in begun}
    spent: dict[str, int] = {}
    for span_id in tree.order:
        span = tree.spans[span_id]
        since, reached = windows.get(span_id, (0, 0))
        spent[span_id] = reached - since
        duration = _nanoseconds(span)
        placed = [(*_inside(span.start_unix_nano, duration, child), child) for child in tree.waited_for(span_id)]
        for begin, end, child in sorted(placed, key=lambda one: one[1], reverse=True):
            first, last = max(begin, since), min(end, reached)
            # Of spans that are one another's parents, one is the root already.
            if first < last and child.span_id not in spent:
                windows[child.span_id] = (first - begin, last - begin)
                spent[span_id] -= last - first
                reached = first
    return spent


def _nanoseconds(span: Span) -> int:
    return round(span.duration_ms * 1e6)


def _inside(start: int, duration: int, child: Span) -> tuple[int, int]:
    """
    Return when the child ran, in nanoseconds since its parent began, cut to the parent's time.

    Nothing begins before its cause: a child that seems to comes from a machine whose clock is behind, and is taken to
    lie in the middle of its parent.
    """
    begin = child.start_unix_nano - start
    length = _nanoseconds(child)
    if begin < 0 or begin > duration:
        begin = max(0, (duration - length) // 2)
    return min(begin, duration), min(begin + length, duration)


def _breakdown(tree: _Tree, span_ids: Iterable[str], spent: Mapping[str, int]) -> Iterator[Share]:
    """Yield each workload's share; what a span itself spent is its proxy's, its function's or its network's."""
    shares: dict[str, list[int]] = {}
    names: dict[str, tuple[str, str]] = {}
    for span_id in span_ids:
        span = tree.spans[span_id]
        place = span.workload or span.service
        names.setdefault(place, (span.service, span.version))
        if not span.proxy or (span.kind == "Client" and not _to_peer(span)):
            column = 1
        else:
            column = 2 if span.kind == "Client" else 0
        shares.setdefault(place, [0, 0, 0])[column] += spent[span_id]
    for place, times in shares.items():
        service, version = names[place]
        proxy, function, network = (nanoseconds / 1e6 for nanoseconds in times)
        yield Share(service=service, version=version, proxy_ms=proxy, function_ms=function, network_ms=network)


def is_copy(span: Span) -> bool:
    """Return whether an Envoy made the span of a copy that it sent beside the request."""
    return span.proxy and span.kind == "Client" and span.name == COPY


def cluster_of(span: Span) -> str:
    """Return the Envoy cluster that a span was sent to, '' for other spans."""
    return span.attributes.get("upstream_cluster.name") or span.attributes.get("upstream_cluster", "")


def _to_peer(span: Span) -> bool:
    return not cluster_of(span).startswith("inbound|")


# ---- completeness


def _missing(tree: _Tree, logs: Sequence[LogLine]) -> Iterator[str]:
    """Yield what must have existed and is not there."""
    if not tree.spans and not any(SPANS_KEPT in line.attributes for line in logs):
        yield "no span of this trace is stored"
    yield from _roots_in_doubt(tree)
    yield from _children_missing(tree)
    yield from _records_without(tree, logs)


def _roots_in_doubt(tree: _Tree) -> Iterator[str]:
    """A trace begins once: without a parent, or at the gateway with a parent that the client kept to itself."""
    origins = [span_id for span_id in tree.roots if not tree.spans[span_id].parent_span_id]
    if len(origins) > 1:
        yield f"{len(origins)} spans have no parent, and a trace has one beginning"
    for span_id in tree.roots:
        span = tree.spans[span_id]
        if span.parent_span_id in tree.spans:
            yield f"span {span_id} of {_place(span)} is its own ancestor"
        elif span.parent_span_id and not (_enters(span) and not origins):
            yield f"span {span_id} of {_place(span)} has the parent {span.parent_span_id}, which is missing"


def _enters(span: Span) -> bool:
    return span.kind == "Server" and GATEWAY in (span.workload, span.service)


def _children_missing(tree: _Tree) -> Iterator[str]:
    """What an Envoy sent to a peer's Envoy, the peer received, unless the flags say that it did not get there."""
    for span_id in tree.order:
        span = tree.spans[span_id]
        if not (span.proxy and span.kind == "Client" and cluster_of(span).startswith("outbound|")):
            continue
        if any(tree.spans[child].kind == "Server" for child in tree.children.get(span_id, ())):
            continue
        flags = set(span.attributes.get("response_flags", "-").split(","))
        if flags & NEVER_ARRIVED or span.attributes.get("http.status_code", "0") == "0":
            continue
        yield f"{_place(span)} sent a request to {cluster_of(span)!r} (span {span_id}), whose span is missing"


def _records_without(tree: _Tree, logs: Sequence[LogLine]) -> Iterator[str]:
    """
    Each Envoy makes a span and an access log record of every request, so one without the other tells of a loss, unless
    a Telemetry leaves it out.

    And a function that logged that it asked a next hop has a sidecar that saw it do so.
    """
    records = [line for line in logs if line.attributes.get("log") == "envoy"]
    for line in records:
        if not line.span_id or line.span_id in tree.spans:
            continue
        if share := line.attributes.get(SPANS_KEPT):
            yield f"{_place(line)} keeps the spans of {share} of all traces, and this one is not among them"
        else:
            yield f"{_place(line)} logged a request under span {line.span_id}, which is missing"
    logged = {line.span_id for line in records}
    servers = [span for span in map(tree.spans.__getitem__, tree.order) if span.proxy and span.kind == "Server"]
    for span in servers:
        if span.span_id not in logged and LOGS_KEPT not in span.attributes:
            yield f"{_place(span)} has span {span.span_id}, whose access log record is missing"
    # What a sidecar answered itself (no route, a redirect) was sent to no cluster, and was seen all the same.
    sending = {span.workload for span in servers if _to_peer(span)}
    # And a record of it is enough: what is missing beside it has been told above.
    sending |= {line.workload for line in records if line.attributes.get("direction") == "outbound"}
    for line in logs:
        asked = line.attributes.get("upstream", "")
        if line.attributes.get("log") == "access" and _ADDRESS.search(asked) and line.workload not in sending:
            yield f"{_place(line)} logged that it asked {asked}, and no span of its sidecar tells of that"


def _place(record: Span | LogLine) -> str:
    return repr(record.workload or record.service or "an unnamed service")


def _shortened(reasons: Iterator[str]) -> Iterator[str]:
    every = list(dict.fromkeys(reasons))
    yield from every[:REASONS]
    if len(every) > REASONS:
        yield f"and {len(every) - REASONS} more"
