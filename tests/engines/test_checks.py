"""The engine's own check: it passes for what drivers render, and says in the engine's words what is wrong."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from running_engine import backend, check, settings_for, write

from clover.functions import registry
from clover.functions.driver import Settings
from clover.spec.chain import FunctionType

pytestmark = pytest.mark.engines

DRIVERS = [driver for driver in registry.DRIVERS if driver.engine != "command"]
FORWARDING = [driver for driver in DRIVERS if driver.type in ("firewall", "load-balancer", "cache")]


@pytest.fixture
def settings(driver, tmp_path) -> Settings:
    to = (backend(9180, host="localhost"),) if driver in FORWARDING else ()
    return settings_for(driver.type, tmp_path, to=to)


PLACE = {"varnish": r"{line} Pos 1\)\nnonsense here;", "suricata": r"line \d+: could not find expected ':'"}
"""How an engine names the line that it cannot read, unless it is by file and line."""


def label(driver) -> str:
    return f"{driver.type}-{driver.engine}"


@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_the_check_passes_for_what_the_driver_renders(driver, settings):
    program = driver.render(settings)
    write(program, settings)

    result = check(program)

    assert result.returncode == 0
    assert "[emerg]" not in result.stdout
    assert "ALERT" not in result.stdout
    assert "WARNING" not in result.stdout


@pytest.mark.parametrize("driver", DRIVERS, ids=label)
def test_a_broken_file_fails_the_check_with_its_place(driver, settings):
    program = driver.render(settings)
    name = next(iter(program.files))
    broken = replace(program, files={**program.files, name: program.files[name] + "\nnonsense here;\n"})
    write(broken, settings)

    result = check(broken)

    line = broken.files[name].count("\n")
    assert result.returncode != 0
    assert re.search(PLACE.get(driver.engine, f"{name}:{{line}}").format(line=line), result.stdout)


def test_a_broken_firewall_rule_fails_the_check(tmp_path):
    driver = registry.driver(FunctionType.FIREWALL, "modsecurity")
    settings = settings_for(driver.type, tmp_path, to=(backend(9180, host="localhost"),))
    program = driver.render(settings)
    rules = program.files["modsecurity.conf"] + 'SecRule NO_SUCH_VARIABLE "x" "id:1,deny"\n'
    broken = replace(program, files={**program.files, "modsecurity.conf": rules})
    write(broken, settings)

    result = check(broken)

    assert result.returncode != 0
    assert "NO_SUCH_VARIABLE" in result.stdout


@pytest.mark.parametrize("driver", FORWARDING, ids=label)
def test_an_upstream_name_that_cannot_be_resolved_fails_the_check_by_name(driver, tmp_path):
    to = (backend(9180, host="no-such-host.invalid"),)
    settings = settings_for(driver.type, tmp_path, to=to)
    program = driver.render(settings)
    write(program, settings)

    result = check(program)

    assert result.returncode != 0
    assert "no-such-host.invalid" in result.stdout
