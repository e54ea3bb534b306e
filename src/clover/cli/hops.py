"""A trace folded into hops: one for each visit to a workload, with what happened there.

A request passes each workload's sidecar twice, and each pass makes two spans; what a person wants to see is one line
per workload. Spans of one workload that call each other are one hop; a call into another workload opens the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clover.cli.answers import SpanAnswer
from clover.kit import grpc_statuses

FUNCTION, PROXY, NETWORK, WAITING, NOTHING = range(5)
"""What a moment of a hop is spent with."""


@dataclass(slots=True, kw_only=True, eq=False)
class Hop:
    """One visit to one workload."""

    parent: Hop | None
    depth: int
    spans: list[SpanAnswer] = field(default_factory=list)
    """In the order of calls; the first is the way in."""
    children: list[Hop] = field(default_factory=list)
    copied: bool = False
    """A copy of the request was sent there, beside the request; nobody waited for it."""

    @property
    def entry(self) -> SpanAnswer:
        """The span that covers the whole visit."""
        return self.spans[0]

    @property
    def name(self) -> str:
        """The function, and its version when the workload is one of several."""
        entry = self.entry
        several = entry["workload"] not in ("", entry["service"])
        return f"{entry['service']} {entry['version']}" if several and entry["version"] else entry["service"]

    @property
    def label(self) -> str:
        """The name, and whether it was a copy that came there."""
        return f"{self.name} (copy)" if self.copied else self.name

    @property
    def self_ms(self) -> float:
        """Time of the visit that no later hop accounts for."""
        # A call that was given up ends a little after the visit that made it, and is no longer part of it.
        own = sum(span["selfMs"] for span in self.spans if not is_copy(span))
        return min(own, self.entry["durationMs"])

    @property
    def status(self) -> str:
        """
        The HTTP status that this hop answered with, of a gRPC call that failed its status; '' when it never answered.

        gRPC tells in a trailer how a call ended: its HTTP status is 200 whatever happens.
        """
        called = next((said for span in self.spans if (said := grpc_status(span))), "")
        return called if called not in ("", "OK") else http_status(self.entry) or called

    @property
    def flags(self) -> str:
        """Envoy's response flags of every pass, e.g. `UF,URX`; '' when there was nothing to say."""
        found = [flag for span in self.spans for flag in response_flags(span)]
        return ",".join(dict.fromkeys(found))


def fold(spans: Sequence[SpanAnswer]) -> list[Hop]:
    """Return every hop in the order of calls, parents before children. Spans without a known parent open a hop."""
    known = {span["spanId"] for span in spans}
    copies = {span["spanId"] for span in spans if is_copy(span)}
    calls: dict[str, list[SpanAnswer]] = {}
    roots = []
    for span in sorted(spans, key=lambda span: (span["startUnixNano"], -span["durationMs"])):
        parent = span["parentSpanId"]
        if parent in known and parent != span["spanId"]:
            calls.setdefault(parent, []).append(span)
        else:
            roots.append(span)

    hops: list[Hop] = []
    seen: set[str] = set()
    # Spans that call each other in a circle have no root; the earliest of them is taken for one, so that none is lost.
    for root in (*roots, *spans):
        todo: list[tuple[SpanAnswer, Hop | None]] = [(root, None)]
        while todo:
            span, caller = todo.pop()
            if span["spanId"] in seen:
                continue
            seen.add(span["spanId"])
            hop = caller
            if hop is None or _place(span) != _place(hop.entry):
                hop = Hop(parent=caller, depth=caller.depth + 1 if caller else 0)
                hops.append(hop)
                if caller:
                    caller.children.append(hop)
                    hop.copied = span["parentSpanId"] in copies
            hop.spans.append(span)
            todo += [(call, hop) for call in reversed(calls.get(span["spanId"], ()))]
    return hops


def kind_of(span: SpanAnswer) -> int:
    """Return what time that only this span covers is spent with."""
    if not span["proxy"]:
        return FUNCTION
    if span["kind"] != "Client":
        return PROXY
    # A sidecar's call to its own function is time in that function; any other call is time on the way.
    return FUNCTION if upstream_cluster(span).startswith("inbound|") else NETWORK


def is_copy(span: SpanAnswer) -> bool:
    """Return whether a sidecar made the span of a copy that it sent beside the request: Envoy calls it `mirror`."""
    return span["proxy"] and span["kind"] == "Client" and span["name"] == "mirror"


def moments(hop: Hop, *, start_nano: int, end_nano: int, cells: int) -> list[int]:
    """Return, for each of `cells` equal parts of the time between start and end, what the hop spends it with."""
    own = [(*_interval(span), kind_of(span)) for span in hop.spans if not is_copy(span)]
    later = [_interval(child.entry) for child in hop.children if not child.copied]
    step = (end_nano - start_nano) / cells
    begin, end = _interval(hop.entry)
    shown = [NOTHING] * cells
    for cell in range(cells):
        moment = start_nano + (cell + 0.5) * step
        if any(since <= moment < until for since, until in later):
            shown[cell] = WAITING
        else:
            # The latest to start is the deepest: a call begins after its caller.
            covering = [(since, at, kind) for at, (since, until, kind) in enumerate(own) if since <= moment < until]
            if covering and begin <= moment < end:
                shown[cell] = max(covering)[2]
    if all(kind == NOTHING for kind in shown) and step > 0:
        # Shorter than a cell, but it was there.
        cell = min(max(int((begin - start_nano) / step), 0), cells - 1)
        shown[cell] = kind_of(hop.entry)
    return shown


def failed_attempts(hop: Hop) -> list[SpanAnswer]:
    """
    Return the calls that got no answer from where they went: Envoy says so with its response flags.

    An error status alone is an answer, and a next hop whose spans were lost has still been reached.
    """
    arrived = {child.entry["parentSpanId"] for child in hop.children}
    callers = {span["parentSpanId"] for span in hop.spans}
    return [
        span
        for span in hop.spans
        if span["proxy"]
        and span["kind"] == "Client"
        and span["spanId"] not in arrived
        and span["spanId"] not in callers
        and response_flags(span)
    ]


def own_spans(hop: Hop) -> list[SpanAnswer]:
    """Return the spans that the function itself made."""
    return [span for span in hop.spans if not span["proxy"]]


def http_status(span: SpanAnswer) -> str:
    """Return the HTTP status of a span; '' if it has none."""
    status = attribute(span, "http.status_code", "http.response.status_code")
    return "" if status == "0" else status


def grpc_status(span: SpanAnswer) -> str:
    """Return the gRPC status that a call ended with, by name; '' if the span is no such call."""
    code = attribute(span, "rpc.grpc.status_code", "grpc.status_code")
    names = grpc_statuses.NAMES
    return names[int(code)] if code.isascii() and code.isdigit() and int(code) < len(names) else code


def response_flags(span: SpanAnswer) -> list[str]:
    """Return Envoy's response flags of a span, without the ones that say nothing."""
    return [flag for flag in attribute(span, "response_flags").split(",") if flag not in ("", "-")]


def upstream_cluster(span: SpanAnswer) -> str:
    """Return the name of the cluster that a sidecar sent the request to; '' if it sent none."""
    return attribute(span, "upstream_cluster", "upstream_cluster.name")


def attribute(span: SpanAnswer, *names: str) -> str:
    """Return the first of these attributes that the span has."""
    for name in names:
        if value := span["attributes"].get(name):
            return str(value)
    return ""


def _interval(span: SpanAnswer) -> tuple[int, int]:
    return span["startUnixNano"], span["startUnixNano"] + round(span["durationMs"] * 1_000_000)


def _place(span: SpanAnswer) -> tuple[str, str, str]:
    return span["service"], span["version"], span["workload"]
