"""The story that `script/demo` tells; every command in it is one that a user could type."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import shlex
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

CLOVER = str(Path(sys.executable).with_name("clover"))
CHAIN = "examples/sdc"
REQUESTS = 300
V2_SERVERS = ("clover-server4", "clover-server5")
CONNECTIONS = 4
TOLERANCE = 0.09
"""How far a share of 300 requests may be from the weight that was asked for, before something is wrong."""
ATTACK = "/products?id=" + quote("1' OR '1'='1' -- ")
THROUGH = "/headers"
"""A path whose answers no cache may keep: requests for it go all the way to a server."""
SCANNER = "asafaweb.com"
RULE = "9000100"
CLIENT = "127.0.0.7"
"""Another address of this machine: to the chain, another client."""
MOST_ATTACKS = 50
MOST_UNSAID_S = 5.0
MOST_BLOCKED_S = 40
V1_SERVERS = ("clover-server1", "clover-server2", "clover-server3")
"""Version 1 of the load balancer sends to the cache, and so to these; version 2 sends to the others."""

SPLIT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: http-lb}
spec:
  hosts: [http-lb]
  http:
  - route:
    - destination: {host: http-lb, subset: v1}
      weight: 90
    - destination: {host: http-lb, subset: v2}
      weight: 10
"""

TTY = sys.stdout.isatty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the chain answered to one request."""

    path: str
    status: int
    server: str
    """The server that answered; '' when the request did not get that far."""
    trace: str

    @property
    def version(self) -> str:
        """The version of the load balancer that the request went through; '' if through none."""
        return ("v1" if self.server in V1_SERVERS else "v2") if self.server else ""


class UnexpectedError(Exception):
    """The story cannot go on; the message says why."""


def main() -> int:
    """Tell the story, and return 1 if something was not as told."""
    parser = argparse.ArgumentParser(prog="script/demo", description="Show what Clover does.")
    parser.add_argument("--keep", action="store_true", help="leave the chain up")
    keep = parser.parse_args().keep
    doubts: list[str] = []
    mine = clover("status", "--chain", "sdc", quiet=True).returncode != 0

    title("1. One command brings the whole chain up: functions, sidecars, control plane, telemetry")
    up = ["up", CHAIN] if not mine or free(8080) else ["up", CHAIN, "--port", str(any_port())]
    if typed(*up) != 0:
        return 1
    try:
        tell(doubts)
    except UnexpectedError as failure:
        doubts.append(str(failure))
        typed("status", "--chain", "sdc")
    finally:
        title("8. Where to look next" if keep else "8. Down: no process, interface, rule or mount is left")
        if keep:
            print("\n".join(f"   {line}" for line in NEXT))
        elif mine:
            typed("down", "sdc")
        else:
            print("   the chain was up before this demo, so it stays up")
    if not keep and not doubts:
        print("\nTo look around yourself: script/demo --keep")
    for doubt in doubts:
        print(f"script/demo: not as expected: {doubt}", file=sys.stderr)
    return 1 if doubts else 0


def tell(doubts: list[str]) -> None:
    """Tell what happens while the chain is up; what is not as it should be goes to `doubts`."""
    gateway = json.loads(clover("status", "--chain", "sdc", "--json").stdout)["gateway"]
    address = re.sub("^https?://", "", gateway)

    title(f"2. {REQUESTS} varied requests cross it; one more is an attack")
    before = send(address, REQUESTS)
    table("before", before)
    if wrong := [answer for answer in before if not answer.server]:
        doubts.append(f"{len(wrong)} of {REQUESTS} requests never reached a server")
    attack = request(address, "GET", ATTACK, {})
    print(f"   the attack, GET {ATTACK}\n   was answered with {attack.status}")
    if attack.status != 403:
        doubts.append(f"the attack was answered with {attack.status}, expected 403 from the firewall")

    title("3. The mesh is changed while it runs, with Istio's own words: 90% to v1, 10% to v2")
    print("".join(f"   {line}\n" for line in SPLIT.splitlines()))
    if typed("apply", "-", "--chain", "sdc", stdin=SPLIT) != 0:
        doubts.append("the VirtualService was not applied")
    after = send(address, REQUESTS)
    print()
    table("after", after)
    print()
    typed("status", "--chain", "sdc")
    share = shares(after)["v1"]
    if abs(share - 0.9) > TOLERANCE:
        doubts.append(f"v1 got {share:.0%} of the requests, expected 90%")

    title("4. One request, from the gateway to the server: through v1 (HAProxy and the cache), and through v2 (nginx)")
    for version in ("v1", "v2"):
        found = [one for one in (*after, *before) if (one.version, one.path, one.status) == (version, THROUGH, 200)]
        if found:
            follow(found[0].trace, doubts)
        else:
            doubts.append(f"no request went through {version}")

    title("5. The attack: who blocked it, and why")
    follow(attack.trace, doubts, finding="blocked by the firewall's rules")

    title("6. A function is changed while requests go on: its ambassador is asked over gRPC, through the same mesh")
    change_a_function(address, doubts)

    title("7. The loop is closed: the intrusion detection system sees a client, and the firewall refuses it for a time")
    close_the_loop(address, doubts)


def change_a_function(address: str, doubts: list[str]) -> None:
    """Move load balancer v2 to one server, and back."""
    typed("control", "http-lb@v2", "show", "--chain", "sdc")
    print()
    for servers in (V2_SERVERS[1:], V2_SERVERS):
        backends = ",".join(servers)
        if typed("control", "http-lb@v2", "set", f"backends={backends}", "--chain", "sdc") != 0:
            doubts.append(f"http-lb@v2 was not changed to {backends}")
        answers = [request(address, "GET", THROUGH, {}) for _ in range(REQUESTS // 3)]
        reached = Counter(answer.server for answer in answers if answer.version == "v2")
        print(f"   {len(answers)} requests; those through v2 went to {', '.join(sorted(reached)) or 'nobody'}\n")
        if {answer.status for answer in answers} != {200} or not set(reached) <= set(servers):
            doubts.append(f"after the change to {backends}, v2 reached {dict(reached)}")


def close_the_loop(address: str, doubts: list[str]) -> None:
    """Add a rule, trip it, see the alert, the block and its end."""
    add = ["ids", "rule", "add", "--user-agent", SCANNER, "--message", "Site scanner", "--id", RULE, "--chain", "sdc"]
    if typed(*add) != 0:
        doubts.append("the rule was not added")
    print()
    answers = []
    for _ in range(MOST_ATTACKS):
        answers.append(request(address, "GET", THROUGH, {"User-Agent": SCANNER}, source=CLIENT))
        if answers[-1].status == 403:
            break
        time.sleep(0.1)
    print(f"   a client from {CLIENT} with the User-Agent {SCANNER} was answered with", end=" ")
    print(", ".join(str(answer.status) for answer in answers))
    print(f"   another client: {request(address, 'GET', THROUGH, {}).status}")
    if answers[-1].status != 403:
        doubts.append(f"{len(answers)} attacks did not make the firewall refuse {CLIENT}")
    print()
    typed("firewall", "list", "--chain", "sdc")
    # The third alert is the one that is too many: see blockPolicy.threshold in the chain file.
    follow(answers[:3][-1].trace, doubts, finding=f"blocked {CLIENT}")
    print()
    typed("alerts", "--since", "1m", "--chain", "sdc")
    print()
    print(f"   waiting for the block to end by itself (blockPolicy.duration in {CHAIN}/chain.yaml) ...", flush=True)
    deadline = time.monotonic() + MOST_BLOCKED_S
    while request(address, "GET", THROUGH, {}, source=CLIENT).status == 403 and time.monotonic() < deadline:
        time.sleep(0.25)
    status = request(address, "GET", THROUGH, {}, source=CLIENT).status
    print(f"   the client from {CLIENT} is answered with {status} again\n")
    if status != 200:
        doubts.append(f"the block of {CLIENT} did not end: {status}")
    typed("changes", "--since", "5m", "--chain", "sdc")
    print()
    typed("ids", "rule", "remove", RULE, "--chain", "sdc")


NEXT = (
    "clover status --watch            rate, errors and latency of every function",
    "clover traces --status 403       find requests; --service, --min-duration, --since, --attribute k=v",
    "clover trace latest              the last request, hop by hop",
    "clover logs access-control -f    a function's own words",
    "clover get -o yaml               the Istio resources in force; change them with clover apply",
    "clover control http-lb@v2 show   what a function is told; `set`, `apply FILE`, `watch` change and follow it",
    "clover alerts -f                 what the intrusion detection system sees",
    "clover changes                   what was changed, when, and what came of it",
    "clover proxy http-lb@v1 routes   what a sidecar really has",
    "clover exec http-lb@v1 -- ip a   a shell's view of a function's network",
    "clover down                      take it all down",
    "",
    f"The command is {Path(CLOVER).relative_to(Path.cwd())}",
)


def variety(count: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield method, path and headers of requests that differ, the same ones in every run."""
    dice = random.Random(7)  # noqa: S311 - variety, no secret
    for number in range(count):
        path = dice.choices(
            [
                "/",
                f"/?page={number}",
                "/headers",
                "/bytes/1k",
                "/bytes/10k",
                "/status/200",
                "/status/404",
                "/status/500",
            ],
            [20, 30, 15, 10, 10, 10, 3, 2],
        )[0]
        method = dice.choices(["GET", "HEAD"], [19, 1])[0]
        host = dice.choice(["shop.example", "www.shop.example", "api.shop.example"])
        yield method, path, {"Host": host, "User-Agent": dice.choice(["Mozilla/5.0 (demo)", "demo-app/1.4"])}


def send(address: str, count: int) -> list[Answer]:
    """Send varied requests over a few connections' worth of threads."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(lambda one: request(address, *one), variety(count)))


def request(address: str, method: str, path: str, headers: dict[str, str], *, source: str = "") -> Answer:
    """Send one request through the gateway, from the address `source` ('': whichever)."""
    connection = http.client.HTTPConnection(address, timeout=10, source_address=(source, 0) if source else None)
    try:
        connection.request(method, path, headers={"Host": "shop.example", **headers})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as failure:
        raise UnexpectedError(f"{method} {path} got no answer from {address}: {failure!r}") from None
    finally:
        connection.close()
    _, trace, *_ = f"{answer.getheader('traceresponse', '')}-".split("-")
    return Answer(path=path, status=answer.status, server=answer.getheader("x-served-by") or "", trace=trace)


def shares(answers: Sequence[Answer]) -> dict[str, float]:
    """Return which share of the requests went through each version."""
    counts = Counter(answer.version for answer in answers if answer.version)
    return {version: counts[version] / max(counts.total(), 1) for version in ("v1", "v2")}


def table(moment: str, answers: Sequence[Answer]) -> None:
    """Print the measured split of the load balancer's versions."""
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(Counter(a.status for a in answers).items()))
    print(f"   {len(answers)} requests answered: {statuses}")
    for version, share in shares(answers).items():
        print(f"   {moment:>6}  http-lb {version}  {share:6.1%}  {'█' * round(share * 40)}")


def trace(key: str) -> dict[str, Any]:
    """Return a trace as the command prints it for programs."""
    found: dict[str, Any] = json.loads(clover("trace", key, "--chain", "sdc", "--wait", "5", "--json").stdout)
    return found


def follow(key: str, doubts: list[str], *, finding: str = "") -> None:
    """Print one trace, and doubt it when it is not complete or lacks what it should say."""
    print()
    command = ["trace", key, "--chain", "sdc", "--wait", "10"]
    # What a function says of a request may be stored a second after the request's spans.
    deadline = time.monotonic() + MOST_UNSAID_S
    while (unsaid := finding not in clover(*command).stdout) and time.monotonic() < deadline:
        time.sleep(0.25)
    typed(*command)
    if not trace(key)["complete"]:
        doubts.append(f"trace {key} is not complete")
    if unsaid:
        doubts.append(f"trace {key} does not say {finding!r}")


def free(port: int) -> bool:
    """Tell whether the gateway could listen on the port."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return attempt.connect_ex(("127.0.0.1", port)) != 0


def any_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def clover(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints. Raises UnexpectedError if it fails, unless that is fine (`quiet`)."""
    errors = subprocess.DEVNULL if quiet else None
    done = subprocess.run([CLOVER, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode != 0 and not quiet:
        raise UnexpectedError(f"clover {' '.join(arguments)} ended with {done.returncode}")
    return done


def typed(*arguments: str, stdin: str | None = None) -> int:
    """Show a command as a user would type it, run it in front of them, and return its exit code."""
    shown = shlex.join(
        argument for argument in arguments if argument not in ("--chain", "sdc") or arguments[0] == "down"
    )
    print(f"{style('$ clover ' + shown, '1')}", flush=True)
    return subprocess.run([CLOVER, *arguments], input=stdin, text=True, check=False).returncode


def title(text: str) -> None:
    """Print the headline of a step."""
    print(f"\n{style(text, '1;32')}\n", flush=True)


def style(text: str, code: str) -> str:
    """Return the text in a colour, where somebody can see it."""
    return f"\x1b[{code}m{text}\x1b[0m" if TTY else text


if __name__ == "__main__":
    sys.exit(main())
