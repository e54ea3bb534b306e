"""A process with a store, for tests that kill it or take its disk away: a command a line, an answer a line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from clover.errors import clover_errors
from clover.telemetry.store import RefusedError, Store, open_store
from clover.telemetry.store.store import Limits
from harness import otlp_payloads as otlp


async def insert(store: Store, spans: int, seed: int) -> str:
    requests = list(otlp.many(spans, seed=seed))
    outcomes = await asyncio.gather(*map(store.insert_traces, requests), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedError)]
    for outcome in outcomes:
        if outcome is not None and not isinstance(outcome, RefusedError):
            raise outcome
    return f"{len(requests) - len(refused)} taken, {len(refused)} refused"


async def answer(store: Store, command: str, *arguments: str) -> str:
    match command:
        case "insert":
            return await insert(store, int(arguments[0]), int(arguments[1]))
        case "lines":
            store.insert_lines({"service.name": "x"}, b"a line\n" * int(arguments[0]))
            return "given"
        case "count":
            statistics = await store.statistics()
            return " ".join(f"{name}={statistics[name]}" for name in ("spans", "logs", "refused", "lost"))
        case "problems":
            return " ".join(problem.code for problem in store.problems()) or "none"
    raise ValueError(command)


async def main(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    async with open_store(directory, limits=Limits(commit_interval_s=0, commit_share=1)) as store:
        await store.opened()
        print("open", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(await answer(store, *line.split()), flush=True)


try:
    asyncio.run(main(Path(sys.argv[1])))
except* Exception as failure:
    problems = [problem for error in clover_errors(failure) for problem in error.problems]
    if not problems:
        raise
    print(" ".join(problem.code for problem in problems), flush=True)
