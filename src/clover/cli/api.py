"""The client side of a node's API: finding the running chain, and asking it things over its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from clover.cli import output
from clover.errors import CloverError, DocumentError, MeshError, Problem
from clover.kit import places, unix_http
from clover.runtime.local import ledger

TIMEOUT_S = 30.0
"""How long an answer may take, beyond what the caller asked the node to wait."""

ENDING_S, POLL_S = 15.0, 0.05
"""How long a node may take to end after its last answer, and how often it is looked whether it has."""

ChainOption = Annotated[
    str,
    typer.Option("--chain", envvar="CLOVER_CHAIN", metavar="NAME", help="The chain to ask, when several are up."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the node's answer as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningChain:
    """A chain whose node lives."""

    name: str
    directory: Path
    init: int
    """The node's process id on the host: the way into its namespaces."""
    socket: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One workload, as a command line can name it."""

    function: str
    version: str
    """Empty for the gateway."""
    workload: str

    def __str__(self) -> str:
        return f"{self.function}@{self.version}" if self.version else self.function


def running_chains(root: Path) -> list[RunningChain]:
    """Return the chains below `root` whose node lives, by name."""
    return [chain for chain in _chains(root) if _lives(chain.directory)]


def killed_chains(root: Path) -> list[RunningChain]:
    """Return the chains below `root` whose node is gone, though nobody took them down, by name."""
    return [chain for chain in _chains(root) if not _lives(chain.directory)]


def _chains(root: Path) -> list[RunningChain]:
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return []
    entries = [(folder, entry) for folder in folders if (entry := ledger.read(folder))]
    return [
        RunningChain(name=entry.chain, directory=folder, init=entry.pid, socket=Path(entry.api))
        for folder, entry in entries
    ]


def _lives(folder: Path) -> bool:
    try:
        return ledger.alive(folder)
    except OSError:
        return False  # another user's chain


def choose(chains: Sequence[RunningChain], name: str, *, killed: Sequence[RunningChain] = ()) -> RunningChain:
    """
    Return the chain of that name, or the only one when no name is given. Raises DocumentError otherwise.

    Who means one of the `killed` is told what became of it.
    """
    names = [chain.name for chain in chains]
    if name in names:
        return chains[names.index(name)]
    if ended := [one for one in killed if name == one.name or not (name or chains)]:
        raise DocumentError(*map(_killed, ended))
    if name:
        up = f"up: {', '.join(names)}" if names else "no chain is up"
        raise _usage("CLV5201", f"chain {name}", f"the chain {name!r} is not up ({up})", "clover up PATH")
    if not chains:
        raise _usage("CLV5201", str(places.run_root()), "no chain is up", "clover up PATH")
    if len(chains) > 1:
        raise _usage(
            "CLV5202",
            str(places.run_root()),
            f"several chains are up: {', '.join(names)}",
            f"add --chain {names[0]}, or set CLOVER_CHAIN",
        )
    return chains[0]


def find(name: str) -> Client:
    """Return a client of the chain that the user means."""
    return Client(meant(name))


def meant(name: str) -> RunningChain:
    """Return the running chain that the user means. Raises DocumentError."""
    root = places.run_root()
    return choose(running_chains(root), name, killed=killed_chains(root))


def match(instances: Sequence[Instance], wanted: str) -> list[Instance]:
    """Return the instances that `FUNCTION`, `FUNCTION@VERSION` or a workload's name means. Raises DocumentError."""
    function, _, version = wanted.partition("@")
    named = [one for one in instances if one.function == function] or (
        [one for one in instances if one.workload == function] if not version else []
    )
    found = [one for one in named if not version or one.version == version]
    if found:
        return found
    known = ", ".join(map(str, named or instances))
    raise _usage("CLV5203", f"function {wanted}", f"{wanted!r} is not in the chain", f"it has: {known}")


def only(instances: Sequence[Instance], wanted: str) -> Instance:
    """Return the one instance that the user means. Raises DocumentError when there are several versions."""
    found = match(instances, wanted)
    if len(found) > 1:
        raise _usage(
            "CLV5204",
            f"function {wanted}",
            f"{wanted!r} has {len(found)} versions",
            f"name one: {', '.join(map(str, found))}",
        )
    return found[0]


class Client:
    """Asks one node; every method raises what the node answers as an error."""

    def __init__(self, chain: RunningChain) -> None:
        self.chain = chain
        self.socket = chain.socket

    def get(self, path: str, query: Mapping[str, object] | None = None, *, wait_s: float = 0) -> Any:
        """Return the answer to a question; empty values of the query are left out."""
        return self._call("GET", path, query=query, timeout_s=TIMEOUT_S + wait_s)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Send a change and return what the node did."""
        return self._call("POST", path, body=encoded(body))

    def delete(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """Delete what is at `path` and return what the node did."""
        return self._call("DELETE", path, query=query)

    def stream(
        self, path: str, query: Mapping[str, object] | None = None, *, body: Mapping[str, object] | None = None
    ) -> Iterator[Any]:
        """Yield what comes, a JSON value a line, until the other side ends it; with a body by POST, else by GET."""
        connection = unix_http.Connection(self.socket, timeout_s=TIMEOUT_S)
        try:
            answer = self._asked(connection, "GET" if body is None else "POST", path, query, encoded(body))
            if answer.status >= 400:
                raise self._error(answer.status, self._parsed(answer.status, answer.read()))
            # An empty line says that the other side lives.
            while line := answer.readline():
                if line.strip():
                    yield self._parsed(answer.status, line)
        except (OSError, http.client.HTTPException) as failure:
            raise self._silent(failure, TIMEOUT_S) from None
        finally:
            connection.close()

    @contextlib.contextmanager
    def until_down(self) -> Iterator[None]:
        """Let a block follow the chain: that the chain is taken down ends the block, is told, and is no error."""
        try:
            yield
        except MeshError:
            if not self._goes_down():
                raise
        print(f"chain {self.chain.name} is down", file=sys.stderr)

    def _goes_down(self) -> bool:
        """Tell whether the node, which does not answer, is ending: it ends its API first."""
        deadline = time.monotonic() + ENDING_S
        while _lives(self.chain.directory):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def instances(self) -> list[Instance]:
        """Return every workload of the chain, the gateway included."""
        found = [
            Instance(function=entry["function"], version=entry["version"], workload=entry["workload"])
            for entry in self.get("/v1/status")["workloads"]
        ]
        if all(one.workload != "gateway" for one in found):
            found.insert(0, Instance(function="gateway", version="", workload="gateway"))
        return found

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        connection = unix_http.Connection(self.socket, timeout_s=timeout_s)
        try:
            answer = self._asked(connection, method, path, query, body)
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as failure:
            raise self._silent(failure, timeout_s) from None
        finally:
            connection.close()
        value = self._parsed(status, content)
        if status >= 400:
            raise self._error(status, value)
        return value

    def _asked(
        self,
        connection: unix_http.Connection,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        pairs = {key: value for key, value in (query or {}).items() if value not in ("", None, [], ())}
        target = quote(path) + (f"?{urlencode(pairs, doseq=True)}" if pairs else "")
        connection.request(method, target, body=body, headers={"Content-Type": "application/json"} if body else {})
        return connection.getresponse()

    def _parsed(self, status: int, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise self._silent(f"it answered {status} with {content[:80]!r}") from None

    def _error(self, status: int, value: Any) -> CloverError:
        try:
            return output.error_from(value)
        except (TypeError, KeyError):
            return self._silent(f"it answered {status} with {json.dumps(value)[:80]}")

    def _silent(self, why: object, timeout_s: float = TIMEOUT_S) -> MeshError:
        reason = f"no answer within {timeout_s:.0f} s" if isinstance(why, TimeoutError) else why
        if not (self.chain.directory / "up.json").exists():
            return MeshError(ledger.busy(self.chain.directory))
        return MeshError(
            Problem(
                code="CLV5205",
                where=str(self.socket),
                what=f"the node of chain {self.chain.name!r} does not answer: {reason}",
                hint=f"see {self.chain.directory / 'node.log'}, or start again: clover down {self.chain.name}",
            )
        )


def encoded(body: Mapping[str, object] | None) -> bytes | None:
    """Return the body of a request as it is sent."""
    return None if body is None else json.dumps(body).encode()


def _killed(chain: RunningChain) -> Problem:
    return Problem(
        code="CLV5201",
        where=f"chain {chain.name}",
        what=f"chain {chain.name} was up, and its node (process {chain.init}) is gone",
        hint=f"clover down {chain.name} cleans up; clover up PATH begins anew",
    )


def _usage(code: str, where: str, what: str, hint: str) -> DocumentError:
    return DocumentError(Problem(code=code, where=where, what=what, hint=hint))
