"""The one place that turns failures into text and exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from clover.cli import main as command_line
from clover.cli import output
from clover.cli.main import main
from clover.errors import DocumentError, FunctionError, HostError, MeshError, Problem

CLOVER = (sys.executable, "-c", "import sys; from clover.cli.main import main; sys.exit(main())")
PROBLEM = Problem(code="CLV9001", where="here", what="'a' is wrong", hint="mend it")
OTHER = Problem(code="CLV9002", where="there", what="'b' is wrong")


@pytest.fixture
def failing(monkeypatch):
    """Return `failing(failure)`: from then on `clover status` fails with it."""

    def install(failure: BaseException) -> None:
        module = ModuleType("clover.cli.status")

        def status(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
            raise failure

        module.status = status
        monkeypatch.setitem(sys.modules, "clover.cli.status", module)

    return install


@pytest.mark.parametrize(("kind", "code"), [(DocumentError, 2), (HostError, 3), (FunctionError, 4), (MeshError, 5)])
def test_each_kind_of_error_has_its_exit_code(capsys, failing, kind, code):
    failing(kind(PROBLEM))

    assert main(["status"]) == code
    assert capsys.readouterr() == ("", f"{PROBLEM}\n")


def test_errors_are_found_however_deep_task_groups_have_wrapped_them(capsys, failing):
    failing(ExceptionGroup("outer", [ExceptionGroup("inner", [MeshError(PROBLEM)]), FunctionError(OTHER, PROBLEM)]))

    assert main(["status"]) == MeshError.exit_code
    assert capsys.readouterr().err == f"{PROBLEM}\n{OTHER}\n"


def test_a_command_that_was_asked_for_json_fails_in_json_on_standard_output(capsys, failing):
    failing(HostError(PROBLEM))

    assert main(["status", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"problems": [PROBLEM.as_json()], "exitCode": 3}
    assert err == ""


def test_an_option_of_the_command_that_exec_runs_is_not_ours(capsys):
    command_line._report(HostError(PROBLEM), ["exec", "web", "--", "tool", "--json"])

    assert capsys.readouterr() == ("", f"{PROBLEM}\n")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), BaseExceptionGroup("both", [KeyboardInterrupt()])])
def test_an_interruption_is_not_a_failure(capsys, failing, failure):
    failing(failure)

    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "")


def test_anything_else_is_a_bug_and_says_what_to_attach(capsys, failing):
    failing(ZeroDivisionError("oops"))

    assert main(["status"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert "This is a bug in Clover" in err
    assert "arguments: ['status']" in err


def test_a_full_disk_is_not_a_bug(capsys, failing):
    failing(OSError(errno.ENOSPC, "No space left on device", "/var/lib/x"))

    assert main(["status"]) == HostError.exit_code
    assert capsys.readouterr().err == "/var/lib/x: error: no space is left on the device [CLV2902]\n"


@pytest.mark.parametrize("arguments", [["schema"], ["check", "/nowhere", "--json"]], ids=" ".join)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_finds_the_disk_full_is_told_on_standard_error(arguments, buffered):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*CLOVER, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
        )

    assert (ended.returncode, ended.stderr) == (3, "output: error: no space is left on the device [CLV2902]\n")


def test_problems_that_do_not_fit_on_a_full_disk_as_json_are_told_on_standard_error():
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from clover.cli.main import main; sys.exit(main())",
                "up",
                "/no",
                "--json",
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert ended.stderr.startswith("/no: error: ")
    assert "Traceback" not in ended.stderr


def test_a_bug_beside_a_problem_hides_neither(capsys, failing):
    failing(BaseExceptionGroup("both", [HostError(PROBLEM), ZeroDivisionError("oops")]))

    assert main(["status"]) == HostError.exit_code
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert str(PROBLEM) in err


def test_a_misspelt_command_is_a_usage_error_with_the_nearest_name(capsys):
    assert main(["chekc"]) == 2

    assert "Did you mean 'check'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "where", "what"),
    [
        (["nosuch", "--json"], "clover", "No such command 'nosuch'."),
        (["status", "--since", "--json"], "clover status", "No such option: --since"),
        (["trace", "--wait", "soon", "--json"], "clover trace", "Invalid value for '--wait'"),
        (["alerts", "--json", "--limit"], "clover", "Option '--limit' requires an argument."),
        (["ids", "rule", "nosuch", "--json"], "clover ids rule", "No such command 'nosuch'."),
        (["apply", "--json"], "clover apply", "Invalid value for PATH: name a file"),
        (["get", "--nosuch", "-o", "json"], "clover get", "No such option: --nosuch"),
        (["proxy", "--nosuch", "--output=json"], "clover proxy", "No such option: --nosuch"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_who_asked_for_json_is_told_in_json_what_is_wrong_with_the_usage(capsys, arguments, where, what):
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    told = json.loads(out)
    (problem,) = told["problems"]
    assert (err, told["exitCode"], problem["code"], problem["where"]) == ("", 2, "CLV1080", where)
    assert problem["what"].startswith(what)
    assert problem["hint"] == f"{where} --help"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["proxy", "waf", "bogus"], "Invalid value for 'what': 'bogus' is not one of 'config', 'clusters', "),
        (["get", "-o", "xml"], "Invalid value for '--output' / '-o': 'xml' is not one of 'table', 'yaml', 'json'."),
        (["control", "waf", "frobnicate"], "No such command 'frobnicate'. There are: show, set, apply, watch, "),
        (["ids", "rule", "frobnicate"], "No such command 'frobnicate'. There are: list, add, remove."),
        (["--chain", "sdc", "status"], "No such option: --chain; before the command stand --version and"),
    ],
)
def test_who_misuses_a_command_is_told_what_would_have_been_right(capsys, arguments, said):
    assert main(arguments) == 2
    assert f"\nError: {said}" in capsys.readouterr().err


def test_everybody_else_is_shown_how_the_command_is_used(capsys):
    assert main(["status", "--since"]) == 2

    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0], err.splitlines()[-1][:24]) == (
        "",
        "Usage: clover status [OPTIONS]",
        "Error: No such option: -",
    )


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0

    assert capsys.readouterr().out.startswith("clover 0.")


def test_help_lists_every_command_that_is_not_internal(capsys):
    assert main(["--help"]) == 0

    listed = capsys.readouterr().out
    for entry in command_line.COMMANDS:
        assert (f"  {entry.name} " in listed) != entry.hidden


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_explains_itself(capsys, entry):
    assert main([entry.name, "--help"]) == 0

    assert capsys.readouterr().out.startswith(f"Usage: clover {entry.name} ")


def test_help_and_check_load_nothing_that_they_do_not_need():
    """Start-up is felt at each command; grpc, rich, chdb and the like cost more than the work."""
    heavy = ["grpc", "rich", "jinja2", "starlette", "uvicorn", "chdb", "google.protobuf"]
    script = f"import sys; from clover.cli.main import main; main(sys.argv[1:]); print({heavy} & sys.modules.keys())"
    script = script.replace(f"{heavy}", f"set({heavy})")

    for arguments in (["--help"], ["check", "nowhere"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)

        assert done.stdout.splitlines()[-1] == "set()"


def test_colour_is_for_terminals_alone(capsys, monkeypatch):
    output.print_problems([PROBLEM])
    assert "\x1b" not in capsys.readouterr().err

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output.print_problems([PROBLEM])
    assert capsys.readouterr().err == "here: \x1b[1;31merror\x1b[0m: 'a' is wrong [CLV9001]\n    hint: mend it\n"


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_help_says_what_stands_where_in_words_of_people(capsys, entry):
    main([entry.name, "--help"])

    said = capsys.readouterr().out
    assert "int range" not in said
    assert "[[" not in said


def test_the_exit_codes_are_told_by_the_help(capsys):
    main(["--help"])

    assert "Exit codes: 0 done; 1 a check failed" in capsys.readouterr().out
