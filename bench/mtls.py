"""
What mutual TLS costs: one chain, whose sidecars are told to speak it and not to speak it, in turn.

    bench/mtls.py [--quick]

The chain is the gateway, HAProxy and a server: two hops between sidecars. What its workloads take (PeerAuthentication)
is changed while it runs, so the processes, their memory and the machine are the same on both sides. Kept connections
show what encryption costs; a connection for each request (`maxRequestsPerConnection: 1`) shows what a handshake does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _chain
import _processes
import _report
import _wrk

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: bench}
spec:
  gateway: {to: lb}
  mesh: {authorization: none}
  functions:
    lb: {type: load-balancer, to: web}
    web: {type: server}
"""
HOPS = 2
MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: %s}}
"""
ONCE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec:
  host: %s
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: %d}}}
"""
KEYS = ("rps", "p50_ms", "p99_ms")
MODES = {"off": "DISABLE", "on": "STRICT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One load, and what it cost."""

    load: _wrk.Load
    sidecar_us: float
    """Processor time of all sidecars for one request."""
    handshakes: float
    """TLS handshakes for one request, at the sidecars that take connections."""


def measure(chain: _chain.Chain, mode: str, *, connections: int, seconds: int) -> Run:
    """Load the chain in one mode; connections of the other mode are closed first."""
    chain.apply(MODE % MODES[mode])
    # The first requests open the connections that the rest uses; what was open before is closed with its next answer.
    _wrk.run(f"http://{chain.gateway}{_chain.UNCACHED}", connections=connections, seconds=3)
    before, taken = _processes.cpu_by_component(_processes.of_chain(chain.node)), handshakes(chain)
    load = _wrk.run(f"http://{chain.gateway}{_chain.UNCACHED}", connections=connections, seconds=seconds)
    after = _processes.cpu_by_component(_processes.of_chain(chain.node))
    spent = after[_processes.SIDECAR] - before[_processes.SIDECAR]
    return Run(
        load=load,
        sidecar_us=spent * 1e6 / load.requests,
        handshakes=(handshakes(chain) - taken) / load.requests,
    )


def handshakes(chain: _chain.Chain) -> int:
    """Return how many handshakes the functions' sidecars have taken so far."""
    found = 0
    for workload in ("lb", "web"):
        stats = chain.call(f"/v1/proxies/{workload}/stats")["stats"]
        wanted = re.compile(r"listener\..*15006\.ssl\.handshake")
        found += sum(stat["value"] for stat in stats if wanted.fullmatch(str(stat.get("name"))))
    return found


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    rounds, seconds = (1, 1) if quick else (5, 3)
    cases: dict[str, dict[str, Any]] = {}
    with _chain.scratch() as folder:
        file = Path(folder, "chain.yaml")
        file.write_text(CHAIN, encoding="utf-8")
        with _chain.up(file) as chain:
            for kind, limit in (("kept", 0), ("one request each", 1)):
                for name in ("lb", "web"):
                    chain.apply(ONCE % (name, name, limit))
                for connections in (1, 16):
                    cases[f"{kind}, {connections}"] = compare(
                        chain, connections=connections, rounds=rounds, seconds=seconds
                    )
    _show(cases, rounds=rounds, seconds=seconds)
    _report.keep("mtls", {"rounds": rounds, "seconds": seconds, "hops": HOPS, "cases": cases}, quick=quick)


def compare(chain: _chain.Chain, *, connections: int, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure both modes in turn; return medians, and the median of what the pairs of runs differ by."""
    runs: dict[str, list[Run]] = {mode: [] for mode in MODES}
    for turn in range(rounds):
        for mode in MODES if turn % 2 else reversed(MODES):
            runs[mode].append(measure(chain, mode, connections=connections, seconds=seconds))
    found: dict[str, Any] = {
        mode: {
            **{key: _report.spread(getattr(run.load, key) for run in done) for key in KEYS},
            "sidecarUs": _report.spread(run.sidecar_us for run in done),
            "handshakes": _report.spread(run.handshakes for run in done),
        }
        for mode, done in runs.items()
    }
    pairs = list(zip(runs["on"], runs["off"], strict=True))
    found["addedPerHop"] = {
        "p50_ms": _report.spread((on.load.p50_ms - off.load.p50_ms) / HOPS for on, off in pairs),
        "sidecarUs": _report.spread((on.sidecar_us - off.sidecar_us) / HOPS for on, off in pairs),
    }
    found["onToOff"] = {
        key: _wrk.median_ratio((getattr(on.load, key), getattr(off.load, key)) for on, off in pairs) for key in KEYS
    }
    return found


def _show(cases: dict[str, dict[str, Any]], *, rounds: int, seconds: int) -> None:
    _report.table(
        f"Mutual TLS on and off in turn, medians of {rounds} runs of {seconds} s",
        ("connections between sidecars, clients", "off rps", "on rps", "ratio", "off p50 ms", "on p50 ms",
         "added a hop ms", "added CPU a hop us", "handshakes a request"),
        [
            (
                name,
                _report.number(case["off"]["rps"].median),
                _report.number(case["on"]["rps"].median),
                f"{case['onToOff']['rps']:.2f}",
                _report.number(case["off"]["p50_ms"].median),
                _report.number(case["on"]["p50_ms"].median),
                _report.number(case["addedPerHop"]["p50_ms"].median),
                _report.number(case["addedPerHop"]["sidecarUs"].median),
                _report.number(case["on"]["handshakes"].median),
            )
            for name, case in cases.items()
        ],
        notes=(
            f"{HOPS} hops between sidecars; every request is traced and logged at each of them",
            "added CPU: processor time of the sidecars for one request, both ends of a hop together",
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
