"""What functions reach beyond their chain: a server of this machine by its name, and nothing that nobody named."""

import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import chains
from harness.chains import eventually
from harness.ports import free_port

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: out}
spec:
  gateway: {port: 8080, to: server}
  functions: {server: {type: server}}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, annotations: {clover/loopback: allow}}
spec:
  hosts: [api.example.com]
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: PORT}
  - {number: 7000, name: tcp, protocol: TCP, targetPort: PORT}
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
"""
ONLY_SERVICES = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def greeting() -> Iterator[int]:
    """Run a server on this machine's loopback; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ASKED_FOR = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: asked, annotations: {clover/loopback: allow}}
spec:
  hosts: ["*host"]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: PORT}]
  resolution: DYNAMIC_DNS
"""


def ask(command, url, *more):
    """Return status and body of a request that the server function makes."""
    done = command.call("exec", "server", "--", "curl", "-s", "-m", "10", "-w", " %{http_code}", *more, url)
    body, _, status = done.stdout.rpartition(" ")
    return status, body


TO_THE_ENTRY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out}
spec:
  hosts: ["*"]
  gateways: [out-gateway]
  http: [{route: [{destination: {host: api.example.com, port: {number: 80}}}]}]
"""


def up(command):
    """Bring the chain up; return the gateway's address."""
    file = command.root / "chain.yaml"
    file.write_text(CHAIN, encoding="utf-8")
    return command.json("up", file, "--port", str(free_port()))["gateway"]


def test_functions_reach_what_an_entry_names_and_nothing_else(fresh):
    with greeting() as port:
        up(fresh)
        assert ask(fresh, "http://api.example.com/") == ("000", "")

        fresh.ok("apply", "-", stdin=ENTRY.replace("PORT", str(port)))
        assert ask(fresh, "http://api.example.com/") == ("200", "hello")
        assert ask(fresh, "http://api.example.com:7000/") == ("200", "hello")
        assert ask(fresh, f"http://192.0.2.1:{port}/")[0] in ("503", "000")

        fresh.ok("apply", "-", stdin=ONLY_SERVICES)
        assert ask(fresh, "http://api.example.com/") == ("200", "hello")
        assert ask(fresh, "http://192.0.2.1/") == ("502", "")
        assert ask(fresh, "http://192.0.2.1:7070/") == ("000", "")
        eventually(lambda: "192.0.2.1:7070" in fresh.ok("lost"), what="the record of what ended in the black hole")

        fresh.ok("delete", "serviceentry/api")
        assert ask(fresh, "http://api.example.com/") == ("000", "")


def test_the_way_out_is_started_again_and_what_it_died_of_is_told(fresh):
    def gateway():
        return next(row for row in fresh.json("status")["workloads"] if row["workload"] == "gateway")

    with greeting() as port:
        up(fresh)
        fresh.ok("apply", "-", stdin=ENTRY.replace("PORT", str(port)))
        way_out = gateway()["companions"]["way-out"]["pid"]

        fresh.ok("exec", "gateway", "--", "kill", "-9", str(way_out))

        eventually(lambda: gateway()["restarts"] == 1 and gateway()["ready"], what="a restart")
        eventually(lambda: ask(fresh, "http://api.example.com/") == ("200", "hello"), what="the way")
    told = [(change["function"], change["method"], change["summary"]) for change in fresh.json("changes")]
    assert ("mesh", "up", "chain out came up") in told
    assert ("gateway", "restart", "gateway way-out: killed by SIGKILL, started again") in told


def test_functions_reach_the_name_that_they_ask_for_at_any_address(fresh):
    anywhere = ("--connect-to", "::240.240.0.1:80")
    with greeting() as port:
        up(fresh)
        fresh.ok("apply", "-", stdin=ASKED_FOR.replace("PORT", str(port)))

        # The one name that every machine can look up, but not in the function's own way.
        assert ask(fresh, "http://localhost/", *anywhere) == ("200", "hello")
        status, why = ask(fresh, "http://nobody-is-this-host/", *anywhere)

    assert status == "502"
    assert "nobody-is-this-host cannot be looked up" in why


@pytest.mark.parametrize("user", ["as this user", "as an ordinary user"])
def test_the_gateway_may_send_requests_out_again(user):
    prefix = chains.ORDINARY_USER if user == "as an ordinary user" and os.geteuid() == 0 else ()
    with chains.clover(prefix) as command, greeting() as port:
        gateway = up(command)
        command.ok("apply", "-", stdin=f"{ENTRY.replace('PORT', str(port))}---{TO_THE_ENTRY}")

        assert chains.get(gateway).body == b"hello"
        assert "240.240.210.183 api.example.com" in (command.run / "out" / "hosts").read_text(encoding="utf-8")
