"""`clover ids rule ...`: what the intrusion detection system raises alerts for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from clover.cli import ambassadors, api, changing, output, render_control, screen
from clover.cli.ambassadors import Agent, DiffOption, FunctionOption, Target
from clover.errors import DocumentError, Problem

TYPE = "ids"
FIRST_ID = 9_000_000
"""Rules that name no id get one from here on: far from the ids of published rule sets."""
MOST_ID = (1 << 31) - 1
"""As `IdsRule` says."""
_SID = re.compile(r"\bsid\s*:\s*([0-9]{1,10})\s*;")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
_rule = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(_rule, name="rule", help="List, add and remove rules.")


@app.callback()
def ids() -> None:
    """Change the rules of the intrusion detection system."""


@_rule.command("list")
def list_rules(function: FunctionOption = "", chain: api.ChainOption = "", as_json: api.JsonOption = False) -> None:
    """List the rules in force."""
    _, _, rules, generation = _rules(function, chain)
    if as_json:
        output.print_json({"rules": rules, "generation": generation})
    else:
        screen.show(render_control.rules(rules))


@_rule.command()
def add(
    text: Annotated[str, typer.Argument(metavar="RULE", help="A rule in the engine's own language.")] = "",
    user_agent: Annotated[str, typer.Option(metavar="TEXT", help="Alert when the User-Agent contains this.")] = "",
    uri: Annotated[str, typer.Option(metavar="TEXT", help="... when path and query contain this.")] = "",
    host: Annotated[str, typer.Option(metavar="TEXT", help="... when the Host contains this.")] = "",
    header: Annotated[str, typer.Option(metavar="TEXT", help="... when any header contains this.")] = "",
    method: Annotated[str, typer.Option(metavar="TEXT", help="... when the method contains this.")] = "",
    body: Annotated[str, typer.Option(metavar="TEXT", help="... when the request's body contains this.")] = "",
    case_sensitive: Annotated[bool, typer.Option("--case-sensitive", help="Upper and lower case differ.")] = False,
    message: Annotated[str, typer.Option(metavar="TEXT", help="What the alert says.")] = "",
    rule_id: Annotated[
        int | None, typer.Option("--id", min=1, max=MOST_ID, help="The rule's id; without it, one that is free.")
    ] = None,
    severity: Annotated[int, typer.Option(min=1, max=4, help="1 is the worst.")] = 2,
    function: FunctionOption = "",
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Add a rule: text to look for in one part of a request, or a rule in the engine's own language."""
    parts = {"user-agent": user_agent, "uri": uri, "host": host, "header": header, "method": method, "body": body}
    given = {part: wanted for part, wanted in parts.items() if wanted}
    if len(given) + bool(text) != 1:
        options = ", ".join(f"--{part}" for part in parts)
        what = f"there are {len(given) + bool(text)} things to look for" if given or text else "nothing to look for"
        raise _usage("RULE", what, f"one of {options}, or one rule in the engine's own language")
    agent, target, rules, generation = _rules(function, chain)
    if text:
        rule = own_rule(text, rule_id=rule_id, taken=_ids(rules))
    else:
        ((field, wanted),) = given.items()
        rule = {
            "id": rule_id or free_id(_ids(rules)),
            "message": message or f"{field} contains {wanted}",
            "severity": severity,
            "http": {"field": field, "contains": wanted, "caseSensitive": case_sensitive},
        }
    _check(rule)
    from clover.cli import configurations

    request = {"rule": configurations.rule_to_wire(rule), "expectedGeneration": str(generation)}
    changing.change(agent, target, "AddRule", request, diff=diff, as_json=as_json)
    if not as_json:
        print(f"rule {rule['id']}: clover ids rule remove {rule['id']} takes it out again")


@_rule.command()
def remove(
    rule_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MOST_ID, help="As `rule list` shows it.")],
    function: FunctionOption = "",
    diff: DiffOption = False,
    chain: api.ChainOption = "",
    as_json: api.JsonOption = False,
) -> None:
    """Remove a rule."""
    agent, target = _found(function, chain)
    changing.change(agent, target, "RemoveRule", {"id": rule_id}, diff=diff, as_json=as_json)


def own_rule(text: str, *, rule_id: int | None, taken: Sequence[int]) -> dict[str, Any]:
    """
    Return a rule in the engine's own language; its id is its `sid`, which is written into it when it has none.

    Raises DocumentError when two ids contradict each other.
    """
    text = text.strip()
    if found := _SID.search(text):
        if rule_id and rule_id != int(found[1]):
            raise _usage("--id", f"--id is {rule_id}, and the rule's sid is {found[1]}", "one of them")
        return {"id": int(found[1]), "text": text}
    chosen = rule_id or free_id(taken)
    if not text.endswith(")"):
        raise _usage(
            "RULE", "the rule does not end with ')'", "for example 'alert http any any -> any any (msg:\"x\";)'"
        )
    inside = text[:-1].rstrip()
    return {"id": chosen, "text": f"{inside}{'' if inside.endswith((';', '(')) else ';'} sid:{chosen};)"}


def free_id(taken: Sequence[int]) -> int:
    """Return the id of a new rule: one more than the highest of those that were chosen so."""
    return max((FIRST_ID - 1, *(one for one in taken if one >= FIRST_ID))) + 1


def _ids(rules: Sequence[Mapping[str, Any]]) -> list[int]:
    return [int(rule.get("id", 0)) for rule in rules]


def _found(function: str, chain: str) -> tuple[Agent, Target]:
    agent = ambassadors.find(chain)
    return agent, ambassadors.only(agent.functions(), function, type_=TYPE)


def _rules(function: str, chain: str) -> tuple[Agent, Target, list[dict[str, Any]], int]:
    """Return who was asked, the rules as people write them, and their generation."""
    from clover.cli import configurations

    agent, target = _found(function, chain)
    said = agent.call(target, "ListRules").response
    return agent, target, configurations.inward(said).get("rules", []), render_control.number(said, "generation")


def _check(rule: Mapping[str, Any]) -> None:
    """Raise DocumentError with everything that is wrong with a rule."""
    from clover.spec import violations
    from clover.spec.configuration import IdsConfiguration

    _, wrong = violations.checked(IdsConfiguration, {"rules": [rule]})
    if wrong:
        raise DocumentError(*_problems(wrong))


def _problems(wrong: Sequence[Any]) -> Iterator[Problem]:
    for one in wrong:
        # Of `rules[0].http.contains`, what was typed is the last.
        yield Problem(code="CLV5214", where="rule", what=f"{str(one.path[-1])!r} {one.what}", hint=one.hint)


def _usage(where: str, what: str, expected: str) -> DocumentError:
    return DocumentError(Problem(code="CLV5206", where=where, what=f"{what}, expected {expected}"))
