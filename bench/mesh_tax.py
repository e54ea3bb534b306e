"""What the mesh costs: the sample chain through its sidecars, against the same engines chained directly.

    bench/mesh_tax.py [--quick]

Both chains are up at once, with the same engines, files and network; wrk loads one, then the other, in turn, over the
load balancer's version 1 (firewall, HAProxy, cache, server) and version 2 (firewall, nginx, server), at 1, 16 and 64
connections. The direct chain has no sidecars, no interception, and nobody who takes spans and logs: its engines' lines
are read and thrown away. Two entries:

- *published*: the port on the host. Both have the relay in the path; the mesh has its gateway's Envoy behind it.
- *inside*: the firewall's own address, from the gateway's network. No relay, no gateway: the functions and, in the
  mesh, the sidecars beside them.

The request is one that no cache may answer, so it goes all the way to a server; every request of the mesh is traced and
logged at each hop. All of it shares the machine's cores, wrk too, so throughput is work per request: the table of
processor time says whose.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _chain
import _processes
import _report
import _wrk

from clover.runtime.local import launch

PATHS = {"v1": "firewall → HAProxy → cache → server", "v2": "firewall → nginx → server"}
ENTRIES = ("published", "inside")
KEYS = ("rps", "p50_ms", "p99_ms")
PARTS = (_processes.ENGINE, _processes.SIDECAR, _processes.NODE, _processes.AMBASSADOR)
FIREWALL = "10.244.0.3:9180"
"""The second workload of the plan, after the gateway; the same in both chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the chains that are compared."""

    name: str
    chain: _chain.Chain

    def load(self, entry: str, *, connections: int, seconds: int) -> tuple[_wrk.Load, dict[str, float]]:
        """Load it; return what the client saw, and the processor time of one request, in us by component."""
        processes = _processes.of_chain(self.chain.node)
        before = _processes.cpu_by_component(processes)
        address, prefix = (self.chain.gateway, []) if entry == "published" else (FIREWALL, self.chain.inside("gateway"))
        found = _wrk.run(f"http://{address}{_chain.UNCACHED}", connections=connections, seconds=seconds, prefix=prefix)
        # What the load left to do (spans, log lines) is part of its price, and must not slow the other side down.
        _chain.wait_until_idle(lambda: _processes.cpu_s(self.chain.node), at_most_s=10 + seconds)
        after = _processes.cpu_by_component(processes)
        return found, {name: (after[name] - before[name]) * 1e6 / found.requests for name in after}


@contextlib.contextmanager
def bare(version: str) -> Iterator[_chain.Chain]:
    """Run the engines of the sample chain without a mesh."""
    with _chain.scratch() as folder:
        directory, port = folder / "r", _chain.free_port()
        directory.mkdir(mode=0o711)
        command = [
            sys.executable, str(Path(__file__).with_name("_bare_node.py")), "--chain", str(_chain.SDC),
            "--directory", str(directory), "--entry", "access-control", "--version", f"http-lb={version}",
            "--port", str(port),
        ]  # fmt: skip
        with (folder / "log").open("w+") as log:
            node = subprocess.Popen(
                launch.unshare_argv(command, rootless=_rootless()), stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                events = [json.loads(node.stdout.readline() or "{}") for _ in range(2)] if node.stdout else []
                if len(events) != 2 or events[1].get("event") != "ready":
                    raise RuntimeError(f"the engines did not start: {Path(log.name).read_text()}")
                yield _chain.Chain(directory=directory, gateway=f"127.0.0.1:{port}", node=events[0]["pid"], start_ms={})
            finally:
                node.kill()
                node.wait()


def _rootless() -> bool:
    return os.geteuid() != 0


def check(side: Side, version: str) -> None:
    """See that requests really go the way that is going to be measured."""
    client = _chain.Client(side.chain.gateway)
    for _ in range(10):
        answer = client.get()
        if answer.status != 200 or _chain.version_of(answer) != version:
            raise RuntimeError(f"{side.name}: expected 200 over {version}, got {answer}")
    client.close()


def compare(mesh: Side, direct: Side, entry: str, *, connections: int, rounds: int, seconds: int) -> dict[str, Any]:
    """Load both in turn, and return medians, spreads and the ratio of each pair of runs."""
    seen: dict[str, list[tuple[_wrk.Load, dict[str, float]]]] = {mesh.name: [], direct.name: []}
    for turn in range(rounds):
        # Who goes first alternates, too.
        for side in (mesh, direct) if turn % 2 else (direct, mesh):
            seen[side.name].append(side.load(entry, connections=connections, seconds=seconds))
    found: dict[str, Any] = {}
    for name, runs in seen.items():
        found[name] = {
            key: _report.spread(getattr(load, key) for load, _ in runs) for key in ("rps", "p50_ms", "p99_ms")
        }
        found[name]["cpuUs"] = {
            component: _report.spread(cpu[component] for _, cpu in runs).median for component in _processes.COMPONENTS
        }
    pairs = list(zip(seen[mesh.name], seen[direct.name], strict=True))
    found["meshToDirect"] = {
        key: _wrk.median_ratio((getattr(one, key), getattr(two, key)) for (one, _), (two, _) in pairs) for key in KEYS
    }
    return found


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    rounds, seconds = (1, 1) if quick else (3, 3)
    result: dict[str, Any] = {}
    with _chain.up() as chain:
        mesh = Side(name="mesh", chain=chain)
        for version in PATHS:
            chain.apply(_chain.pinned(version))
            with bare(version) as other:
                direct = Side(name="direct", chain=other)
                for side in (mesh, direct):
                    check(side, version)
                for entry in ENTRIES:
                    for connections in (1, 16) if quick else (1, 16, 64):
                        result[f"{version} {entry} {connections}"] = {
                            "version": version,
                            "entry": entry,
                            "connections": connections,
                            **compare(mesh, direct, entry, connections=connections, rounds=rounds, seconds=seconds),
                        }
    _show(result, rounds=rounds, seconds=seconds)
    _report.keep("mesh_tax", {"rounds": rounds, "seconds": seconds, "cases": list(result.values())}, quick=quick)


def _show(result: dict[str, Any], *, rounds: int, seconds: int) -> None:
    def both(case: dict[str, Any], key: str) -> tuple[str, str, str]:
        return (
            _report.number(case["direct"][key].median),
            _report.number(case["mesh"][key].median),
            f"{case['meshToDirect'][key]:.2f}",
        )

    _report.table(
        f"Mesh tax: direct chain and mesh in turn, medians of {rounds} runs of {seconds} s; ratio = mesh / direct",
        ("path entry connections", "direct rps", "mesh rps", "ratio", "direct p50", "mesh p50", "ratio", "direct p99",
         "mesh p99", "ratio"),
        [(name, *both(case, "rps"), *both(case, "p50_ms"), *both(case, "p99_ms")) for name, case in result.items()],
        notes=(
            *(f"{version}: {words}" for version, words in PATHS.items()),
            "published: both through the relay of the port, the mesh also through its gateway; inside: neither",
            "latencies in ms; every request of the mesh is traced and logged at each hop, the direct chain's are not",
        ),
    )  # fmt: skip
    _report.table(
        "Processor time of one request, us",
        ("path entry connections", "direct engines", "mesh engines", "mesh sidecars", "mesh node", "mesh ambassadors"),
        [
            (
                name,
                _report.number(case["direct"]["cpuUs"]["engines"]),
                *(_report.number(case["mesh"]["cpuUs"][part]) for part in PARTS),
            )
            for name, case in result.items()
        ],
        notes=(
            "engines: the relay too, where it is in the path, and in the mesh the intrusion detection system's copy",
            "node: takes and stores spans and log lines",
        ),
    )


if __name__ == "__main__":
    main()
