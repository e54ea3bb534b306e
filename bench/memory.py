"""How much memory the whole sample chain takes, by component: after the start, and after some traffic.

    bench/memory.py [--quick]

Counted is the proportional set size (PSS): pages that several processes share, such as the program text of eleven
Envoys, count once. What a process has to itself is shown beside it, because that is what one more of it would cost.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import _chain
import _processes
import _report

KINDS = ("pss", "own", "rss")


def measure(chain: _chain.Chain) -> dict[str, Any]:
    """Return MB by component, and by workload and component."""
    components: dict[str, dict[str, float]] = {
        name: {"processes": 0, **dict.fromkeys(KINDS, 0.0)} for name in _processes.COMPONENTS
    }
    workloads: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_processes.COMPONENTS, 0.0))
    for process in _processes.of_chain(chain.node):
        memory = _processes.memory_kb(process.pid)
        row = components[process.component]
        row["processes"] += 1
        for kind in KINDS:
            row[kind] += memory[kind] / 1024
        workloads[process.workload or "node"][process.component] += memory["pss"] / 1024
    return {"components": components, "workloads": dict(workloads)}


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    requests = 200 if quick else 2000
    with _chain.up() as chain:
        found = {"after the start": measure(chain)}
        client = _chain.Client(chain.gateway)
        for _ in range(requests):
            client.get()
        client.close()
        _chain.wait_until_idle(lambda: _processes.cpu_s(chain.node))
        found[f"after {requests} requests"] = measure(chain)
    for moment, one in found.items():
        rows = [
            (name, *(_report.number(row[kind]) for kind in KINDS), f"{row['processes']:.0f}")
            for name, row in one["components"].items()
        ]
        total = [sum(row[kind] for row in one["components"].values()) for kind in (*KINDS, "processes")]
        rows.append(("all", *(_report.number(value) for value in total[:-1]), f"{total[-1]:.0f}"))
        _report.table(
            f"Memory of examples/sdc, {moment}", ("component", "PSS MB", "own MB", "RSS MB", "processes"), rows
        )
    last = found[f"after {requests} requests"]["workloads"]
    _report.table(
        "PSS MB by workload",
        ("workload", "sidecar", "engine", "ambassador"),
        [
            (
                name,
                _report.number(row[_processes.SIDECAR]),
                _report.number(row[_processes.ENGINE]),
                _report.number(row[_processes.AMBASSADOR] + row[_processes.AGENT]),
            )
            for name, row in sorted(last.items())
            if name != "node"
        ],
        notes=("the gateway's engine is the relay of its port", "the ambassador of control-agent is the agent itself"),
    )
    _report.keep("memory", {"megabytes": found, "requests": requests}, quick=quick)


if __name__ == "__main__":
    main()
