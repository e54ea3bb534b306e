"""`clover check`: what it prints, where, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clover.cli.main import main

EXAMPLES = Path(__file__).parents[3] / "examples"
WRONG = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: edge}
spec:
  gateway: {to: wbe}
  functions:
    web: {type: server, prot: 80}
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    return file


def test_a_sound_chain_is_summed_up_on_one_line(capsys):
    assert main(["check", str(EXAMPLES / "sdc")]) == 0

    assert capsys.readouterr() == (f"{EXAMPLES}/sdc/chain.yaml: ok: 9 functions, 10 workloads\n", "")


def test_one_of_a_thing_is_not_plural(capsys):
    assert main(["check", str(EXAMPLES / "minimal")]) == 0

    assert capsys.readouterr().out.endswith(": ok: 1 function, 1 workload\n")


def test_all_problems_go_to_standard_error_and_the_exit_code_says_so(capsys, wrong):
    assert main(["check", str(wrong)]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"{wrong}:5:17: error: the gateway sends to 'wbe', which is not in the chain [CLV1204]\n"
        "    hint: did you mean 'web'?\n"
        f"{wrong}:7:25: error: function 'web' has no field 'prot' [CLV1101]\n"
        "    hint: did you mean 'port'?\n"
        f"{wrong}: 2 errors\n"
    )


def test_a_warning_is_shown_and_the_chain_is_sound(capsys, tmp_path):
    file = tmp_path / "chain.yaml"
    file.write_text(WRONG.replace("wbe", "web").replace(", prot: 80", "") + "    idle: {type: server}\n")

    assert main(["check", str(tmp_path)]) == 0

    out, err = capsys.readouterr()
    assert out == f"{file}: ok: 2 functions, 2 workloads, 1 warning\n"
    assert "CLV1214" in err


def test_every_path_is_checked_though_one_is_wrong(capsys, wrong):
    assert main(["check", "does-not-exist", str(wrong), str(EXAMPLES / "minimal")]) == 2

    out, err = capsys.readouterr()
    assert "minimal/chain.yaml: ok" in out
    assert "does-not-exist: error: 'does-not-exist' does not exist [CLV1001]" in err
    assert f"{wrong}: 2 errors" in err


def test_json_holds_every_file_and_nothing_goes_to_standard_error(capsys, wrong):
    assert main(["check", "--json", str(wrong), str(EXAMPLES / "minimal")]) == 2

    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert answer["exitCode"] == 2
    assert [(file["ok"], file["chain"], file["workloads"]) for file in answer["files"]] == [
        (False, None, None),
        (True, "minimal", 1),
    ]
    assert answer["files"][0]["problems"][1] == {
        "code": "CLV1101",
        "where": f"{wrong}:7:25",
        "what": "function 'web' has no field 'prot'",
        "hint": "did you mean 'port'?",
        "severity": "error",
    }


def test_without_a_path_it_is_a_usage_error(capsys):
    assert main(["check"]) == 2

    assert "Missing argument" in capsys.readouterr().err


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0

    assert json.loads(capsys.readouterr().out)["title"] == "ChainDocument"
