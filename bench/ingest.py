"""How fast the store takes spans and answers questions: `python bench/ingest.py [--spans 1000000]`.

Spans like Envoy's (17 attributes, ten to a trace) go through the receiver's code below gRPC into a store in a temporary
folder; then the questions of the command line are asked, each a few times. Runs a few minutes at most.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import _report
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clover.telemetry import query
from clover.telemetry.store import RefusedError, Store, open_store

PER_TRACE = 10
PER_REQUEST = 500
BATCH = 200
"""Requests that are made before the clock runs."""
SERVICES = ("gateway", "access-control", "http-lb", "web-cache", "clover-server1")


def requests(spans: int) -> Iterator[bytes]:
    """Yield export requests made of one template, with ids, times and a few values of their own."""
    template = ExportTraceServiceRequest()
    group = template.resource_spans.add()
    attribute(group.resource.attributes, "service.version", "v1")
    scope = group.instrumentation_library_spans.add()
    for number in range(PER_REQUEST):
        span = scope.spans.add(name="GET route", kind=3 if number % 2 else 2)
        for key in (
            "node_id",
            "zone",
            "http.method",
            "http.protocol",
            "downstream_cluster",
            "user_agent",
            "request_size",
            "response_size",
            "upstream_cluster",
            "upstream_address",
            "peer.address",
        ):
            attribute(span.attributes, key, f"a value of {key}")
        attribute(span.attributes, "component", "proxy")
        attribute(span.attributes, "http.status_code", "503" if number % 250 == 0 else "200")
        attribute(span.attributes, "response_flags", "-")
        attribute(span.attributes, "upstream_cluster.name", "inbound|9180||")
        attribute(span.attributes, "guid:x-request-id", "")
        attribute(span.attributes, "http.url", "")
    now = time.time_ns()
    # An hour of traffic, ending now.
    step = 3600 * 10**9 // max(1, spans // PER_TRACE)
    for first in range(0, spans, PER_REQUEST):
        service = SERVICES[first // PER_REQUEST % len(SERVICES)]
        del group.resource.attributes[1:]
        attribute(group.resource.attributes, "service.name", service)
        for place, span in enumerate(scope.spans):
            number = first + place
            trace = number // PER_TRACE
            span.trace_id = trace_id(trace)
            span.span_id = (number + 1).to_bytes(8, "big")
            span.parent_span_id = b"" if number % PER_TRACE == 0 else number.to_bytes(8, "big")
            span.start_time_unix_nano = now - 3600 * 10**9 + trace * step
            span.end_time_unix_nano = span.start_time_unix_nano + (PER_TRACE - number % PER_TRACE) * 1_234_567
            span.attributes[-2].value.string_value = request_id(trace)
            span.attributes[-1].value.string_value = f"http://127.0.0.1:8080/products/{trace % 5000}?page={trace % 7}"
        yield template.SerializeToString()


def attribute(pairs: Any, key: str, value: str) -> None:
    pair = pairs.add(key=key)
    pair.value.string_value = value


def trace_id(number: int) -> bytes:
    """Return an id without order, as real ones are."""
    return ((number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big")


def request_id(number: int) -> str:
    text = trace_id(number).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


async def fill(store: Store, spans: int) -> dict[str, float]:
    """Send everything, as fast as it is taken; making the requests is not timed. A refused request is sent again."""
    refused, took, cpu = 0, 0.0, 0.0
    latencies: list[float] = []
    room = asyncio.Semaphore(64)

    async def send(request: bytes) -> None:
        nonlocal refused
        async with room:
            began = time.perf_counter()
            while True:
                try:
                    await store.insert_traces(request)
                    break
                except RefusedError:
                    refused += 1
                    await asyncio.sleep(0.01)
            latencies.append(time.perf_counter() - began)

    source = requests(spans)
    while batch := list(itertools.islice(source, BATCH)):
        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(send, batch))
        took += time.perf_counter() - began
        cpu += time.process_time() - cpu_began
    return {
        "spansPerS": round(spans / took),
        "coresUsed": round(cpu / took, 2),
        "acknowledgedMsP50": round(statistics.median(latencies) * 1e3),
        "acknowledgedMsMax": round(max(latencies) * 1e3),
        "refused": refused,
    }


async def timed(ask: Callable[[], Awaitable[object]], *, times: int = 7) -> dict[str, float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1e3)
    return {"firstMs": round(took[0], 1), "medianMs": round(statistics.median(took), 1)}


def rss_mb() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


async def measure(directory: Path, spans: int) -> dict[str, Any]:
    result: dict[str, Any] = {"spans": spans, "cores": os.cpu_count(), "rssMbBefore": rss_mb()}
    began = time.perf_counter()
    async with open_store(directory) as store:
        await store.opened()
        result["openMs"] = round((time.perf_counter() - began) * 1e3)
        result["rssMbOpen"] = rss_mb()
        result["ingest"] = await fill(store, spans)
        stored = await store.statistics()
        result["stored"] = stored["spans"]
        result["bytesPerSpan"] = round(stored["bytes"] / max(1, stored["spans"]), 1)
        result["rssMbAfter"] = rss_mb()
        middle = trace_id(spans // PER_TRACE // 2)

        def find(**wanted: Any) -> Callable[[], Awaitable[object]]:
            return lambda: query.find_traces(store, query.Filter(**wanted))

        result["queries"] = {
            "traceById": await timed(lambda: query.trace(store, middle.hex())),
            "traceByRequestId": await timed(lambda: query.trace(store, request_id(spans // PER_TRACE // 2))),
            "traceByPrefix": await timed(lambda: query.trace(store, middle.hex()[:12])),
            "latest": await timed(lambda: query.trace(store, "latest")),
            "search20Newest": await timed(find()),
            "searchServiceStatus15Min": await timed(find(service="http-lb", status="5xx", since_s=900)),
            "searchUrlWholeHour": await timed(
                find(attributes=(("http.url", "http://127.0.0.1:8080/products/77?page=0"),))
            ),
            "searchUnpromotedAttribute15Min": await timed(find(attributes=(("zone", "nowhere"),), since_s=900)),
            "searchSlow15Min": await timed(find(min_duration_ms=12, since_s=900)),
            "rates": await timed(lambda: query.rates(store)),
        }
        await asyncio.sleep(2)  # merges finish
        cpu = time.process_time()
        await asyncio.sleep(5)
        result["idleCores"] = round((time.process_time() - cpu) / 5, 4)
        result["rssMbIdle"] = rss_mb()
    result["rssMbPeak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    ingest, spans = result["ingest"], result["stored"]
    resident = ", ".join(str(result[f"rssMb{at}"]) for at in ("Open", "After", "Idle"))
    _report.table(
        f"{spans:,} spans into an empty store",
        ("quantity", "value"),
        [
            ("spans per second", f"{ingest['spansPerS']:,}"),
            ("cores used meanwhile", f"{ingest['coresUsed']}"),
            ("acknowledged after ms: p50, most", f"{ingest['acknowledgedMsP50']}, {ingest['acknowledgedMsMax']}"),
            ("refused, and sent again", f"{ingest['refused']}"),
            ("bytes on disk per span", f"{result['bytesPerSpan']}"),
            (
                "MB resident: store open, full, idle",
                resident,
            ),
            ("cores used when idle", f"{result['idleCores']}"),
        ],
    )
    _report.table(
        f"Questions to a store of {spans:,} spans, ms",
        ("question", "first", "median of 7"),
        [(name, f"{one['firstMs']}", f"{one['medianMs']}") for name, one in result["queries"].items()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="50,000 spans")
    given = parser.parse_args()
    wanted = min(given.spans, 50_000) if given.quick else given.spans
    spans = max(PER_REQUEST, wanted // PER_REQUEST * PER_REQUEST)
    with tempfile.TemporaryDirectory(prefix="clover-bench-") as directory:
        result = asyncio.run(measure(Path(directory), spans))
    show(result)
    _report.keep("ingest", result, quick=given.quick)


if __name__ == "__main__":
    main()
