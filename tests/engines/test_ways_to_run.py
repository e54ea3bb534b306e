"""Engines start as root, for other workers, as an ordinary user, in a rootless namespace; and end wholly."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from exchange import get
from running_engine import Engine, backends, check, running, settings_for, write

from clover.functions import registry
from clover.functions.driver import Settings
from clover.spec.chain import FunctionType
from harness.chains import eventually

pytestmark = pytest.mark.engines

DRIVERS = [driver for driver in registry.DRIVERS if driver.engine != "command" and driver.type is not FunctionType.IDS]
"""Those that answer what clients send."""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ORDINARY = "nobody"


def label(driver) -> str:
    return f"{driver.type}-{driver.engine}"


@pytest.fixture(scope="module")
def server(start) -> Engine:
    return start(FunctionType.SERVER, "nginx", name="server")


@pytest.fixture
def settings(driver, open_directory, server) -> Settings:
    to = backends(server.port) if driver.type is not FunctionType.SERVER else ()
    return settings_for(driver.type, open_directory, to=to)


def processes(group: int) -> list[int]:
    """Return the living processes of a process group, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def owners(group: int) -> set[str]:
    return {pwd.getpwuid((Path("/proc") / str(process)).stat().st_uid).pw_name for process in processes(group)}


def assert_serves(engine: Engine) -> None:
    path = "/bytes/100k?ways"
    answer = get(engine.port, path)
    assert (answer.status, len(answer.body)) == (200, 102400)
    assert engine.access_of(answer.traceparent).status == 200
    body = b"text=" + b"word+" * (200 << 10)  # larger than every buffer: it is written below the folder
    kind = "application/x-www-form-urlencoded"
    posted = get(engine.port, "/status/200", method="POST", body=body, Content_Type=kind)
    assert posted.status == 200, engine.text()
    if engine.name == "firewall":
        blocked = get(engine.port, "/?q=%3Cscript%3Ealert(1)%3C/script%3E")
        assert blocked.status == 403
        engine.wait_for(lambda line: line.startswith(b'{"transaction"') and blocked.trace_id.encode() in line)


@AS_ROOT
@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_root_starts_it_and_its_workers_are_somebody_else(driver, settings, open_directory):
    settings = replace(settings, user="www-data")
    program = driver.render(settings)
    write(program, settings)
    for name in program.directories:
        shutil.chown(open_directory / name, "www-data")

    assert check(program).returncode == 0
    with running(program, settings, name=str(driver.type)) as engine:
        assert_serves(engine)
        assert "www-data" in owners(engine.process.pid)


@AS_ROOT
@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_an_ordinary_user_starts_it(driver, settings, open_directory):
    program = driver.render(settings)
    write(program, settings)
    user = pwd.getpwnam(ORDINARY)
    for path in (open_directory, *open_directory.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    become = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--")

    result = check(program, *become, output_owner=user.pw_uid)
    assert result.returncode == 0, result.stdout
    with running(program, settings, *become, output_owner=user.pw_uid, name=str(driver.type)) as engine:
        assert_serves(engine)
        assert owners(engine.process.pid) == {ORDINARY}


@AS_ROOT
@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_it_runs_in_a_user_namespace_that_has_only_root(driver, settings, open_directory):
    user = pwd.getpwnam(ORDINARY)
    become = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--")
    become += ("unshare", "--user", "--map-root-user", "--")
    if subprocess.run([*become, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel lets ordinary users make no user namespace")
    program = driver.render(settings)
    write(program, settings)
    for path in (open_directory, *open_directory.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)

    result = check(program, *become, output_owner=user.pw_uid)
    assert result.returncode == 0, result.stdout
    with running(program, settings, *become, output_owner=user.pw_uid, name=str(driver.type)) as engine:
        assert_serves(engine)


@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_it_writes_nowhere_but_below_its_folder(driver, settings, open_directory):
    program = driver.render(settings)
    write(program, settings)

    with running(program, settings, name=str(driver.type)) as engine:
        assert_serves(engine)
        for process in processes(engine.process.pid):
            for descriptor in (Path("/proc") / str(process) / "fd").iterdir():
                target = str(descriptor.readlink())
                facts = (Path("/proc") / str(process) / "fdinfo" / descriptor.name).read_text()
                writes = int(facts.split("flags:")[1].split()[0], 8) & os.O_ACCMODE
                if target.startswith("/") and writes and not target.startswith(("/dev/", "/memfd:", "/[aio]")):
                    assert Path(target).is_relative_to(open_directory)


@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_a_killed_process_group_leaves_nothing_and_starts_again_at_once(driver, settings, open_directory):
    program = driver.render(settings)
    write(program, settings)

    with running(program, settings, name=str(driver.type)) as engine:
        group = engine.process.pid
        assert processes(group)
    # The leader has been waited for; its children have been killed, and end when the kernel comes to them.
    eventually(lambda: processes(group) == [], what="the end of every process")
    with running(program, settings, name=str(driver.type)) as engine:
        assert get(engine.port, "/healthz").status == 200


@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_it_stops_in_time_when_it_is_asked_to_although_a_client_is_connected(driver, settings, open_directory):
    program = driver.render(settings)
    write(program, settings)

    with (
        running(program, settings, name=str(driver.type)) as engine,
        socket.create_connection(("127.0.0.1", engine.port)) as client,
    ):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(20).startswith(b"HTTP/1.1 200")
        engine.process.terminate()
        engine.process.wait(timeout=4 * program.process.stop_timeout_s)


def test_a_request_for_an_address_of_the_workload_other_than_loopback_is_accepted(open_directory):
    settings = settings_for(FunctionType.SERVER, open_directory)
    program = registry.driver(FunctionType.SERVER, "nginx").render(settings)
    write(program, settings)

    with (
        running(program, settings) as engine,
        socket.create_connection(("127.0.0.77", engine.port), timeout=30) as client,
    ):
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(20).startswith(b"HTTP/1.1 200")


SERVE = """
import http.server, os
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = "/".join(os.environ[name] for name in ("CLOVER_FUNCTION", "CLOVER_VERSION", "CLOVER_WORKLOAD"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
        print("said hello to", self.headers["traceparent"], flush=True)
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Hello).serve_forever()
"""


@pytest.fixture
def own_settings(tmp_path) -> Settings:
    script = tmp_path / "serve.py"
    script.write_text("#!/usr/bin/env python3\n" + SERVE)
    script.chmod(0o755)
    return replace(
        settings_for(FunctionType.SERVER, tmp_path),
        workload="shop-v2",
        function="shop",
        version="v2",
        command=("./serve.py",),
        working_directory=str(tmp_path),
    )


def test_an_authors_own_server_is_told_where_to_listen_and_who_it_is(own_settings):
    program = registry.driver(FunctionType.SERVER, "command").render(own_settings)

    with running(program, own_settings) as engine:
        answer = get(engine.port, "/")

        assert answer.body == b"shop/v2/shop-v2"
        engine.wait_for(lambda line: line == f"said hello to {answer.traceparent}".encode())
