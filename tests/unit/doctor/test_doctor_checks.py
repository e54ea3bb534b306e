import socket
from pathlib import Path

import pytest

from clover.cli import doctor
from clover.doctor import host
from clover.doctor.checks import Check, failed
from clover.errors import HostError, Problem
from clover.kit.requirements import Requirement
from clover.runtime.local import supervisor

BAD = Problem(code="CLV2205", where="nft", what="nftables is missing", hint="sudo apt-get install nftables")
WARNING = Problem(code="CLV2211", where="port", what="it is taken", severity="warning")


def test_a_warning_does_not_stop_a_chain_and_an_error_does():
    fine, handicap, broken = (
        Check(name="x", evidence="y", problems=found) for found in ((), (WARNING,), (WARNING, BAD))
    )

    assert [check.outcome for check in (fine, handicap, broken)] == ["ok", "warning", "failed"]
    assert not failed([fine, handicap])
    assert failed([fine, broken])


def test_each_bad_check_is_followed_by_the_command_that_mends_it():
    checks = [
        Check(name="tools", evidence="nsenter, nft"),
        Check(name="nft", evidence="nothing found", problems=(BAD,)),
        Check(name="own /proc", evidence="not tried: needs namespaces", skipped=True),
    ]

    assert [line.plain for line in doctor.lines(checks)] == [
        "✓ tools      nsenter, nft",
        "✗ nft        nothing found",
        "             nftables is missing [CLV2205]",
        "             mend: sudo apt-get install nftables",
        "- own /proc  not tried: needs namespaces",
        "",
        "1 check failed: no chain can run here yet",
    ]


def test_little_memory_is_a_warning_with_both_numbers():
    check = host.memory("MemTotal: 4000000 kB\nMemAvailable:     524288 kB\n")

    assert check.outcome == "warning"
    assert check.problems[0].what == "512 MB available, the sample chain wants 1,500 MB"


@pytest.mark.parametrize(("length", "outcome"), [(12, "ok"), (60, "warning"), (100, "failed")])
def test_a_long_run_folder_leaves_too_little_room_for_sockets(length, outcome):
    assert host.socket_paths(Path("/" + "r" * length)).outcome == outcome


def test_a_gateway_port_that_somebody_has_is_a_warning():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        check = host.port(taken.getsockname()[1])

    assert (check.outcome, check.problems[0].code) == ("warning", "CLV2211")


def test_missing_engines_are_told_each_with_its_package():
    lost = Requirement(name="no-such-engine", package="engine-pkg", needed_for="caching")
    (problem,) = host.problems_that_stop_a_chain([lost])

    assert problem.code == "CLV2001"
    assert problem.hint.endswith("engine-pkg")


def test_an_envoy_that_is_not_installed_or_does_not_run_fails_its_check(tmp_path):
    def not_found():
        raise HostError(BAD)

    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\necho 'bad glibc' >&2; exit 1\n")
    broken.chmod(0o755)

    (absent,) = (check for check in host.examine([], envoy=not_found) if check.name == "envoy")
    (present,) = (check for check in host.examine([], envoy=lambda: broken) if check.name == "envoy")
    assert absent.problems == (BAD,)
    assert present.problems[0].what.endswith("does not run: bad glibc")


def test_an_engine_that_is_no_default_and_is_missing_is_a_warning(monkeypatch):
    monkeypatch.setattr(host, "kernel", lambda **_: iter(()))
    there = Requirement(name="sh", package="dash", needed_for="everything")
    gone = Requirement(name="/no/such/engine", package="engine", needed_for="caches")

    def outcomes(requirements, others):
        found = host.examine(requirements, others=others, envoy=lambda: Path("/bin/true"))
        return {check.name: check.outcome for check in found if "engines" in check.name}

    assert outcomes([there], [there, gone]) == {"engines": "ok", "other engines": "warning"}
    assert outcomes([there, gone], [there, gone]) == {"engines": "failed"}


def test_the_program_that_functions_are_confined_with_is_looked_for():
    assert supervisor.CONFINED[0] in {tool.name for tool in host.TOOLS}
