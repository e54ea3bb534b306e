from clover.cli import render_status


def workload(function, version="v1", **more):
    return {
        "function": function,
        "version": version,
        "workload": function,
        "engine": "nginx",
        "state": "ready",
        "ready": True,
        "address": "10.244.0.3:9180",
        "restarts": 0,
        "pid": 7,
        "sidecar": {"state": "ready", "restarts": 0, "pid": 8, "configVersion": "3", "acknowledged": True},
        "rps": 0.0,
        "errorRate": 0.0,
        "p50Ms": None,
        "p99Ms": None,
        "lastExit": "",
        **more,
    }


def status(*workloads, **more):
    return {
        "chain": "sdc",
        "namespace": "default",
        "gateway": "http://127.0.0.1:8080",
        "pid": 6,
        "uptimeS": 192.4,
        "state": "ready",
        "workloads": list(workloads),
        "problems": [],
        **more,
    }


def text(answer):
    return "".join(f"{line.plain}\n" for line in render_status.lines(answer))


def test_a_chain_in_trouble_is_shown_as_its_golden(golden):
    sidecar = {
        "state": "restarting",
        "restarts": 2,
        "pid": 0,
        "configVersion": "3",
        "acknowledged": False,
        "lastExit": "ended with signal 9\n| out of memory",
    }
    answer = status(
        workload("gateway", "", engine="envoy", rps=120.44,
                 errorRate=0.025, p50Ms=3.2, p99Ms=18.0, address="127.0.0.1:8080"),
        workload("access-control", engine="modsecurity", rps=120.4, p50Ms=2.1, p99Ms=9.75),
        workload("http-lb", "v1", engine="haproxy", state="restarting", ready=False, restarts=2, sidecar=sidecar,),
        workload("http-lb", "v2"),
        state="degraded",
        store={"path": "/s", "spans": 12345, "logs": 1, "refused": 0, "lost": 7, "bytes": 4_100_000},
        problems=[{"code": "CLV5101", "where": "http-lb-v1", "what": "the sidecar died", "hint": "",
                   "severity": "warning"}],
    )  # fmt: skip

    golden("cli/status.txt", text(answer))


def test_a_workload_without_traffic_has_no_rates():
    row = text(status(workload("web"))).splitlines()[3]

    assert row.split() == ["web", "v1", "nginx", "ready", "yes", "0", "-", "-", "-", "-", "10.244.0.3:9180"]


def test_a_sidecar_that_has_not_taken_the_newest_configuration_is_told():
    behind = {"state": "ready", "restarts": 0, "pid": 8, "configVersion": "3", "acknowledged": False}

    assert "ready (sidecar behind)" in text(status(workload("web", sidecar=behind)))


def test_a_function_that_serves_without_its_ambassador_is_not_called_restarting():
    companions = {"ambassador": {"state": "restarting", "restarts": 1, "pid": 0, "lastExit": "killed by SIGKILL"}}

    row = text(status(workload("web", companions=companions))).splitlines()[3]

    assert row.split(maxsplit=7)[3:7] == ["ready", "(ambassador", "restarting)", "yes"]


def test_what_was_started_again_is_told_with_how_it_ended():
    companions = {"ambassador": {"state": "ready", "restarts": 1, "pid": 9, "lastExit": "exited with 3\nlast words"}}
    again = workload("web", engine="haproxy", lastExit="killed by SIGKILL\nlast words", companions=companions)
    sidecar = {"state": "ready", "restarts": 1, "pid": 8, "acknowledged": True, "lastExit": "killed by SIGSEGV"}
    gateway = workload("gateway", "", engine="envoy", lastExit="killed by SIGSEGV", sidecar=sidecar)

    assert text(status(again, gateway)).splitlines()[5:] == [
        "web: haproxy: killed by SIGKILL, started again",
        "web: ambassador: exited with 3, started again",
        "gateway: sidecar: killed by SIGSEGV, started again",
    ]
