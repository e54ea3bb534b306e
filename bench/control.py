"""How long a change of a function takes until its engine confirms it, by engine and kind of change.

    bench/control.py [--quick]

Every change is a call to the control agent: through the mesh to the function's ambassador, which renders the engine's
files, writes them, lets the engine check them, activates them, and waits until the engine itself says that it works
by them. *Call* is what the client of the agent waits; the steps are the ambassador's own times. The kinds take turns,
first with nothing else going on, then under requests at a steady rate, every fourth a POST, of which none may be lost.

Varnish, the other engine for caches, runs in a small chain of its own.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _chain
import _report
import _steady

RATE = 200
STEPS = ("render", "write", "check", "activate", "confirm")
VARNISH = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: varnish}
spec:
  gateway: {port: 8080, to: cache}
  functions:
    cache: {type: cache, engine: varnish, to: [web-1, web-2]}
    web-1: {type: server}
    web-2: {type: server}
"""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of change of one engine."""

    name: str
    function: str
    version: str = ""
    edit: Callable[[Json, int], None]
    """Writes into the function's configuration what turn number n is to bring; two turns in a row differ."""


def _weight(part: str) -> Callable[[Json, int], None]:
    def edit(configuration: Json, turn: int) -> None:
        configuration[part]["backends"][0]["weight"] = 10 + turn % 2

    return edit


def _algorithm(configuration: Json, turn: int) -> None:
    configuration["loadBalancer"]["algorithm"] = ("ALGORITHM_LEAST_CONNECTIONS", "ALGORITHM_RANDOM")[turn % 2]


def _ttl(configuration: Json, turn: int) -> None:
    configuration["cache"]["defaultTtl"] = f"{5 + turn % 2}s"


def _mode(configuration: Json, turn: int) -> None:
    configuration["firewall"]["mode"] = ("MODE_DETECTION_ONLY", "MODE_BLOCKING")[turn % 2]


def _exclusion(configuration: Json, turn: int) -> None:
    configuration["firewall"]["excludedRules"] = [942100 + turn % 2 * 10]


def _page(configuration: Json, turn: int) -> None:
    page = {"path": "/bench", "match": "MATCH_EXACT", "respond": {"body": f"page {turn}"}}
    sites = configuration["server"].setdefault("sites", [])
    if not sites:
        sites.append({"locations": []})
    kept = [one for one in sites[0].get("locations", []) if one["path"] != "/bench"]
    sites[0]["locations"] = [*kept, page]


def _rule(configuration: Json, turn: int) -> None:
    rule = {"id": 1, "http": {"field": "FIELD_URI", "contains": f"no-such-thing-{turn}"}}
    kept = [one for one in configuration["ids"].get("rules", []) if one["id"] != 1]
    configuration["ids"]["rules"] = [*kept, rule]


SDC = (
    Kind(name="haproxy: a weight", function="http-lb", version="v1", edit=_weight("loadBalancer")),
    Kind(name="haproxy: the algorithm", function="http-lb", version="v1", edit=_algorithm),
    Kind(name="nginx load balancer: a weight", function="http-lb", version="v2", edit=_weight("loadBalancer")),
    Kind(name="nginx cache: how long answers are kept", function="web-cache", edit=_ttl),
    Kind(name="nginx server: a page", function="clover-server5", edit=_page),
    Kind(name="modsecurity: the mode", function="access-control", edit=_mode),
    Kind(name="modsecurity: an excluded rule", function="access-control", edit=_exclusion),
    Kind(name="suricata: a rule", function="ids", edit=_rule),
)
OTHER = (
    Kind(name="varnish: a weight", function="cache", edit=_weight("cache")),
    Kind(name="varnish: how long answers are kept", function="cache", edit=_ttl),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that came into force."""

    call_ms: float
    steps_ms: dict[str, float]
    method: str


def change(chain: _chain.Chain, kind: Kind, turn: int) -> Change:
    """Make one change."""
    state = chain.control(kind.function, "Get", version=kind.version)
    wanted = copy.deepcopy(state["configuration"])
    kind.edit(wanted, turn)
    began = time.monotonic()
    answer = chain.control(kind.function, "Apply", {"configuration": wanted}, version=kind.version)
    call_ms = (time.monotonic() - began) * 1000
    if not answer.get("changed"):
        raise RuntimeError(f"{kind.name}, turn {turn}: nothing changed")
    steps = {step["name"]: float(step.get("duration", "0s").rstrip("s")) * 1000 for step in answer["steps"]}
    return Change(call_ms=call_ms, steps_ms=steps, method=answer["method"].removeprefix("METHOD_").lower())


def changes(chain: _chain.Chain, kinds: Sequence[Kind], turns: range) -> dict[str, list[Change]]:
    """Make every kind of change once in each turn."""
    found: dict[str, list[Change]] = defaultdict(list)
    for turn in turns:
        for kind in kinds:
            found[kind.name].append(change(chain, kind, turn))
    return found


def measure(path: Path, kinds: Sequence[Kind], count: int, *, warm_up: int) -> Json:
    """Bring a chain up, change it `count` times in each way, quietly and under requests."""
    with _chain.up(path) as chain:
        client = _chain.Client(chain.gateway)
        for _ in range(20):
            client.get()
        client.close()
        changes(chain, kinds, range(warm_up))
        quiet = changes(chain, kinds, range(warm_up, warm_up + count))
        with _steady.running(chain.gateway, rate=RATE) as load:
            busy = changes(chain, kinds, range(warm_up + count, warm_up + 2 * count))
            time.sleep(0.5)  # also what is on its way when the last reload is done
    return {"quiet": quiet, "busy": busy, "load": load}


def _summary(made: Sequence[Change]) -> Json:
    calls = [one.call_ms for one in made]
    return {
        "count": len(made),
        "methods": sorted({one.method for one in made}),
        "call": {"p50": _report.percentile(calls, 50), "p99": _report.percentile(calls, 99), "most": max(calls)},
        "steps": {
            step: {
                "p50": _report.percentile([one.steps_ms.get(step, 0.0) for one in made], 50),
                "p99": _report.percentile([one.steps_ms.get(step, 0.0) for one in made], 99),
            }
            for step in STEPS
        },
    }


def main() -> None:
    """Measure, print, keep."""
    quick = _report.options(__doc__).quick
    count = 3 if quick else 30
    with _chain.scratch() as folder:
        document = folder / "chain.yaml"
        document.write_text(VARNISH, encoding="utf-8")
        sides = [measure(path, kinds, count, warm_up=1) for path, kinds in ((_chain.SDC, SDC), (document, OTHER))]
    kept: Json = {}
    for which, title in (("quiet", "nothing else going on"), ("busy", f"{RATE} requests a second")):
        kept[which] = {name: _summary(made) for side in sides for name, made in side[which].items()}
        _report.table(
            f"Change to confirmed, {title}",
            ("ms", "by", "call p50", "p99", "most", *(f"{step} p50" for step in STEPS), "changes"),
            [
                (
                    name,
                    "/".join(one["methods"]),
                    *(_report.number(one["call"][key]) for key in ("p50", "p99", "most")),
                    *(_report.number(one["steps"][step]["p50"]) for step in STEPS),
                    str(one["count"]),
                )
                for name, one in kept[which].items()
            ],
            notes=tuple(str(side["load"]) for side in sides) if which == "busy" else (),
        )
    kept["load"] = [side["load"].as_json() for side in sides]
    _report.keep("control", kept, quick=quick)
    if lost := sum(side["load"].lost for side in sides):
        raise SystemExit(f"{lost} requests were lost while functions were changed; none may be")


if __name__ == "__main__":
    main()
