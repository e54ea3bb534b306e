"""The client side of the control agent: finding the ambassador that a user means, and asking it things.

The agent takes JSON over a Unix socket and speaks gRPC with the ambassadors, so that a command need not load gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from clover.cli import api
from clover.errors import CloverError, DocumentError, MeshError, Problem

SOCKET = "agent.sock"
"""In the chain's run folder; `control.settings.AGENT_SOCKET`, whose import would cost more than most commands."""
TIMEOUT_S = 30.0
"""How long a change may take."""
ROOM_S = 10.0
"""How much later than the agent this side gives up, so that the agent is the one to say what took so long."""

FunctionOption = Annotated[
    str, typer.Option("--function", metavar="FUNCTION[@VERSION]", help="Which one, when the chain has several.")
]
DiffOption = Annotated[bool, typer.Option("--diff", help="Print what changes, line by line.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One version of a function, as its ambassador answers for it."""

    function: str
    version: str
    workload: str
    type: str
    engine: str

    def __str__(self) -> str:
        return f"{self.function}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an ambassador answered."""

    response: dict[str, Any]
    """The message as protobuf's JSON, with the fields that have their default."""
    trace_id: str


class Agent(api.Client):
    """Asks the ambassadors of one chain; every method raises what they answer as an error."""

    def __init__(self, chain: api.RunningChain) -> None:
        super().__init__(chain)
        self.socket = chain.directory / SOCKET

    def functions(self) -> list[Target]:
        """Return every version of every function that has an ambassador."""
        names = Target.__dataclass_fields__
        return [
            Target(**{name: str(entry[name]) for name in names}) for entry in self.get("/v1/functions")["functions"]
        ]

    def call(
        self, target: Target, method: str, request: Mapping[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """Call a method of a function's ambassador."""
        body = {**_called(target, method, request), "timeoutS": timeout_s}
        return _answer(self._call("POST", "/v1/call", body=api.encoded(body), timeout_s=timeout_s + ROOM_S))

    def watch(self, target: Target, method: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield each answer of a method that goes on answering."""
        for line in self.stream("/v1/stream", body=_called(target, method, request)):
            if "problems" in line:
                raise self._error(200, line)
            yield line["response"]

    def upload(self, target: Target, path: str, content: bytes) -> Answer:
        """Send a file to a server."""
        query = {"function": target.function, "version": target.version, "path": path}
        return _answer(
            self._call("POST", "/v1/upload", query=query, body=content, timeout_s=TIMEOUT_S + ROOM_S),
        )

    def _error(self, status: int, value: Any) -> CloverError:
        error = super()._error(status, value)
        trace_id = value.get("traceId") if isinstance(value, dict) else None
        if not trace_id or not error.problems:
            return error
        # What the call did until it failed is told best by its trace.
        *others, last = error.problems
        if trace_id in last.hint:
            return error
        hint = f"{last.hint}; clover trace {trace_id}" if last.hint else f"clover trace {trace_id}"
        return type(error)(*others, replace(last, hint=hint))

    def _silent(self, why: object, timeout_s: float = api.TIMEOUT_S) -> MeshError:
        reason = f"no answer within {timeout_s:.0f} s" if isinstance(why, TimeoutError) else why
        return MeshError(
            Problem(
                code="CLV5211",
                where=str(self.socket),
                what=f"the control agent of chain {self.chain.name!r} does not answer: {reason}",
                hint="clover status shows whether it runs, clover logs control-agent what it said",
            )
        )


def find(chain: str) -> Agent:
    """Return a client of the control agent of the chain that the user means."""
    return Agent(api.meant(chain))


def match(functions: Sequence[Target], wanted: str, *, type_: str = "") -> list[Target]:
    """
    Return what `FUNCTION`, `FUNCTION@VERSION`, a workload's name or the name of a type means; of type `type_` alone.

    An empty `wanted` means the functions of that type. Raises DocumentError.
    """
    fitting = [one for one in functions if type_ in ("", one.type)]
    name, _, version = wanted.partition("@")
    if not wanted or (name in {one.type for one in fitting} and name not in {one.function for one in fitting}):
        named = [one for one in fitting if name in ("", one.type) and version in ("", one.version)]
        if len({one.function for one in named}) > 1:
            raise DocumentError(_several(wanted or type_, named))
        if named:
            return named
        if not wanted:
            raise DocumentError(_none(type_, functions))
    found = api.match(
        [api.Instance(function=f.function, version=f.version, workload=f.workload) for f in functions], wanted
    )
    chosen = [one for one in functions if one.workload in {instance.workload for instance in found}]
    if type_ and any(one.type != type_ for one in chosen):
        raise DocumentError(wrong_type(chosen[0], type_))
    return chosen


def only(functions: Sequence[Target], wanted: str, *, type_: str = "") -> Target:
    """Return the one version that the user means. Raises DocumentError when there are several."""
    found = match(functions, wanted, type_=type_)
    if len(found) > 1:
        raise DocumentError(
            Problem(
                code="CLV5204",
                where=f"function {found[0].function}",
                what=f"{found[0].function!r} has {len(found)} versions, each with a configuration of its own",
                hint=f"name one: {', '.join(map(str, found))}",
            )
        )
    return found[0]


def wrong_type(target: Target, *types: str) -> Problem:
    """Return the problem of a function that is of none of the types that a command is for."""
    return Problem(
        code="CLV5213",
        where=f"function {target}",
        what=f"{str(target)!r} is a function of type {target.type!r}, expected {' or '.join(map(repr, types))}",
        hint="clover control lists the functions",
    )


def as_json(target: Target) -> dict[str, str]:
    """Return the function as `--json` names it."""
    return asdict(target)


def _called(target: Target, method: str, request: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "function": target.function,
        "version": target.version,
        "method": method,
        "request": dict(request or {}),
    }


def _answer(value: Mapping[str, Any]) -> Answer:
    return Answer(response=value["response"], trace_id=value.get("traceId", ""))


def _several(wanted: str, found: Sequence[Target]) -> Problem:
    return Problem(
        code="CLV5204",
        where=f"function {wanted}",
        what=f"the chain has several functions of type {wanted!r}",
        hint=f"name one: {', '.join(map(str, found))}",
    )


def _none(type_: str, functions: Sequence[Target]) -> Problem:
    return Problem(
        code="CLV5203",
        where=f"function of type {type_}",
        what=f"the chain has no function of type {type_!r}",
        hint=f"it has: {', '.join(f'{one} ({one.type})' for one in functions)}",
    )
