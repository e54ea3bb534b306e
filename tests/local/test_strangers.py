"""A function that wants the identity of another: what it tries as the user that everything of the chain runs as."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from harness import chains
from harness.chains import ORDINARY_USER, eventually, get
from harness.ports import free_port

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {{name: broken-into}}
spec:
  gateway: {{to: thief}}
  functions:
    thief: {{type: server, command: [{python}, thief.py], port: 9180}}
"""

THIEF = """
import contextlib, ctypes, http.server, json, os, pathlib, signal, socket

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, CLONE_NEWNET = 0x4206, 0x40000000


def sidecars():
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == "envoy":
                yield int(entry.name)


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def comes_to_the_door():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect("\\0clover-control-plane")
        connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(9))
        if not connection.recv(1):
            raise ConnectionResetError("sent away")


def enters_another_network():
    (other,) = (line.split()[4] for line in open("/proc/self/mountinfo") if "/netns/gateway " in line)
    with open(other, "rb") as network:
        checked(libc.setns(network.fileno(), CLONE_NEWNET))


def mounts_over_a_program():
    checked(libc.mount(b"/etc", b"/usr", None, 0x1000, None))


def traces(pid):
    checked(libc.ptrace(PTRACE_SEIZE, pid, 0, 0))


ATTEMPTS = {
    "comes to the door": comes_to_the_door,
    "enters another network": enters_another_network,
    "mounts over a program": mounts_over_a_program,
}
for number, pid in {"the node": 1, "a sidecar": next(sidecars(), 0)}.items():
    ATTEMPTS |= {
        f"traces {number}": lambda pid=pid: traces(pid),
        f"reads the memory of {number}": lambda pid=pid: open(f"/proc/{pid}/mem", "rb").close(),
        f"opens what {number} has open": lambda pid=pid: open(f"/proc/{pid}/fd/0", "rb").close(),
        f"looks for the files of {number}": lambda pid=pid: os.listdir(f"/proc/{pid}/root/"),
    }


class Thief(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        result = {}
        if self.path.startswith("/kill/"):
            os.kill(int(self.path.rpartition("/")[2]), signal.SIGKILL)
        for name, attempt in ATTEMPTS.items():
            try:
                attempt()
                result[name] = "done"
            except OSError as failure:
                result[name] = type(failure).__name__
        body = json.dumps(result).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", 9180), Thief).serve_forever()
"""


@pytest.fixture(scope="module", params=[(), ORDINARY_USER], ids=["root", "ordinary-user"])
def chain(request, tmp_path_factory):
    """A chain whose server is a thief."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "chain.yaml").write_text(CHAIN.format(python=sys.executable))
    (folder / "thief.py").write_text(THIEF)
    with chains.clover(request.param) as command:
        up = json.loads(command.ok("up", folder / "chain.yaml", "--port", str(free_port()), "--json"))
        yield SimpleNamespace(command=command, gateway=up["gateway"], log=command.run / "broken-into" / "node.log")


def test_a_function_gets_neither_a_key_nor_into_who_has_one(chain):
    tried = json.loads(get(chain.gateway, "/").body)

    assert len(tried) == 11
    assert tried.pop("comes to the door") in ("ConnectionResetError", "BrokenPipeError")
    assert {name: how for name, how in tried.items() if how != "PermissionError"} == {}


def test_that_a_function_tried_is_in_the_log_and_does_not_fill_it(chain):
    for _ in range(20):
        get(chain.gateway, "/")

    lines = [line for line in chain.log.read_text().splitlines() if "CLV4190" in line]
    assert 1 <= len(lines) <= 5
    assert "in the place of the sidecar of 'thief'" in lines[0]


def test_a_sidecar_that_is_killed_comes_back_as_itself(chain):
    before = chain.command.ok("proxy", "thief", "certificates", "-o", "json")
    status = chain.command.json("status")
    pid = next(one for one in status["workloads"] if one["function"] == "thief")["sidecar"]["pid"]
    get(chain.gateway, f"/kill/{pid}")  # whose answer nobody carries: the gateway says so

    def is_back():
        row = next(one for one in chain.command.json("status")["workloads"] if one["function"] == "thief")
        return row["sidecar"]["restarts"] == 1 and row["ready"] and row["sidecar"]["acknowledged"]

    eventually(is_back, what="the sidecar", within_s=30)
    assert get(chain.gateway, "/").status == 200
    assert chain.command.ok("proxy", "thief", "certificates", "-o", "json") == before
