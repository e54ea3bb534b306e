"""Can this machine run a chain? Every question is really tried, in scratch namespaces that vanish with the command.

`problems_that_stop_a_chain` is the quick form for `clover up`; `examine` asks everything, for `clover doctor`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.doctor.checks import Check
from clover.errors import HostError, Problem
from clover.kit import places
from clover.kit.requirements import SYSTEM_PATH, Requirement, missing

GATEWAY_PORT = 8080
SOCKET_PATH_BYTES = 107
"""What the kernel takes of a Unix socket's path."""
NAME_BYTES = 60
"""Room that the names of a chain and of a workload want below the run folder, with a little to spare."""
MEMORY_MB = 1500
"""What the sample chain takes, with its telemetry store and the proxies."""
DISK_MB = 500
TIMEOUT_S = 20.0

TOOLS = (
    Requirement(name="unshare", package="util-linux", needed_for="making namespaces"),
    Requirement(name="nsenter", package="util-linux", needed_for="starting processes in namespaces"),
    Requirement(name="setpriv", package="util-linux", needed_for="taking capabilities from functions"),
    Requirement(name="mount", package="mount", needed_for="giving a chain its own /proc"),
    Requirement(name="ip", package="iproute2", needed_for="the chain's network"),
    Requirement(name="nft", package="nftables", needed_for="sending traffic through sidecars"),
)
"""What every chain needs, whatever its engines."""

MARK_OPTION = 36
"""SO_MARK, which Python 3.11 has no name for."""
_MARK_A_SOCKET = f"import socket; socket.socket().setsockopt(socket.SOL_SOCKET, {MARK_OPTION}, 1337)"
_REDIRECT = """\
table ip clover_doctor {
    chain output {
        type nat hook output priority -100; policy accept;
        meta mark 1337 counter return
        meta l4proto tcp counter redirect to :15001
    }
}
"""
_CABLE = "link add bridge0 type bridge\nlink add port0 type veth peer name eth0\nlink set port0 master bridge0 up\n"
_MOUNT_PROC = ("mount", "-t", "proc", "proc", "/proc")

_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Kernel switches that forbid user namespaces to ordinary users: file, forbidding value, and what allows it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial command ended."""

    ok: bool
    words: str
    """The last line that it printed."""


def problems_that_stop_a_chain(
    requirements: Iterable[Requirement], *, rootless: bool | None = None
) -> tuple[Problem, ...]:
    """Return why no chain could run here, within some 20 ms; `rootless` None means: as this process is."""
    rootless = os.geteuid() != 0 if rootless is None else rootless
    found = tuple(missing((*TOOLS, *requirements)))
    if any(problem.where in {tool.name for tool in TOOLS} for problem in found):
        return found
    # One trial of everything at once; only its failure is worth the time to find out which part it was.
    if tried(_MOUNT_PROC, rootless=rootless).ok:
        return found
    return (*found, *_first_failure(rootless=rootless))


def examine(
    requirements: Iterable[Requirement], *, others: Iterable[Requirement] = (), envoy: Callable[[], Path]
) -> Iterator[Check]:
    """
    Yield the answer to every question. `envoy` finds the proxy's binary, or raises HostError.

    `requirements` are those of the engines that do what they do by default, `others` those of the engines that a chain
    can do without.
    """
    rootless = os.geteuid() != 0
    yield _python()
    yield _programs("tools", TOOLS)
    yield from kernel(rootless=rootless)
    yield _envoy(envoy)
    wanted = tuple(requirements)
    yield _programs("engines", wanted)
    if more := tuple(other for other in others if other.name not in {requirement.name for requirement in wanted}):
        yield _programs("other engines", more, severity="warning")
    yield socket_paths(places.run_root())
    yield port(GATEWAY_PORT)
    yield memory(Path("/proc/meminfo").read_text(encoding="ascii"))
    yield _disk(places.state_root())


def kernel(*, rootless: bool) -> Iterator[Check]:
    """Yield what the kernel allows. Without namespaces the rest is not tried, and says so."""
    usable = True
    for name, ask in _KERNEL:
        if not usable:
            yield Check(name=name, evidence="not tried: needs namespaces", skipped=True)
            continue
        check = ask(rootless=rootless)
        yield check
        usable = check.outcome == "ok" or ask not in (user_namespaces, namespaces)


def tried(argv: Sequence[str], *, rootless: bool, stdin: str = "") -> Outcome:
    """Run a command as the first process of namespaces of its own, like a node's."""
    user = ("--user", "--map-root-user") if rootless else ()
    return _run(("unshare", *user, "--mount", "--pid", "--net", "--fork", "--kill-child", "--", *argv), stdin=stdin)


def user_namespaces(*, rootless: bool) -> Check:
    """Answer whether this user may make user namespaces; root needs none."""
    name = "user namespaces"
    if not rootless:
        return Check(name=name, evidence="not needed: running as root")
    outcome = _run(("unshare", "--user", "--map-root-user", "--", "true"))
    if outcome.ok:
        return Check(name=name, evidence="unshare --user works")
    forbidding = [(path, value, cure) for path, value, cure in _SWITCHES if _read(path) == value]
    why = "; ".join(f"{path} is {value}" for path, value, _ in forbidding) or outcome.words
    return _bad(
        name,
        "CLV2201",
        f"this kernel does not let an ordinary user make user namespaces: {why}",
        " && ".join(cure for *_, cure in forbidding)
        or "run Clover as root, or outside the container that forbids them",
    )


def namespaces(*, rootless: bool) -> Check:
    """Answer whether mount, process-id and network namespaces can be made."""
    outcome = tried(("true",), rootless=rootless)
    if outcome.ok:
        return Check(name="namespaces", evidence="mount, process-id and network namespaces can be made")
    return _bad(
        "namespaces",
        "CLV2202",
        f"mount, process-id and network namespaces cannot be made: {outcome.words}",
        "in a container: give it the capabilities SYS_ADMIN and NET_ADMIN, or run Clover on the host",
    )


def own_proc(*, rootless: bool) -> Check:
    """Answer whether a new process-id namespace may mount its /proc."""
    outcome = tried(_MOUNT_PROC, rootless=rootless)
    if outcome.ok:
        return Check(name="own /proc", evidence="can be mounted")
    return _bad(
        "own /proc",
        "CLV2203",
        f"a namespace cannot mount its own /proc: {outcome.words}",
        "in a container: run it with an unmasked /proc (docker run --security-opt systempaths=unconfined)",
    )


def cables(*, rootless: bool) -> Check:
    """Answer whether a bridge and a veth pair can be made."""
    outcome = tried(("ip", "-batch", "-"), rootless=rootless, stdin=_CABLE)
    if outcome.ok:
        return Check(name="bridge and veth", evidence="can be made")
    return _bad(
        "bridge and veth",
        "CLV2204",
        f"the kernel does not make a bridge with a veth pair: {outcome.words}",
        "sudo modprobe bridge veth",
    )


def redirect(*, rootless: bool) -> Check:
    """Answer whether nftables can redirect connections, as interception does."""
    outcome = tried(("nft", "-f", "-"), rootless=rootless, stdin=_REDIRECT)
    if outcome.ok:
        return Check(name="nftables redirect", evidence="a rule set like a sidecar's is accepted")
    return _bad(
        "nftables redirect",
        "CLV2205",
        f"nftables does not take a redirect rule: {outcome.words}",
        "sudo modprobe -a nf_tables nft_redir nft_chain_nat",
    )


def socket_mark(*, rootless: bool) -> Check:
    """Answer whether sockets can carry the mark that tells a sidecar's own connections apart."""
    outcome = tried((sys.executable, "-I", "-S", "-c", _MARK_A_SOCKET), rootless=rootless)
    if outcome.ok:
        return Check(name="socket marks", evidence="SO_MARK can be set")
    return _bad(
        "socket marks",
        "CLV2206",
        f"SO_MARK cannot be set: {outcome.words}",
        "in a container: give it the capability NET_ADMIN",
    )


def socket_paths(run_root: Path) -> Check:
    """Answer whether the run folder leaves room for the names below it."""
    room = SOCKET_PATH_BYTES - len(os.fsencode(run_root)) - len("//w//admin.sock")
    evidence = f"{run_root} leaves {room} bytes for the names of a chain and a workload"
    if room >= NAME_BYTES:
        return Check(name="socket paths", evidence=evidence)
    return _bad(
        "socket paths",
        "CLV2209",
        f"{evidence}, expected {NAME_BYTES}: a Unix socket's path has at most {SOCKET_PATH_BYTES}",
        "export CLOVER_RUN=/tmp/clover",
        severity="error" if room < 2 else "warning",
        evidence=evidence,
    )


def port(number: int) -> Check:
    """Answer whether a gateway could listen on the usual port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", number))
        except OSError as failure:
            return _bad(
                "gateway port",
                "CLV2211",
                f"127.0.0.1:{number} is not free: {failure.strerror}",
                f"clover up --port, or see who has it: ss -ltnp 'sport = :{number}'",
                severity="warning",
            )
    return Check(name="gateway port", evidence=f"127.0.0.1:{number} is free")


def memory(meminfo: str) -> Check:
    """Answer from the text of /proc/meminfo whether there is enough memory for the sample chain."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    available = int(fields.get("MemAvailable", "0").split()[0]) // 1024
    evidence = f"{available:,} MB available"
    if available >= MEMORY_MB:
        return Check(name="memory", evidence=evidence)
    return _bad(
        "memory",
        "CLV2208",
        f"{evidence}, the sample chain wants {MEMORY_MB:,} MB",
        "end other programs, or run a smaller chain",
        severity="warning",
        evidence=evidence,
    )


_KERNEL: tuple[tuple[str, Callable[..., Check]], ...] = (
    ("user namespaces", user_namespaces),
    ("namespaces", namespaces),
    ("own /proc", own_proc),
    ("bridge and veth", cables),
    ("nftables redirect", redirect),
    ("socket marks", socket_mark),
)


def _first_failure(*, rootless: bool) -> tuple[Problem, ...]:
    return next((check.problems for check in kernel(rootless=rootless) if check.problems), ())


def _python() -> Check:
    # An older Python never gets as far as this line: the package does not install there.
    return Check(name="python", evidence=f"Python {'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def _programs(name: str, requirements: tuple[Requirement, ...], *, severity: str = "error") -> Check:
    problems = tuple(missing(requirements, severity=severity))
    wanted = dict.fromkeys(requirement.name for requirement in requirements)
    evidence = ", ".join(wanted) if not problems else f"missing: {', '.join(problem.where for problem in problems)}"
    return Check(name=name, evidence=evidence or "none needed", problems=problems)


def _envoy(find: Callable[[], Path]) -> Check:
    try:
        binary = find()
    except HostError as failure:
        return Check(name="envoy", evidence="not found", problems=failure.problems)
    outcome = _run((str(binary), "--version"))
    if outcome.ok:
        version = next((part for part in outcome.words.split("/") if part.count(".") == 2), outcome.words)
        return Check(name="envoy", evidence=f"{version}, {binary}")
    return _bad(
        "envoy",
        "CLV2207",
        f"{str(binary)!r} does not run: {outcome.words}",
        "script/bootstrap (Envoy's builds are for x86_64 and aarch64 with glibc 2.31 or newer)",
    )


def _disk(folder: Path) -> Check:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free // 1_000_000
    evidence = f"{free:,} MB free for telemetry below {folder}"
    if free >= DISK_MB:
        return Check(name="disk", evidence=evidence)
    return _bad(
        "disk",
        "CLV2212",
        f"{evidence}, expected {DISK_MB}",
        "make room, or export CLOVER_STATE=/a/larger/disk",
        severity="warning",
        evidence=evidence,
    )


def _bad(name: str, code: str, what: str, hint: str, *, severity: str = "error", evidence: str = "") -> Check:
    problem = Problem(code=code, where=name, what=what, hint=hint, severity=severity)
    return Check(name=name, evidence=evidence or what, problems=(problem,))


def _run(argv: Sequence[str], *, stdin: str = "") -> Outcome:
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return Outcome(ok=False, words=f"{argv[0]}: not installed")
    except subprocess.TimeoutExpired:
        return Outcome(ok=False, words=f"{argv[0]}: no end within {TIMEOUT_S:.0f} s")
    except OSError as failure:
        return Outcome(ok=False, words=f"{argv[0]}: {failure.strerror}")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return Outcome(ok=done.returncode == 0, words=lines[-1] if lines else f"exit code {done.returncode}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
