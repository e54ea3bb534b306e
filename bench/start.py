"""How long `clover up` takes for the sample chain, until a request is answered and its trace is complete.

    bench/start.py [--quick]

The first start only warms the page cache. Then, a few times: `clover up examples/sdc`, and at once a request. *Total*
ends when the answer (200) of a request is there whose trace turns out complete; the moment at which the store shows
that trace is reported beside it. The steps between are the node's own timeline. The aim is 3 s.
"""

from __future__ import annotations

import time

import _chain
import _report

AIM_S = 3.0


def once() -> dict[str, float]:
    """Start the chain, send requests until one is answered with 200, find its trace, take the chain down."""
    began = time.monotonic()
    with _chain.up() as chain:
        up_s = time.monotonic() - began
        client = _chain.Client(chain.gateway)
        try:
            while True:
                answer = client.get("/")
                answered_s = time.monotonic() - began
                if answer.status == 200:
                    trace = chain.call(f"/v1/traces/{answer.trace}?waitS=5")
                    if trace["complete"]:
                        break
                if answered_s > 60:
                    raise RuntimeError("no request of the first minute was answered and traced")
        finally:
            client.close()
        shown_s = time.monotonic() - began
    node_s = max(chain.start_ms.values(), default=0) / 1000
    steps = list(chain.start_ms.items())
    before = 0.0
    found = {"up returns": up_s, "answered (200)": answered_s, "trace complete in the store": shown_s}
    found["  before and after the node"] = up_s - node_s
    for name, at_ms in steps:
        found[f"  node: {name}"] = (at_ms - before) / 1000
        before = at_ms
    return found


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    once()
    rounds = [once() for _ in range(2 if quick else 5)]
    spreads = {name: _report.spread(one[name] for one in rounds) for name in rounds[0]}
    _report.table(
        f"Start of examples/sdc, {len(rounds)} times, warm page cache",
        ("step", "median s", "least", "most"),
        [(name, f"{one.median:.2f}", f"{one.least:.2f}", f"{one.most:.2f}") for name, one in spreads.items()],
        notes=(
            f"aim: answered (200) within {AIM_S:.0f} s",
            "indented: where the time until `up` returns goes; each step is what it adds to the one before it",
        ),
    )
    _report.keep("start", {"aimS": AIM_S, "seconds": spreads, "rounds": rounds}, quick=quick)


if __name__ == "__main__":
    main()
