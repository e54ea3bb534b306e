"""What `clover up` does while the node starts, and after."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from clover.cli import output, screen
from clover.cli.screen import Column
from clover.doctor import host
from clover.errors import DocumentError, HostError, Problem
from clover.functions import registry as drivers
from clover.kit import places
from clover.runtime.local import launch, ledger
from clover.spec import load, rules
from clover.spec.chain import Chain, renamed, workload_name


def bring_up(node: launch.StartingNode, path: Path, *, name: str, port: int, as_json: bool) -> None:
    """Look at the chain and at the machine, tell the node what to run, and show what comes of it."""
    found, doubts = load.inspect(path)
    if found is None:
        raise DocumentError(*doubts)
    output.print_problems(doubts)
    chain = renamed(found, name=name, port=port)
    # The name becomes part of paths that are removed: it is not looked at before it is known to be one.
    if wrong := [replace(problem, where="--name") for problem in rules.names_are_labels(chain)]:
        raise DocumentError(*wrong)
    directory = places.chain_directory(chain.name)
    digest = ledger.digest(load.file_of(path), chain.name, chain.gateway.port)
    _refuse_foreign(directory.parent)
    if ledger.is_chain(directory) and ledger.alive(directory):
        _show_running(chain, digest, directory, as_json=as_json)
        return
    problems = [
        *_path_problems(chain, directory),
        *host.problems_that_stop_a_chain(drivers.requirements(chain)),
        *_gateway_problems(chain),
    ]
    if problems:
        raise HostError(*problems)
    lock = _make_directory(directory)
    orders = {
        "chain": str(path.absolute()),
        "directory": str(directory),
        "store": str(places.store_directory(chain.name)),
        "name": chain.name,
        "port": chain.gateway.port,
    }
    try:
        try:
            node.begin(orders, lock=lock)
        finally:
            os.close(lock)
        result = _follow(node, directory / "node.log")
    except BaseException:
        if kept := _clean(node, directory):
            print(f"the log of what was started is kept: {kept}", file=sys.stderr)
        raise
    places.failed_log(chain.name).unlink(missing_ok=True)
    if as_json:
        output.print_json(result)
    else:
        _table(result)


def _follow(node: launch.StartingNode, log: Path) -> dict[str, object]:
    """Show progress until the chain is ready. Raises what the node failed with."""
    with Console(stderr=True).status("starting the node ...") as shown:
        for event in node.events(log=log):
            if event["event"] == "progress":
                shown.update(event["text"])
            elif event["event"] == "failed":
                raise output.error_from(event)
            else:
                return dict(event["chain"])
    raise AssertionError("events end with ready or failed, or raise")


def _clean(node: launch.StartingNode, directory: Path) -> Path | None:
    """Leave nothing behind of a chain that did not come up, but its log; return where that is, if there is any."""
    node.process.kill()
    node.process.wait()
    log = directory / "node.log"
    text = log.read_bytes() if log.exists() else b""
    ledger.stop(directory, patience_s=0)
    if not text:
        return None
    kept = places.failed_log(directory.name)
    kept.touch(mode=0o600)
    kept.write_bytes(text)
    return kept


def _refuse_foreign(root: Path) -> None:
    """Refuse a run folder that another user made, before anything in it is believed."""
    try:
        found = root.lstat()
    except FileNotFoundError:
        return
    except OSError as failure:
        raise _unusable(root, f"the folder cannot be looked at: {failure.strerror}") from failure
    if found.st_uid != os.geteuid():
        raise _unusable(root, f"the folder belongs to user {found.st_uid}, expected {os.geteuid()}")
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(root, "it is not a folder")


def _make_directory(directory: Path) -> int:
    """Make the chain's folder, and return its lock."""
    # Root's engines run their workers as another user, who must be able to pass through.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        if not directory.parent.exists():
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.parent.chmod(mode)
    except OSError as failure:
        raise _unusable(directory.parent, f"the folder cannot be made: {failure.strerror}") from failure
    _refuse_foreign(directory.parent)
    closed = [parent for parent in directory.absolute().parents if not parent.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        raise HostError(
            Problem(
                code="CLV2106",
                where=str(closed[0]),
                what="only its owner may pass through this folder, and the engines' workers run as another user",
                hint=f"chmod o+x {closed[0]}, or set CLOVER_RUN to a folder elsewhere",
            )
        )
    try:
        return ledger.claim(directory, mode=mode)
    except OSError as failure:
        raise _unusable(directory, f"the folder cannot be used: {failure.strerror}") from failure


def _unusable(folder: Path, what: str) -> HostError:
    return HostError(
        Problem(code="CLV2105", where=str(folder), what=what, hint="set CLOVER_RUN to a folder of your own")
    )


def _path_problems(chain: Chain, directory: Path) -> list[Problem]:
    """Find out whether the paths of the chain's Unix sockets fit into what the kernel takes."""
    names = [workload_name(function, version) for function, version in chain.workloads()]
    longest = max((directory / "w" / name / "envoy.sock" for name in names), key=lambda path: len(os.fsencode(path)))
    length = len(os.fsencode(longest))
    if length <= host.SOCKET_PATH_BYTES:
        return []
    return [
        Problem(
            code="CLV2107",
            where=str(chain.mark),
            what=f"a Unix socket's path would have {length} bytes, at most {host.SOCKET_PATH_BYTES} work: {longest}",
            hint="shorten the names, or set CLOVER_RUN to a folder with a short path",
        )
    ]


def _gateway_problems(chain: Chain) -> list[Problem]:
    """Find out whether the gateway's port is free, before anything is started."""
    address = (chain.gateway.address, chain.gateway.port)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
        except OSError as failure:
            return [
                Problem(
                    code="CLV2101",
                    where=str(chain.gateway.mark),
                    what=f"the gateway cannot listen on {address[0]}:{address[1]}: {failure.strerror}",
                    hint=_port_hint(address, failure.errno),
                )
            ]
    return []


def _port_hint(address: tuple[str, int], number: int | None) -> str:
    other = f"clover up --port {_free_port(address[0])} ..."
    match number:
        case errno.EADDRINUSE:
            return f"{other}; who has it: ss -ltnp sport = :{address[1]}"
        case errno.EACCES:
            return f"{other}; ports below net.ipv4.ip_unprivileged_port_start (1024, as a rule) are root's"
        case _:
            return ""


def _free_port(address: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as any_port:
        try:
            any_port.bind((address, 0))
        except OSError:
            any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _show_running(chain: Chain, digest: str, directory: Path, *, as_json: bool) -> None:
    running = ledger.read(directory)
    result = directory / "up.json"
    if running is None or not result.exists():
        raise DocumentError(ledger.busy(directory))
    if running.digest != digest:
        raise DocumentError(
            Problem(
                code="CLV5005",
                where=f"chain {chain.name}",
                what=f"it is up already, from {running.source}, and what you name now differs from what runs",
                hint=f"clover down {chain.name}, then up again; or give this one another --name",
            )
        )
    value = json.loads(result.read_text(encoding="utf-8"))
    if as_json:
        output.print_json(value)
    else:
        Console(stderr=True).print(f"chain {chain.name} is up already, unchanged")
        _table(value)


def _table(result: dict[str, object]) -> None:
    workloads = result["workloads"]
    assert isinstance(workloads, list)  # noqa: S101 - our own JSON
    columns = ("function", "version", "engine", "state", "address")
    rows = [[str(row[name]) for name in columns] for row in workloads]
    screen.show(screen.table([Column(title=name.upper()) for name in columns], rows))
    ready = Text.assemble("\nchain ", (str(result["chain"]), "bold"), " is ready at ", (str(result["gateway"]), "bold"))
    screen.show([ready, f"try: curl -i {result['gateway']}/   then: clover trace latest"])
