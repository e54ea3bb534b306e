"""Who is who in a running chain: identities, how they are kept, and who may call whom."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import calling, chains, load
from harness.chains import eventually, get
from harness.ports import free_port

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: known}
spec:
  gateway: {to: waf}
  mesh: {certificateLifetime: 8s}
  functions:
    waf: {type: firewall, to: lb, mirrorTo: ids}
    ids: {type: ids}
    lb: {type: load-balancer, to: web}
    web: {type: server}
"""

SKIPS = """
import http.client
connection = http.client.HTTPConnection("web", 9180)
connection.request("GET", "/skipped")
print(connection.getresponse().status)
"""
"""Asks the server without going through the load balancer."""


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A chain whose certificates live for eight seconds: renewed after less than four, with time for a busy machine."""
    file = tmp_path_factory.mktemp("chain") / "chain.yaml"
    file.write_text(CHAIN)
    with chains.clover() as command:
        up = json.loads(command.ok("up", file, "--port", str(free_port()), "--json"))
        yield SimpleNamespace(command=command, gateway=up["gateway"])


def call(known, workload, target, method):
    """Call an ambassador from within a workload; return the gRPC status."""
    done = subprocess.run(
        [sys.executable, "-m", "clover", "exec", workload, "--", sys.executable, calling.__file__, target, method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=known.command.env(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["code"]


def certificate(known, function):
    """Return names, serial and end of the certificate that a sidecar proves its identity with."""
    answer = json.loads(known.command.ok("proxy", function, "certificates", "-o", "json"))
    (one,) = {
        (entry["subject_alt_names"][0]["uri"], entry["serial_number"], entry["expiration_time"])
        for context in answer["certificates"]
        for entry in context.get("cert_chain", ())
    }
    return one


def test_every_sidecar_proves_its_own_identity(known):
    for function in ("gateway", "waf", "ids", "lb", "web"):
        assert certificate(known, function)[0] == f"spiffe://cluster.local/ns/default/sa/{function}"


def test_certificates_are_renewed_before_they_end_and_no_request_notices(known):
    before = certificate(known, "lb")
    with load.running(known.gateway, rate=50) as requests:
        for _ in range(3):
            eventually(lambda seen=before: certificate(known, "lb")[1] != seen[1], what="a new certificate")
            before = certificate(known, "lb")
        requests.wait_for(50)

    requests.check_nothing_was_lost()


def test_no_key_is_in_any_file(known):
    get(known.gateway, "/")
    for path in (*known.command.run.rglob("*"), *known.command.state.rglob("*")):
        if path.is_file() and not path.is_socket():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("caller", "target", "method", "allowed"),
    [
        ("control-agent", "waf:50054", "Get", True),
        ("control-agent", "web:50054", "Get", True),
        ("ids", "waf:50054", "ReportAlerts", True),
        ("ids", "waf:50054", "Apply", False),
        ("ids", "waf:50054", "Block", False),
        ("web", "waf:50054", "ReportAlerts", False),
        ("web", "lb:50054", "Get", False),
        ("waf", "waf:50054", "Get", False),
    ],
)
def test_only_the_control_agent_calls_ambassadors_and_only_the_ids_reports_alerts(
    known, caller, target, method, allowed
):
    code = call(known, caller, target, method)

    assert (code != "PERMISSION_DENIED") == allowed, code


def test_whoever_is_not_the_previous_hop_is_refused_and_that_is_told(known):
    assert known.command.ok("exec", "waf", "--", sys.executable, "-c", SKIPS).strip() == "403"

    def told():
        found = known.command.json("lost", "--function", "web")
        return [one["why"] for one in found if one["what"] == "GET /skipped"]

    assert "no AuthorizationPolicy" in eventually(told, what="the record of the refusal")[0]


def test_the_ids_sees_requests_in_plain_text(known):
    marker = "plain-and-simple"
    get(known.gateway, f"/{marker}")
    log = known.command.run / "known" / "w" / "ids"

    def seen():
        return any(marker.encode() in path.read_bytes() for path in Path(log).rglob("*.json") if path.is_file())

    eventually(seen, what="the request in the records of the IDS")


SLOW = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{port: 9180}]
    fault: {delay: {fixedDelay: 6s, percentage: {value: 100}}}
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
"""
DENIES_NOBODY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec:
  selector: {matchLabels: {app: lb}}
  action: DENY
  rules: [{to: [{operation: {paths: [/never]}}]}]
"""


def test_a_change_of_policy_cuts_no_request_that_is_under_way(known):
    known.command.ok("apply", "-", stdin=SLOW)
    try:
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(get, known.gateway, "/headers")
            eventually(lambda: _active(known, "lb"), what="the request at the load balancer")
            known.command.ok("apply", "-", stdin=DENIES_NOBODY)
            assert answer.result().status == 200
    finally:
        known.command.ok("delete", "virtualservice/web")
    known.command.ok("delete", "authorizationpolicy/nobody")


def _active(known, function):
    stats = json.loads(known.command.ok("proxy", function, "stats", "-o", "json"))["stats"]
    return sum(entry.get("value", 0) for entry in stats if entry.get("name") == "http.inbound.downstream_rq_active")
