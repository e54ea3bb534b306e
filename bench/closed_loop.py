"""From a request that the intrusion detection system alerts on, to the client's first refusal.

    bench/closed_loop.py [--quick]

The firewall's policy blocks a client at its first alert. Each round is another client, with an address of 127.0.0.0/8
of its own: it sends a request that raises an alert, and goes on asking for something harmless, every few ms, until it
is refused. (Now and then the block overtakes the very request that led to it: the copy is made at the gateway.)
Reported from the moment at which the first request was sent: the record of the alert, its arrival at somebody who
watches alerts, the record of the block, and the first 403. First with nothing else going on, then under harmless
requests at a steady rate, of which none may be lost.

Then: requests at a steady rate of which every one raises an alert, with a policy that blocks nobody. Each alert must
come out of the ambassador, be reported to the firewall, and be in the store.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import _chain
import _report
import _steady

RATE = 100
WORD = "bench-alert"
"""In the address of each request that is to raise an alert."""
EVERY_S = 0.004
PATIENCE_S = 20.0
SETTLED_S = 20.0
"""What has not changed for so long will not: a busy store gathers for some seconds."""
RULE = {"id": 1, "message": "bench", "http": {"field": "FIELD_URI", "contains": WORD}}

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One client's way to its refusal."""

    client: str
    sent_at: float
    """When it sent the request that raises an alert, by the clock of the records."""
    refused_ms: float
    """From then until the first 403 was there."""
    overtaken: bool
    """The first 403 was the answer to that very request: the copy is made at the gateway, and the block was faster."""


@dataclass(slots=True)
class Watcher:
    """Watches alerts through the control agent, and notes when each came."""

    chain: _chain.Chain
    seen: dict[str, float] = field(default_factory=dict)
    """Client → when its first alert was here."""

    def run(self) -> None:
        """Watch until the chain is down."""
        order = {"function": "ids", "method": "StreamAlerts", "request": {}}
        try:
            for line in self.chain.following("agent.sock", "/v1/stream", order):
                if "response" not in line:
                    return
                self.seen.setdefault(line["response"].get("client", ""), time.time())
        except (OSError, http.client.HTTPException):
            return


def address(number: int) -> str:
    """Return the address of a client; not one of those that everybody uses."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def play(chain: _chain.Chain, client: str, number: int) -> Round:
    """Be one client, from its attack to its refusal."""
    host, _, port = chain.gateway.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30, source_address=(client, 0))

    def status_of(path: str) -> int:
        connection.request("GET", path, headers=_chain.BROWSER)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    try:
        if (status := status_of("/headers")) != 200:
            raise RuntimeError(f"{client} is answered {status} before it did anything")
        sent_at, began = time.time(), time.monotonic()
        status = status_of(f"/headers?{WORD}={number}")
        overtaken = status == 403
        while status == 200:
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"{client} was not refused within {PATIENCE_S:.0f} s")
            time.sleep(EVERY_S)
            status = status_of("/headers")
        refused_ms = (time.monotonic() - began) * 1000
        if status != 403:
            raise RuntimeError(f"{client} was answered {status}, expected 403")
    finally:
        connection.close()
    return Round(client=client, sent_at=sent_at, refused_ms=refused_ms, overtaken=overtaken)


def rounds(chain: _chain.Chain, watcher: Watcher, numbers: range) -> tuple[dict[str, list[float]], int]:
    """Play one client after the other; return ms of each step, and how many blocks overtook their request."""
    played = [play(chain, address(number), number) for number in numbers]
    clients = {one.client for one in played}

    def all_there() -> bool:
        return clients <= alerts().keys() and clients <= blocks().keys() and clients <= watcher.seen.keys()

    def alerts() -> dict[str, float]:
        return {row["client"]: _seconds(row) for row in reversed(chain.call("/v1/alerts?limit=10000"))}

    def blocks() -> dict[str, float]:
        found = {}
        for row in reversed(chain.call("/v1/changes?limit=10000")):
            if row["method"] == "ReportAlerts" and row["summary"].startswith("blocked "):
                found[row["summary"].split()[1]] = _seconds(row)
        return found

    _until(all_there, what="the records of all alerts and blocks")
    alerted, blocked = alerts(), blocks()
    steps = {
        "the alert's record": [(alerted[one.client] - one.sent_at) * 1000 for one in played],
        "somebody who watches has it": [(watcher.seen[one.client] - one.sent_at) * 1000 for one in played],
        "the block's record": [(blocked[one.client] - one.sent_at) * 1000 for one in played],
        "the first 403": [one.refused_ms for one in played],
    }
    return steps, sum(one.overtaken for one in played)


def _seconds(row: Json) -> float:
    return int(row["timeUnixNano"]) / 1e9


def _until(happened: Callable[[], bool], *, what: str, within_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not there after {within_s:.0f} s")
        time.sleep(0.1)
    return True


def statistics(chain: _chain.Chain, function: str) -> dict[str, float]:
    """Return an ambassador's counters."""
    order = {"function": function, "method": "Watch", "request": {"interval": "1s"}}
    for line in chain.following("agent.sock", "/v1/stream", order):
        return {name: float(value) for name, value in line["response"].get("statistics", {}).items()}
    raise RuntimeError(f"{function} has no status")


def policy(chain: _chain.Chain, **block_policy: object) -> None:
    """Give the firewall another block policy."""
    configuration = chain.control("access-control", "Get")["configuration"]
    configuration["firewall"]["blockPolicy"] = block_policy
    chain.control("access-control", "Apply", {"configuration": configuration})


def flood(chain: _chain.Chain, *, rate: float, seconds: float, number: int) -> Json:
    """Raise `rate` alerts a second; return what became of them."""
    before, told_before = statistics(chain, "ids"), statistics(chain, "access-control")
    with _steady.running(chain.gateway, rate=rate, path=f"/headers?{WORD}-flood{number}=") as load:
        time.sleep(seconds)
    ended = time.monotonic()

    def grown() -> tuple[int, int]:
        ids, waf = statistics(chain, "ids"), statistics(chain, "access-control")
        return (
            round(ids["alerts_total"] - before["alerts_total"]),
            round(waf["alerts_reported_total"] - told_before["alerts_reported_total"]),
        )

    def stored() -> int:
        rows = chain.call("/v1/alerts?limit=10000")
        return sum(f"{WORD}-flood{number}=" in row["url"] for row in rows)

    (raised, reported), told_at = _settled(grown, (load.sent, load.sent))
    kept, stored_at = _settled(stored, load.sent)
    return {
        "rate": load.rate,
        "requests": load.sent,
        "requestsLost": load.lost,
        "alerts": raised,
        "reported": reported,
        "stored": kept,
        "reportedAfterMs": (told_at - ended) * 1000,
        "storedAfterMs": (stored_at - ended) * 1000,
    }


def _settled(count: Callable[[], T], wanted: T) -> tuple[T, float]:
    """Return what `count` says once that is what is wanted, or has not changed for a while; and when it became that."""
    found, since = count(), time.monotonic()
    while found != wanted and time.monotonic() - since < SETTLED_S:
        time.sleep(0.05)
        if (now := count()) != found:
            found, since = now, time.monotonic()
    return found, since


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    count, seconds, rates = (5, 2.0, (50,)) if quick else (100, 10.0, (50, 100, 200, 400))
    kept: Json = {"ms": {}, "floods": []}
    with _chain.up() as chain:
        chain.control("ids", "AddRule", {"rule": RULE})
        policy(chain, threshold=1, window="10s", duration="3600s")
        watcher = Watcher(chain)
        threading.Thread(target=watcher.run, name="watcher", daemon=True).start()
        _until(lambda: statistics(chain, "ids").get("alert_subscribers", 0) > 0, what="somebody who watches")
        rounds(chain, watcher, range(2))
        quiet = rounds(chain, watcher, range(10, 10 + count))
        with _steady.running(chain.gateway, rate=RATE) as load:
            busy = rounds(chain, watcher, range(500, 500 + count))
        kept["load"] = load.as_json()
        # Nobody is blocked by this one before the ten thousandth alert, and still each counts.
        policy(chain, threshold=10000, window="10s", duration="1s", dryRun=True)
        for number, rate in enumerate(rates):
            kept["floods"].append(flood(chain, rate=rate, seconds=seconds, number=number))
    for title, (found, overtaken) in (("nothing else going on", quiet), (f"{RATE} requests a second", busy)):
        summary = {
            name: {
                "p50": _report.percentile(values, 50),
                "p99": _report.percentile(values, 99),
                "most": max(values),
                "count": len(values),
            }
            for name, values in found.items()
        }
        kept["ms"][title] = {"summary": summary, "overtaken": overtaken, "rounds": found}
        _report.table(
            f"From a request that raises an alert to ..., {title}",
            ("ms", "p50", "p99", "most", "clients"),
            [
                (name, *(_report.number(one[key]) for key in ("p50", "p99", "most")), str(one["count"]))
                for name, one in summary.items()
            ],
            notes=(
                f"{overtaken} of {count} blocks overtook the request that led to them",
                *(() if title.startswith("nothing") else (str(load),)),
            ),
        )
    _report.table(
        "Requests that all raise alerts",
        ("sent per s", "requests", "lost", "alerts", "reported", "stored", "reported after, ms", "stored after, ms"),
        [
            (
                f"{one['rate']:.0f}",
                *(f"{one[key]:,}" for key in ("requests", "requestsLost", "alerts", "reported", "stored")),
                *(f"{one[key]:,.0f}" for key in ("reportedAfterMs", "storedAfterMs")),
            )
            for one in kept["floods"]
        ],
        notes=(
            "requests, alerts, reported and stored must be the same number",
            "after: when the last alert was reported, and stored, after the last request was answered",
        ),
    )
    _report.keep("closed_loop", kept, quick=quick)
    if lost := load.lost + sum(one["requestsLost"] for one in kept["floods"]):
        raise SystemExit(f"{lost} requests were lost; none may be")


if __name__ == "__main__":
    main()
