"""The command `clover`: finds the command asked for, and turns whatever goes wrong into text and an exit code.

Nothing else in Clover prints a failure or chooses an exit code. A command is one module of this package, imported when
it is asked for, with a function of the same name; its line here is all that the others cost at start.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer._click.exceptions import ClickException, NoSuchOption, UsageError
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from clover.cli import output
from clover.errors import CloverError, HostError, Problem, clover_errors

if TYPE_CHECKING:
    from typer._click import Command, Context

INTERRUPTED = 130
BUG = 1
_FULL = (errno.ENOSPC, errno.EDQUOT)
_VALIDATOR = "Value error, "
"""What the library that parses values begins its refusals with."""
_NO_COMMAND = "No such command"
_JSON_FORMATS = ("-o json", "-ojson", "--output json", "--output=json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command, as `clover --help` lists it."""

    name: str
    """Name of the command, of its module in this package, and of the function in there (`app` if it has verbs)."""
    summary: str
    hidden: bool = False
    """True: it is for Clover itself."""


COMMANDS = (
    Entry(name="up", summary="Bring a chain up, and return when it is ready."),
    Entry(name="down", summary="Take a chain down."),
    Entry(name="status", summary="Show what runs, how it is, and how much it does."),
    Entry(name="check", summary="Check chains and policies: tells all that is wrong at once."),
    Entry(name="render", summary="Print the Istio resources that a chain means."),
    Entry(name="apply", summary="Bring Istio resources into force in a running chain."),
    Entry(name="diff", summary="Show what an apply would change."),
    Entry(name="get", summary="Show the Istio resources in force."),
    Entry(name="delete", summary="Take Istio resources out of force."),
    Entry(name="control", summary="Show what a function is told, and change it while it runs."),
    Entry(name="ids", summary="Change the rules of the intrusion detection system."),
    Entry(name="firewall", summary="Block clients, and see who is blocked."),
    Entry(name="traces", summary="List requests that were traced."),
    Entry(name="trace", summary="Show one request, hop by hop, with its log lines."),
    Entry(name="alerts", summary="Show what the intrusion detection system has found."),
    Entry(name="changes", summary="Show what was changed, when and how."),
    Entry(name="lost", summary="Show what did not get through the mesh: where, and why."),
    Entry(name="logs", summary="Show the log lines of a function."),
    Entry(name="proxy", summary="Show what a sidecar really has."),
    Entry(name="exec", summary="Run a command inside the network of a function."),
    Entry(name="doctor", summary="Check that this machine can run a chain."),
    Entry(name="schema", summary="Print the JSON Schema of the chain file."),
    Entry(name="node", summary="The process behind a running chain.", hidden=True),
    Entry(name="ambassador", summary="The process that controls a function's engine.", hidden=True),
    Entry(name="agent", summary="The process that takes orders to the ambassadors.", hidden=True),
    Entry(name="warm", summary="The process that ambassadors are forked from.", hidden=True),
)


class Commands(TyperGroup):
    """The commands: a name and a summary each, until one of them is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for entry in COMMANDS:
            self.add_command(TyperCommand(entry.name, help=entry.summary, hidden=entry.hidden, rich_markup_mode=None))

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command that `args` begins with, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else _imported(str(command.name)), rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` when None), and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, TextIOWrapper):
        # A message may hold a character that the terminal's encoding lacks, which is no reason to lose the message.
        sys.stdout.reconfigure(errors="backslashreplace")
    return _flushed(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    try:
        # Not standalone: what is wrong with the usage is told here, as text or as JSON, like all that goes wrong.
        return int(get_command(_app).main(args=arguments, prog_name="clover", standalone_mode=False) or 0)
    except SystemExit as leaving:
        return _exit_code(leaving)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ClickException as misused:
        return _misused(misused, arguments)
    except BaseException as failure:  # noqa: BLE001  (the edge of the process: nobody else would say what happened)
        return _report(failure, arguments)


_app = typer.Typer(
    cls=Commands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"clover {_version()}")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """
    HTTP network function chains of stock services, in a real service mesh, on one machine.

    Exit codes: 0 done; 1 a check failed, `diff` found differences, or a bug; 2 a document or the command line; 3 this
    machine; 4 a network function; 5 the mesh; 130 interrupted. `clover COMMAND --help` has the options of a command.
    """


def _imported(name: str) -> Command:
    # What is imported stays: to look for garbage in it meanwhile takes a twentieth of the time.
    gc.disable()
    try:
        module = importlib.import_module(f"clover.cli.{name}")
    finally:
        gc.enable()
    if isinstance(family := getattr(module, "app", None), typer.Typer):
        return get_command(family)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    # `exec` passes options on that it does not know; a command with such wishes says so in CONTEXT_SETTINGS.
    single.command(name, context_settings=getattr(module, "CONTEXT_SETTINGS", None))(getattr(module, name))
    return get_command(single)


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    print(leaving.code, file=sys.stderr)
    return 1


def _misused(misused: ClickException, arguments: Sequence[str]) -> int:
    """Tell what is wrong with the command line: people see how the command is used, too."""
    misused.message = _worded(misused)
    if not (_wants_json(arguments) and _print_as_json([_usage(misused)], misused.exit_code)):
        misused.show()
    return misused.exit_code


def _worded(misused: ClickException) -> str:
    """Return what is wrong without a library's own words, and with what would have been right."""
    message = misused.message.removeprefix(_VALIDATOR)
    context = misused.ctx if isinstance(misused, UsageError) else None
    if context is None:
        return message
    if context.parent is None and isinstance(misused, NoSuchOption):
        return f"{message}; before the command stand --version and --help alone: clover COMMAND {misused.option_name}"
    if context.parent and isinstance(context.command, TyperGroup) and message.startswith(_NO_COMMAND):
        return f"{message} There are: {', '.join(context.command.list_commands(context))}."
    return message


def _usage(misused: ClickException) -> Problem:
    context = misused.ctx if isinstance(misused, UsageError) else None
    command = context.command_path if context else "clover"
    return Problem(code="CLV1080", where=command, what=misused.format_message(), hint=f"{command} --help")


def _report(failure: BaseException, arguments: Sequence[str]) -> int:
    errors = tuple(clover_errors(failure))
    problems = tuple(dict.fromkeys(problem for error in errors for problem in error.problems))
    code = errors[0].exit_code if errors else BUG
    if isinstance(failure, OSError) and failure.errno in _FULL:
        problems = (_full(failure.filename or "output"),)
        code = HostError.exit_code
    elif rest := _without(failure, (CloverError,)):
        if not errors and not _without(rest, (KeyboardInterrupt,)):
            return INTERRUPTED
        _report_bug(rest, arguments)
    if not (problems and _wants_json(arguments) and _print_as_json(problems, code)):
        output.print_problems(problems)
    return code


def _print_as_json(problems: Sequence[Problem], code: int) -> bool:
    """Print problems to standard output; False when nothing can be written there."""
    try:
        output.print_json({"problems": [problem.as_json() for problem in problems], "exitCode": code})
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _flushed(code: int) -> int:
    """Write what is still held back, and return the exit code: another one when the disk is full."""
    try:
        sys.stdout.flush()
    except OSError as failure:
        # Python would try again while it ends, and complain in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if failure.errno in _FULL and code != HostError.exit_code:
            output.print_problems((_full("output"),))
        return HostError.exit_code if failure.errno in _FULL else code or 1
    return code


def _full(where: str) -> Problem:
    return Problem(code="CLV2902", where=where, what="no space is left on the device")


def _without(failure: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """Return what is left of a failure, however wrapped, without exceptions of these kinds."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split(kinds)[1]
    return None if isinstance(failure, kinds) else failure


def _report_bug(failure: BaseException, arguments: Sequence[str]) -> None:
    traceback.print_exception(failure)
    print(
        "\nThis is a bug in Clover, not a mistake of yours. To report it, attach the lines above, the files that you"
        "\nnamed, the output of 'clover doctor', and this:"
        f"\n    clover {_version()}, Python {platform.python_version()}, {platform.platform()}"
        f"\n    arguments: {list(arguments)}",
        file=sys.stderr,
    )


def _wants_json(arguments: Sequence[str]) -> bool:
    ours = list(arguments)
    ours = ours[: ours.index("--") if "--" in ours else None]
    # As one text, so that an option and its value are found as one word and as two.
    return "--json" in ours or any(f" {option} " in f" {' '.join(ours)} " for option in _JSON_FORMATS)


def _version() -> str:
    from importlib.metadata import version

    return version("clover-nfv")
