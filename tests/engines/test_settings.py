"""Hostile settings: refused before anything is rendered, or accepted by the real parser with nothing injected."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import hostile, rendered, skeleton
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from running_engine import backend, check, settings_for, write

from clover.functions import registry
from clover.functions.driver import Driver, Settings
from clover.spec.chain import FunctionType
from clover.spec.configuration import Backend

pytestmark = pytest.mark.engines

DRIVERS = [driver for driver in registry.DRIVERS if driver.engine != "command"]
NGINXES = [driver for driver in DRIVERS if driver.engine in ("nginx", "modsecurity")]
TO = (backend(9181), backend(9182, host="localhost"))


def plain(driver: Driver, directory: Path | str, *, to: tuple[Backend, ...] = TO) -> Settings:
    forwards = driver.type in (FunctionType.FIREWALL, FunctionType.LOAD_BALANCER, FunctionType.CACHE)
    settings_ = settings_for(driver.type, directory, name="plain", to=to if forwards else ())
    return replace(settings_, port=9180, status_port=9183)


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: f"{driver.type}-{driver.engine}")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(["workload", "function", "version", "host", "user"]), text=hostile)
@example(field="function", text="a\n")
@example(field="host", text="1")
@example(field="version", text="x" * 253)
def test_a_hostile_name_is_refused_or_stays_one_word(driver, field, text):
    before = replace(plain(driver, "/tmp/plain", to=(backend(9181, host="web"),)), user="www-data")
    after = plain(driver, "/tmp/plain", to=(backend(9181, host=text if field == "host" else "web"),))
    if field == "user" and not text:
        return

    program = rendered(driver, replace(after, **({"user": "www-data"} | ({field: text} if field != "host" else {}))))

    if program is not None:
        assert skeleton(program) == skeleton(driver.render(before))


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: f"{driver.type}-{driver.engine}")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}[A-Za-z0-9]", fullmatch=True))
@example(name="0")
@example(name="x" * 253)
@example(name="server")
@example(name="default")
def test_the_engine_accepts_every_name_that_is_not_refused(driver, name):
    with tempfile.TemporaryDirectory() as folder:
        settings_ = replace(plain(driver, folder), workload=name, function=name, version=name)
        program = driver.render(settings_)
        write(program, settings_)
        result = check(program)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: f"{driver.type}-{driver.engine}")
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=hostile)
@example(name="with space")
@example(name="Ωmega é")
@example(name="a=b,c&d+e~f@g(h)<i>|j!`k^")
@example(name="tr'icky\"")
@example(name="$host")
@example(name="x{y}")
def test_the_engine_accepts_every_folder_that_is_not_refused_and_stays_in_it(driver, name):
    with tempfile.TemporaryDirectory() as root:
        folder = Path(f"{root}/{name}")
        settings_ = plain(driver, folder)
        program = rendered(driver, settings_)
        if program is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write(program, settings_)
        result = check(program)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("driver", NGINXES, ids=lambda d: f"{d.type}-{d.engine}")
def test_nginx_reads_one_server_its_status_page_and_the_upstreams_given(driver, tmp_path):
    settings_ = plain(driver, tmp_path)
    program = driver.render(settings_)
    write(program, settings_)
    whole = replace(program, check=(*(word for word in program.check if word not in ("-t", "-q")), "-T"))
    dump = check(whole).stdout

    assert dump.count("# configuration file") == 1
    assert dump.count("listen ") == 2
    assert dump.count("        listen 0.0.0.0:9180 default_server;\n") == 1
    assert dump.count("        listen 127.0.0.1:9183;\n") == 1
    assert dump.count("    server {") == 2
    forwards = driver.type is not FunctionType.SERVER
    assert dump.count("        server 127.0.0.1:9181 ") == forwards
    assert "/etc/nginx" not in dump
