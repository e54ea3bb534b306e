"""`clover control FUNCTION ...`: look at what a function is told, and tell it something else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from clover.cli import ambassadors, api, changing, output, render_control, screen
from clover.cli.ambassadors import Agent, DiffOption, Target
from clover.errors import DocumentError, Problem

FORWARDING = ("firewall", "load-balancer", "cache")
"""Types of functions that have backends."""
MOST_BYTES = 16 << 20
"""The most that an uploaded file may have: an ambassador takes no more."""

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, invoke_without_command=True
)
_files = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(_files, name="files", help="The files that a server serves beside its pages.")


class Format(StrEnum):
    """How to print a configuration."""

    TEXT = "text"
    YAML = "yaml"
    JSON = "json"


ExpectOption = Annotated[
    int,
    typer.Option(
        "--expect", min=0, max=(1 << 63) - 1, metavar="GENERATION", help="Only if this generation is in force."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing, print what would.")]
HostArgument = Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="A backend, as `backends` lists it.")]


@app.callback()
def control(
    context: typer.Context,
    function: Annotated[
        str,
        typer.Argument(
            metavar="FUNCTION[@VERSION]",
            help="A function, or the name of a type of which the chain has one; none: list them.",
        ),
    ] = "",
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Show what a function is told, and change it while it runs. Without a verb: show."""
    context.obj = (function, chain)
    if context.invoked_subcommand is None:
        if function:
            _show(ambassadors.find(chain), function, Format.TEXT, as_json=as_json)
        else:
            _list(ambassadors.find(chain).functions(), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    form: Annotated[Format, typer.Option("--output", "-o", help="As text, or what `apply` takes.")] = Format.TEXT,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Print the configuration in force, and how the engine is."""
    function, agent = _asked(context, chain)
    _show(agent, function, form, as_json=as_json)


@app.command("set")
def set_(
    context: typer.Context,
    expressions: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="For example algorithm=least-connections.")
    ],
    dry_run: DryRunOption = False,
    expect: ExpectOption = 0,
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Change fields of the configuration, all or none: KEY=VALUE, KEY+=VALUE, KEY-=VALUE."""
    from clover.cli import configurations
    from clover.cli import expressions as parsing

    wanted = _all(parsing.parse, expressions)
    function, agent = _asked(context, chain)
    target = ambassadors.only(agent.functions(), function)
    said = agent.call(target, "Get").response
    current = configurations.from_wire(target.type, said["configuration"], where=str(target))
    changed = parsing.changed(target.type, current, wanted)
    request = {
        "configuration": configurations.to_wire(target.type, changed.configuration),
        # Somebody else may have changed it since it was read.
        "expectedGeneration": str(expect or said["generation"]),
        "dryRun": dry_run,
    }
    with configurations.fields_placed(target.type, changed.place):
        changing.change(agent, target, "Apply", request, diff=diff, as_json=as_json)


@app.command()
def apply(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON as `show -o yaml` prints it; -: stdin.")],
    dry_run: DryRunOption = False,
    expect: ExpectOption = 0,
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Bring a whole configuration into force. What it does not say gets its default."""
    from clover.cli import apply as reading
    from clover.cli import configurations

    if Path(file).is_dir():
        raise DocumentError(Problem(code="CLV1001", where=file, what=f"{file!r} is a folder, not a file"))
    ((source, text),) = reading.read([file])
    function, agent = _asked(context, chain)
    target = ambassadors.only(agent.functions(), function)
    wanted = configurations.parse(text, source, type_=target.type, function=str(target))
    request = {
        "configuration": configurations.to_wire(target.type, wanted.configuration),
        "expectedGeneration": str(expect),
        "dryRun": dry_run,
    }
    with configurations.fields_placed(target.type, wanted.place):
        changing.change(agent, target, "Apply", request, diff=diff, as_json=as_json)


@app.command()
def watch(
    context: typer.Context,
    interval: Annotated[str, typer.Option(metavar="DURATION", help="At least this often: 500ms, 5s.")] = "1s",
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Print the status now and when it changes, until Ctrl-C."""
    from clover.cli.traces import seconds

    interval_s = seconds(interval, option="--interval")
    function, agent = _asked(context, chain)
    target = ambassadors.only(agent.functions(), function)
    console = screen.console()
    for said in agent.watch(target, "Watch", {"interval": f"{interval_s:g}s"}):
        if as_json:
            output.print_line(
                {**ambassadors.as_json(target), **said, "generation": render_control.number(said, "generation")}
            )
        else:
            screen.show([render_control.status(target, said, zone=None)], target=console)


# ---- functions that forward requests


@app.command()
def backends(context: typer.Context, chain: api.ChainOption = "", as_json: api.JsonOption = False) -> None:
    """List where the function sends requests. With each stands what its engine says of it."""
    agent, target = _target(context, chain, FORWARDING)
    said = agent.call(target, "ListBackends").response
    if as_json:
        from clover.cli import configurations

        output.print_json({**configurations.inward(said), "generation": render_control.number(said, "generation")})
    else:
        screen.show(render_control.backends(said))


@app.command()
def drain(
    context: typer.Context,
    host: HostArgument,
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Let a backend finish what it has, and send it nothing new."""
    _set_backend(context, chain, host, {"state": "BACKEND_STATE_DRAIN"}, diff=diff, as_json=as_json)


@app.command()
def ready(
    context: typer.Context,
    host: HostArgument,
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Send requests to a backend again."""
    _set_backend(context, chain, host, {"state": "BACKEND_STATE_READY"}, diff=diff, as_json=as_json)


@app.command()
def disable(
    context: typer.Context,
    host: HostArgument,
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Send a backend nothing, from now on."""
    _set_backend(context, chain, host, {"state": "BACKEND_STATE_DISABLED"}, diff=diff, as_json=as_json)


@app.command()
def weight(
    context: typer.Context,
    host: HostArgument,
    share: Annotated[int, typer.Argument(min=1, max=256, metavar="N", help="1 to 256, relative to the others'.")],
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Change a backend's share of the requests."""
    _set_backend(context, chain, host, {"weight": share}, diff=diff, as_json=as_json)


# ---- caches


@app.command()
def purge(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="URL|PREFIX*", help="http://host/path or /path; with * at the end, a prefix.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Make a cache forget answers."""
    if bool(what) == everything:
        raise _usage("URL", f"the URL is {what!r}" if what else "there is no URL", "one URL, or PREFIX*, or --all")
    agent, target = _target(context, chain, ("cache",))
    request: dict[str, Any] = {"everything": True}
    if what:
        request = {"prefix": what[:-1]} if what.endswith("*") else {"url": what}
    answer = agent.call(target, "PurgeCache", request)
    purged = answer.response.get("purged")
    if as_json:
        count = None if purged is None else int(purged)
        output.print_json({**ambassadors.as_json(target), "purged": count, "traceId": answer.trace_id})
        return
    told = "" if purged is None else f": {screen.count(int(purged), 'answer')}"
    print(f"{target}: purged {what or 'everything'}{told}  trace {answer.trace_id}")


# ---- servers


@_files.command("list")
def list_files(context: typer.Context, chain: api.ChainOption = "", as_json: api.JsonOption = False) -> None:
    """List the uploaded files."""
    agent, target = _target(context, chain, ("server",))
    said = agent.call(target, "ListFiles").response
    if as_json:
        files = [{**one, "bytes": render_control.number(one, "bytes")} for one in said.get("files", ())]
        output.print_json({**said, "files": files})
    else:
        screen.show(render_control.files(said))


@_files.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of this machine.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where it is served: pages/index.html.")],
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Put a file where the server's locations with `files: true` look for it."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as failure:
        why = f"{str(file)!r} cannot be read: {failure.strerror}"
        raise DocumentError(Problem(code="CLV1001", where=str(file), what=why)) from None
    if len(content) > MOST_BYTES:
        why = f"{str(file)!r} is larger than {MOST_BYTES >> 20} MiB, which is the most that an uploaded file may have"
        raise DocumentError(Problem(code="CLV3317", where=str(file), what=why))
    agent, target = _target(context, chain, ("server",))
    began = time.perf_counter()
    answer = agent.upload(target, path.removeprefix("/"), content)
    changing.tell(target, answer, took_ms=(time.perf_counter() - began) * 1000, diff=False, as_json=as_json)


@_files.command()
def delete(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="As `files list` shows it.")],
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Remove an uploaded file."""
    agent, target = _target(context, chain, ("server",))
    changing.change(agent, target, "DeleteFile", {"path": path.removeprefix("/")}, diff=False, as_json=as_json)


# ---- what the verbs share


def _asked(context: typer.Context, chain: str) -> tuple[str, Agent]:
    """Return the function that stands before the verb, and a client of the chain that is named before or after it."""
    function, named = _root(context).obj
    if not function:
        raise _usage("FUNCTION", "no function is named", "clover control FUNCTION VERB")
    return function, ambassadors.find(chain or named)


def _root(context: typer.Context) -> Any:
    return context if isinstance(context.obj, tuple) or context.parent is None else _root(context.parent)  # type: ignore[arg-type]


def _target(context: typer.Context, chain: str, types: Sequence[str]) -> tuple[Agent, Target]:
    function, agent = _asked(context, chain)
    target = ambassadors.only(agent.functions(), function)
    if target.type not in types:
        raise DocumentError(ambassadors.wrong_type(target, *types))
    return agent, target


def _set_backend(
    context: typer.Context, chain: str, host: str, wanted: Mapping[str, Any], *, diff: bool, as_json: bool
) -> None:
    name, colon, port = host.partition(":")
    if not name or (colon and not _is_port(port)):
        raise _usage("HOST", f"the backend is {host!r}", "HOST or HOST:PORT")
    agent, target = _target(context, chain, FORWARDING)
    request = {"host": name, **({"port": int(port)} if colon else {}), **wanted}
    changing.change(agent, target, "SetBackendState", request, diff=diff, as_json=as_json)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 1 << 16


def _show(agent: Agent, function: str, form: Format, *, as_json: bool) -> None:
    from clover.cli import configurations
    from clover.kit import yaml_text

    chosen = ambassadors.match(agent.functions(), function)
    answers = [(target, agent.call(target, "Get").response) for target in chosen]
    found = [
        (target, said, configurations.from_wire(target.type, said["configuration"], where=str(target)))
        for target, said in answers
    ]
    documents = [configurations.authored(target.type, configuration) for target, _, configuration in found]
    texts = [yaml_text.dump(document) for document in documents]
    if as_json:
        output.print_json(
            [
                {
                    **ambassadors.as_json(target),
                    "generation": render_control.number(said, "generation"),
                    "appliedAt": said.get("appliedAt", ""),
                    "engineReady": bool(said.get("engineReady")),
                    "engineMessage": said.get("engineMessage", ""),
                    "configuration": document,
                }
                for (target, said, _), document in zip(found, documents, strict=True)
            ]
        )
    elif form is Format.JSON:
        output.print_json(documents if len(documents) > 1 else documents[0])
    elif form is Format.YAML:
        for (target, said, _), text in zip(found, texts, strict=True):
            first = "---\n" if len(found) > 1 else ""
            print(f"{first}# {target}, generation {render_control.number(said, 'generation')}\n{text}", end="")
    else:
        for at, ((target, said, _), text) in enumerate(zip(found, texts, strict=True)):
            screen.show([""] if at else [])
            screen.show(render_control.state(target, said, text, zone=None))


def _list(targets: Sequence[Target], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"functions": [ambassadors.as_json(target) for target in targets]})
    else:
        screen.show(render_control.functions(targets))


def _all(parse: Callable[[str], Any], texts: Sequence[str]) -> list[Any]:
    """Return every text parsed. Raises DocumentError with the problems of all."""
    found: list[Any] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            found.append(parse(text))
        except DocumentError as failure:
            problems += failure.problems
    if problems:
        raise DocumentError(*problems)
    return found


def _usage(where: str, what: str, expected: str) -> DocumentError:
    return DocumentError(Problem(code="CLV5206", where=where, what=f"{what}, expected {expected}"))
