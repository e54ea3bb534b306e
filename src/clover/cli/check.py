"""`clover check PATH...`: say everything that is wrong with chains and resources, and start nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from clover.cli import output, yaml_files
from clover.cli.output import counted
from clover.errors import DocumentError, errors_only
from clover.runtime import inspection
from clover.runtime.inspection import File
from clover.runtime.verdict import Verdict


def check(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders and all that is below them, or - for stdin.")
    ],
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", metavar="NAMESPACE", help="Namespace of resources that name none and have no chain."
        ),
    ] = "default",
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check chains, Istio's resources and the Gateway API's; says everything that is wrong at once."""
    verdicts = _verdicts(paths, namespace)
    sound = all(_is_sound(verdict, strict=strict) for verdict in verdicts)
    exit_code = 0 if sound else DocumentError.exit_code
    if as_json:
        output.print_json({"files": [_as_json(one, strict=strict) for one in verdicts], "exitCode": exit_code})
    else:
        _show(verdicts, strict=strict)
    raise typer.Exit(exit_code)


def _verdicts(paths: Iterable[str], namespace: str) -> list[Verdict]:
    found = list({one.name: one for path in paths for one in yaml_files.below(path)}.values())
    readable = [
        File(name=one.name, folder=one.folder, text=one.text, named=one.named) for one in found if not one.problems
    ]
    checked = {verdict.path: verdict for verdict in inspection.inspect(readable, namespace=namespace)}
    return [checked.get(one.name) or Verdict(path=one.name, problems=one.problems) for one in found]


def _is_sound(verdict: Verdict, *, strict: bool) -> bool:
    return not (verdict.problems if strict else errors_only(verdict.problems))


def _show(verdicts: Iterable[Verdict], *, strict: bool) -> None:
    """Print a line for each chain and each file with something wrong, and one for all the resources."""
    rest = []
    for verdict in verdicts:
        output.print_problems(verdict.problems)
        if not _is_sound(verdict, strict=strict):
            print(f"{verdict.path}: {', '.join(_counts([verdict]))}", file=sys.stderr)
        elif verdict.chain is not None:
            functions = counted(len(verdict.chain.functions), "function")
            workloads = counted(len(tuple(verdict.chain.workloads())), "workload")
            print(f"{verdict.path}: ok: {', '.join([functions, workloads, *_counts([verdict])])}", flush=True)
        if verdict.resources or verdict.objects or verdict.skipped:
            rest.append(verdict)
    if rest:
        _show_sum(rest, sound=all(_is_sound(verdict, strict=strict) for verdict in rest))


def _show_sum(verdicts: list[Verdict], *, sound: bool) -> None:
    seen = [counted(sum(verdict.resources for verdict in verdicts), "resource")]
    if objects := sum(verdict.objects for verdict in verdicts):
        seen.append(f"{counted(objects, 'object')} of Kubernetes")
    if skipped := sum(verdict.skipped for verdict in verdicts):
        seen.append(f"{counted(skipped, 'document')} of other kinds skipped")
    text = f"{counted(len(verdicts), 'file')}: {', '.join([*seen, *_counts(verdicts)])}"
    print(f"ok: {text}" if sound else text, file=sys.stdout if sound else sys.stderr, flush=True)


def _counts(verdicts: Iterable[Verdict]) -> list[str]:
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    errors = len(errors_only(problems))
    warnings = len(problems) - errors
    return [counted(errors, "error")] * bool(errors) + [counted(warnings, "warning")] * bool(warnings)


def _as_json(verdict: Verdict, *, strict: bool) -> dict[str, Any]:
    chain = verdict.chain
    return {
        "path": verdict.path,
        "ok": _is_sound(verdict, strict=strict),
        "chain": chain.name if chain else None,
        "functions": len(chain.functions) if chain else None,
        "workloads": len(tuple(chain.workloads())) if chain else None,
        "resources": verdict.resources,
        "objects": verdict.objects,
        "skipped": verdict.skipped,
        "problems": [problem.as_json() for problem in verdict.problems],
    }
