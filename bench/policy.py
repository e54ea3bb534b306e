"""How fast a changed VirtualService is in force, on the running sample chain.

    bench/policy.py [--quick]

A VirtualService sends everything to version 1 of the load balancer, then to version 2, and so on, each change through
the node's API. *Acknowledged* is what the node reports: from the call to the answer of the last sidecar. *Call* is what
a client of the API waits in all. The aim is 100 ms at the 99th percentile.

Then the same under requests that follow each other on one connection: how long after the start of the call the first
request was answered over the new route, and how many requests that were sent after the call had returned still took the
old one (there must be none). A request that is under way when the route changes may take either.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import _chain
import _report

AIM_MS = 100.0
VERSIONS = ("v1", "v2")
PATIENCE_S = 5.0
"""How long a change may take to be seen, before it counts as never."""


def changes(chain: _chain.Chain, count: int) -> dict[str, list[float]]:
    """Change the route `count` times; return ms of each, as reported and as waited for."""
    found: dict[str, list[float]] = {"acknowledged": [], "call": []}
    for turn in range(count):
        began = time.monotonic()
        answer = chain.apply(_chain.pinned(VERSIONS[turn % 2]))
        found["call"].append((time.monotonic() - began) * 1000)
        found["acknowledged"].append(answer["acknowledgedMs"])
        if answer["warnings"]:
            raise RuntimeError(f"change {turn}: {answer['warnings']}")
    return found


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Sends one request after the other, and notes when each was sent, answered, and over which route."""

    gateway: str
    seen: list[tuple[float, float, str]] = field(default_factory=list)
    failed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Run until told to stop."""
        client = _chain.Client(self.gateway)
        while not self.stop.is_set():
            sent = time.monotonic()
            answer = client.get()
            if answer.status != 200:
                self.failed += 1
                continue
            self.seen.append((sent, time.monotonic(), _chain.version_of(answer)))
        client.close()

    def after(self, moment: float, *, count: int) -> None:
        """Wait until `count` requests were sent after `moment`, and answered."""
        deadline = time.monotonic() + PATIENCE_S
        while sum(sent > moment for sent, _, _ in self.seen[-4 * count :]) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {count} requests were answered within {PATIENCE_S:.0f} s")
            time.sleep(0.002)


def effects(chain: _chain.Chain, count: int) -> dict[str, Any]:
    """Change the route `count` times under requests; return ms until the first over the new route, and the strays."""
    watcher = Watcher(gateway=chain.gateway)
    thread = threading.Thread(target=watcher.run, name="watcher", daemon=True)
    thread.start()
    effective_ms: list[float] = []
    strays = 0
    try:
        for turn in range(count):
            version = VERSIONS[turn % 2]
            began = time.monotonic()
            chain.apply(_chain.pinned(version))
            returned = time.monotonic()
            watcher.after(returned, count=5)
            seen = [one for one in watcher.seen if one[0] > began - PATIENCE_S]
            strays += sum(sent > returned and found != version for sent, _, found in seen)
            # A request that was sent before the call began went the old way, or is not evidence.
            first = min(answered for sent, answered, found in seen if answered > began and found == version)
            effective_ms.append((first - began) * 1000)
    finally:
        watcher.stop.set()
        thread.join(timeout=15)
    return {"effective": effective_ms, "strays": strays, "failed": watcher.failed, "requests": len(watcher.seen)}


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    with _chain.up() as chain:
        client = _chain.Client(chain.gateway)
        for _ in range(20):
            client.get()
        client.close()
        changes(chain, 2)  # the first one creates it
        quiet = changes(chain, 20 if quick else 100)
        under = effects(chain, 6 if quick else 40)
        proxies = len(chain.call("/v1/status")["workloads"])
    timed = {
        "acknowledged by every sidecar": quiet["acknowledged"],
        "call, as its client waits": quiet["call"],
        "first request on the new route": under["effective"],
    }
    summary = {
        name: {
            "p50": _report.percentile(values, 50),
            "p99": _report.percentile(values, 99),
            "most": max(values),
            "count": len(values),
        }
        for name, values in timed.items()
    }
    _report.table(
        f"VirtualService change to effect, examples/sdc, {proxies} sidecars",
        ("ms", "p50", "p99", "most", "changes"),
        [
            (name, *(f"{one[key]:.1f}" for key in ("p50", "p99", "most")), f"{one['count']}")
            for name, one in summary.items()
        ],
        notes=(
            f"aim: acknowledged within {AIM_MS:.0f} ms at p99",
            f"{under['requests']} requests meanwhile: {under['failed']} failed, {under['strays']} sent after the call"
            " had returned took the old route",
        ),
    )
    kept = {"aimMs": AIM_MS, "ms": summary, "strays": under["strays"], "failed": under["failed"], "rounds": timed}
    _report.keep("policy", kept, quick=quick)


if __name__ == "__main__":
    main()
