"""A real Snort, where there is one."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from running_engine import check, settings_for, write

from clover.functions.snort.driver import RULES, Ids
from clover.kit.requirements import SYSTEM_PATH
from clover.spec.chain import FunctionType
from clover.spec.configuration import HttpMatch, IdsRule

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(shutil.which("snort", path=SYSTEM_PATH) is None, reason="snort is not installed"),
]

DRIVER = Ids()
EVERY_FIELD = tuple(
    IdsRule(id=number, http=HttpMatch(field=field, contains='a;"|\\b'))
    for number, field in enumerate(("user-agent", "uri", "method", "host", "header", "body"), start=1)
)


def test_snort_accepts_what_the_driver_renders(tmp_path):
    text = IdsRule(id=100, text='alert tcp any any -> any any ( content:"evil"; )')
    settings = settings_for(FunctionType.IDS, tmp_path, rules=(*EVERY_FIELD, text))
    program = DRIVER.render(settings)
    write(program, settings)

    result = check(program)

    assert result.returncode == 0, result.stdout


def test_snort_refuses_a_rule_that_is_none_with_its_place(tmp_path):
    settings = settings_for(FunctionType.IDS, tmp_path, rules=EVERY_FIELD)
    program = DRIVER.render(settings)
    write(replace(program, files={**program.files, RULES: "alert http ( nonsense; sid:1; )\n"}), settings)

    result = check(program)

    assert result.returncode != 0
    assert RULES in result.stdout
