"""Up, down, faults and what is left over: a chain's whole life, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import chains
from harness.chains import eventually, get
from harness.ports import free_port

MINIMAL = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: little}
spec:
  gateway: {port: %d, to: server}
  functions:
    server: {type: server}
"""

TWO_ADDRESSES = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: extra}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PORT, name: http-one, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
  - {port: {number: PORT, name: http-two, protocol: HTTP}, bind: 127.0.0.2, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: extra}
spec:
  hosts: ["*"]
  gateways: [extra]
  http: [{route: [{destination: {host: server, port: {number: 9180}}}]}]
"""


@pytest.fixture(params=["as this user", "as an ordinary user"])
def command(request):
    prefix = chains.ORDINARY_USER if request.param == "as an ordinary user" and os.geteuid() == 0 else ()
    with chains.clover(prefix) as command:
        yield command


def write_chain(command, text=MINIMAL, *, port=None) -> Path:
    path = command.root / "chain.yaml"
    path.write_text(text % (port or free_port()) if "%d" in text else text)
    return path


def up(command, *arguments):
    return json.loads(command.ok("up", *arguments, "--json"))


def init_of(command, chain="little") -> int:
    return json.loads((command.run / chain / "node.json").read_text())["pid"]


def leftovers(command) -> list[str]:
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(command.root) in line]
    links = [line for line in Path("/proc/net/dev").read_text().splitlines() if "bridge0" in line or "port0" in line]
    return [*chains.processes_with(str(command.root)), *mounts, *links]


def test_a_chain_comes_up_serves_and_goes_down_without_a_trace(command):
    result = up(command, write_chain(command))
    answer = get(result["gateway"], "/headers")

    assert answer.status == 200
    assert command.json("trace", answer.trace_id, "--wait", "15")["complete"]
    command.ok("down")
    assert leftovers(command) == []
    assert list(command.run.iterdir()) == []


def test_down_twice_is_no_error(command):
    up(command, write_chain(command))
    command.ok("down", "little")

    assert command.call("down", "little").returncode == 0
    assert command.call("down").returncode == 0


def test_a_killed_node_leaves_nothing_once_down_ran(command):
    up(command, write_chain(command))
    os.kill(init_of(command), signal.SIGKILL)

    eventually(lambda: not leftovers(command), what="the kernel ending the chain")
    assert command.call("status").returncode == 2
    command.ok("down")
    assert list(command.run.iterdir()) == []


def test_a_killed_node_leaves_nothing_in_the_way_of_the_next_up(command):
    path = write_chain(command)
    up(command, path)
    os.kill(init_of(command), signal.SIGKILL)

    eventually(lambda: not leftovers(command))
    assert get(up(command, path)["gateway"]).status == 200


def test_two_chains_run_at_once_and_do_not_meet(command):
    path = write_chain(command)
    first = up(command, path)
    second = up(command, path, "--name", "other", "--port", str(free_port()))

    assert get(first["gateway"]).status == get(second["gateway"]).status == 200
    several = command.call("status")
    assert several.returncode == 2
    assert "little" in several.stderr
    assert "other" in several.stderr
    assert command.json("status", "--chain", "other")["chain"] == "other"
    command.ok("down", "other")
    assert get(first["gateway"]).status == 200


def test_a_port_in_use_is_said_at_once_with_a_free_one(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = command.call("up", write_chain(command, port=taken.getsockname()[1]))

    assert done.returncode == 3
    assert "CLV2101" in done.stderr
    assert "--port" in done.stderr
    assert leftovers(command) == []


def test_a_server_that_dies_fails_the_start_with_its_last_words(fresh):
    path = write_chain(
        fresh,
        MINIMAL.replace("{type: server}", "{type: server, command: [sh, -c, 'echo cannot find my data >&2; exit 9']}"),
    )
    done = fresh.call("up", path)

    assert done.returncode == 4
    assert "cannot find my data" in done.stderr
    assert "exited with 9" in done.stderr
    assert leftovers(fresh) == []


def test_a_command_that_does_not_exist_is_named(fresh):
    path = write_chain(fresh, MINIMAL.replace("{type: server}", "{type: server, command: [no-such-program]}"))
    done = fresh.call("up", path)

    assert done.returncode in (3, 4)
    assert "no-such-program" in done.stderr
    assert leftovers(fresh) == []


def test_a_chain_that_does_not_check_starts_nothing(fresh):
    done = fresh.call("up", write_chain(fresh, MINIMAL.replace("to: server}", "to: sever}")))

    assert done.returncode == 2
    assert "did you mean 'server'" in done.stderr
    assert not fresh.run.exists() or list(fresh.run.iterdir()) == []


def test_a_missing_engine_is_said_with_the_command_that_brings_it(fresh):
    """An engine is missing where its program is hidden: a mount namespace of our own covers it."""
    hidden = 'mount --bind /dev/null /usr/sbin/nginx 2>/dev/null; mount -t tmpfs none /usr/sbin; exec "$@"'
    fresh.prefix = ("unshare", "--mount", "--map-root-user", "sh", "-c", hidden, "sh")
    done = fresh.call("up", write_chain(fresh))

    assert done.returncode == 3
    assert "CLV2001" in done.stderr
    assert "apt-get install" in done.stderr


def test_a_kernel_without_user_namespaces_is_one_clear_message(fresh):
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-user=1000 -- "$@"'
    # The limit is set inside a user namespace of the test's own, where it binds nobody else. It counts the namespace
    # that makes us an ordinary user, too: so that one is there before.
    forbid = 'exec "$@"'
    fresh.prefix = (
        "unshare", "--user", "--map-root-user", "sh", "-c",
        "echo 1 > /proc/sys/user/max_user_namespaces && exec unshare --user --map-user=1000 -- sh -c '" + forbid
        + "' sh \"$@\"", "sh",
    )  # fmt: skip
    done = fresh.call("up", write_chain(fresh))

    assert done.returncode == 3
    assert "namespace" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_refuses_spans_says_so_and_loses_no_request(fresh):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    store = fresh.state / "little"
    store.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(store)], check=True)
    try:
        result = up(fresh, write_chain(fresh))
        (store / "filler").write_bytes(b"x" * 1024)
        with (store / "filler").open("ab") as filler:
            try:
                while True:
                    filler.write(b"x" * 65536)
                    filler.flush()
            except OSError:
                pass

        def told():
            assert all(get(result["gateway"], f"/?{n}").status == 200 for n in range(20))
            return [problem for problem in fresh.json("status")["problems"] if problem["code"].startswith("CLV6")]

        assert eventually(told)
        (store / "filler").unlink()
        answer = eventually(lambda: _traced(fresh, result), what="recovery")
        assert answer["complete"]
    finally:
        fresh.call("down", "--all")
        subprocess.run(["umount", str(store)], check=True)


def _traced(command, result):
    done = command.call("trace", get(result["gateway"]).trace_id, "--wait", "3", "--json")
    trace = json.loads(done.stdout) if done.returncode == 0 else {}
    return trace if trace.get("complete") else None


def test_a_sidecar_that_dies_under_load_comes_back_and_requests_succeed_again(fresh):
    result = up(fresh, write_chain(fresh))
    init = init_of(fresh)
    row = next(row for row in fresh.json("status")["workloads"] if row["function"] == "server")
    inside = ["nsenter", f"--target={init}", *(["--user", "--preserve-credentials"] if os.geteuid() else [])]
    for number in range(200):
        if number == 50:
            subprocess.run([*inside, "--mount", "--pid", "--", "kill", "-9", str(row["sidecar"]["pid"])], check=True)
        assert get(result["gateway"], f"/?{number}").status in (200, 503)

    eventually(lambda: all(row["ready"] for row in fresh.json("status")["workloads"]))
    assert all(get(result["gateway"], f"/?after{number}").status == 200 for number in range(20))


def test_of_two_commands_that_bring_a_chain_up_at_once_one_succeeds_and_the_other_says_so(fresh):
    path = write_chain(fresh)
    with ThreadPoolExecutor() as threads:
        ended = list(threads.map(lambda _: fresh.call("up", path), range(2)))

    assert sorted(one.returncode for one in ended) in ([0, 2], [0, 0])  # [0, 0]: the second came after the first
    assert all("CLV5004" in one.stderr for one in ended if one.returncode)
    assert fresh.json("status")["state"] == "ready"


def test_down_takes_nothing_that_is_no_chains(fresh):
    other = fresh.run / "photos" / "cat.jpg"
    other.parent.mkdir(parents=True)
    other.touch()

    fresh.ok("down", "--all", "--purge")
    assert fresh.call("down", "photos").returncode == 3
    assert fresh.call("up", write_chain(fresh), "--name", "photos").returncode == 3
    assert other.exists()


def test_one_port_can_be_opened_at_two_addresses_while_the_chain_runs(fresh):
    up(fresh, write_chain(fresh))
    port = free_port()
    policy = fresh.root / "gateway.yaml"
    policy.write_text(TWO_ADDRESSES.replace("PORT", str(port)))
    fresh.ok("apply", policy)

    assert get(f"http://127.0.0.1:{port}").status == get(f"http://127.0.0.2:{port}").status == 200


def test_a_gateway_listens_at_an_address_that_only_the_host_has(command):
    address = address_of_the_host()
    path = write_chain(command, MINIMAL.replace("to: server}", f"address: {address}, to: server}}"))

    assert get(up(command, path)["gateway"]).status == 200


def address_of_the_host() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel chooses the address to send from
        except OSError:
            pytest.skip("this machine has no address but that of its loopback device")
        return probe.getsockname()[0]
