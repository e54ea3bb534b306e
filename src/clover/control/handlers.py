"""What answers a call: the contract between an ambassador's server and the parts that do the work.

A part gives a mapping of method names to handlers. A handler gets the request and the `Call`, and returns the answer,
or is an asynchronous generator of answers where the method streams them; where the client streams, the request is an
asynchronous iterator. It knows nothing of gRPC: what goes wrong is a `CallError`, which the server turns into a status.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from clover.control.settings import AmbassadorSettings
from clover.errors import Problem
from clover.functions.driver import Driver, Running
from clover.spec.configuration import Configuration

AttributeValue = str | int | float | bool


class Code(StrEnum):
    """
    The status codes that handlers choose from, by their names in gRPC.

    UNAVAILABLE is not among them: a mesh tries such a call again by itself (Istio's default), and so would hide what
    the ambassador said and might do twice what must be done once. It always comes from the way to an ambassador.
    """

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    ABORTED = "ABORTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One field of a request that is wrong."""

    field: str
    """Path by the names in the .proto file, e.g. `load_balancer.backends[0].weight`, `rule.http.contains`."""
    what: str
    """What was found and what was expected."""


@dataclass(slots=True, kw_only=True, eq=False)
class CallError(Exception):
    """A call ends with a status other than OK. The first problem's sentence is the status message."""

    code: Code
    problems: tuple[Problem, ...]
    """Never empty; the code of the first is the reason in ErrorInfo."""
    violations: tuple[Violation, ...] = ()
    """Become BadRequest."""
    preconditions: Mapping[str, str] = field(default_factory=dict)
    """What is in the way, by type (`GENERATION`, `ENGINE`) → a sentence, '' for that of the first problem; become
    PreconditionFailure."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts for programs, in ErrorInfo: `generation`, `expected`."""

    def __str__(self) -> str:
        return "; ".join(problem.what for problem in self.problems)


def call_error(code: Code, problem_code: str, what: str, *, where: str = "", hint: str = "", **rest: Any) -> CallError:
    """Return the error of a call in which one thing went wrong; `rest` are fields of CallError."""
    problem = Problem(code=problem_code, where=where or "ambassador", what=what, hint=hint)
    return CallError(code=code, problems=(problem,), **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, as its handler sees it."""

    method: str
    """`Apply`."""
    context: Context
    """Trace context whose span is the server's span of this call: give it to `Telemetry.span` and `emit`."""


Handler = Callable[[Any, Call], Awaitable[Any]] | Callable[[Any, Call], AsyncIterator[Any]]
Handlers = Mapping[str, Handler]
"""Name of a method of `clover.control.v1.Ambassador` → what answers it."""


class Telemetry(Protocol):
    """What an ambassador tells of itself. Never blocks, never raises: what cannot be delivered is dropped."""

    def emit(
        self,
        event: str,
        body: str,
        attributes: Mapping[str, AttributeValue],
        *,
        context: Context | None = None,
        trace: tuple[str, str] | None = None,
    ) -> None:
        """
        Emit a log record named `event` (`clover.change`) whose text is `body`.

        It belongs to the span of `context`, or to `trace`: a trace id and a span id in hexadecimal (both may be '').
        The function, its version and its workload are added to the attributes.
        """
        ...

    def span(
        self,
        name: str,
        *,
        context: Context | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> AbstractContextManager[Context]:
        """
        Return a span below that of `context`; entered, it is the context for what happens inside.

        An exception that leaves it makes it one that failed, and is why.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a part of an ambassador is made from."""

    settings: AmbassadorSettings
    driver: Driver
    running: Running | None
    """The way to the engine; also Blocking for a firewall. None: the engine cannot be changed while it runs."""
    configuration: Callable[[], Configuration]
    """Returns the configuration in force; ask again each time."""
    telemetry: Telemetry


class Part(Protocol):
    """A part of an ambassador: it answers some calls, and does work of its own meanwhile."""

    def handlers(self) -> Handlers:
        """Return what it answers."""
        ...

    async def run(self) -> None:
        """Do its work until it is cancelled (return at once if there is none); gRPC is served meanwhile."""
        ...
