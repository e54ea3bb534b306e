"""`KEY=VALUE` of `clover control FUNCTION set`: a change of one field, in few words.

    algorithm=least-connections         a field
    backends=web-cache,web-cache2       a list; backends that are there keep their weight and state
    excluded-rules+=920350              one more, and -= one less
    block-policy.threshold=1            a field of a part
    backends.web-cache.weight=50        a field of one item of a list, found by its host or its id
    block-policy=none                   without it

Keys may be written in kebab-case or in camelCase. What a value may be, the configuration's own model says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from clover.errors import DocumentError, Problem
from clover.spec import violations
from clover.spec.configuration import MODELS, Backend, Configuration
from clover.spec.nearest import did_you_mean
from clover.spec.violations import Path, Violation

_EXPRESSION = re.compile(r"(?P<key>[^=+]*?)(?P<operator>\+=|-=|=)(?P<value>.*)", re.DOTALL)
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NAMES = {"backends": "host", "rules": "id"}
"""List → the field that tells its items apart."""
_NONE = "none"
WHOLE = "the configuration"
_AS_A_FILE = "change it in a file: clover control FUNCTION show -o yaml prints one that apply takes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One change."""

    text: str
    """As it was typed."""
    keys: tuple[str, ...]
    operator: str
    """`=`, `+=` or `-=`."""
    value: str

    def named(self, path: Path) -> str:
        """Return how this one names the field at `path`: as it was typed, or would be."""
        return violations.shown(path) if any(key != key.lower() for key in self.keys) else violations.typed(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What came of changes."""

    configuration: Configuration
    sources: Mapping[Path, Expression]
    """Path of what was changed → what changed it, the last."""

    def place(self, path: Path) -> str:
        """Return where somebody who typed the changes looks for the field at `path`."""
        source = _source(path, self.sources)
        return source.text if source else violations.typed(path) or WHOLE


class _Refused(Exception):
    """An expression cannot be carried out; the arguments are what is wrong, and a hint."""


def parse(text: str) -> Expression:
    """Return the expression that `text` is. Raises DocumentError."""
    found = _EXPRESSION.fullmatch(text)
    keys = found["key"].strip().split(".") if found else [""]
    if found is None or not all(keys):
        raise DocumentError(
            Problem(
                code="CLV5206",
                where="KEY=VALUE",
                what=f"the change is {violations.quoted(text)}, expected a field and its value",
                hint="for example: algorithm=least-connections, backends.web-cache.weight=50, excluded-rules+=920350",
            )
        )
    return Expression(text=text, keys=tuple(keys), operator=found["operator"], value=found["value"].strip())


def changed(type_: str, current: Configuration, expressions: Sequence[Expression]) -> Changed:
    """Return what comes of all the changes together. Raises DocumentError with everything that is wrong with them."""
    model = MODELS[type_]
    data = current.as_json()
    problems: list[Problem] = []
    sources: dict[Path, Expression] = {}
    for expression in expressions:
        try:
            sources[_carry_out(model, data, expression)] = expression
        except _Refused as refusal:
            what, hint = refusal.args
            problems.append(Problem(code="CLV5214", where=expression.text, what=what, hint=hint))
    configuration, wrong = violations.checked(model, data)
    problems += (_problem(violation, sources) for violation in wrong)
    if problems or configuration is None:
        raise DocumentError(*dict.fromkeys(problems))
    return Changed(configuration=configuration, sources=sources)


def _carry_out(model: type[BaseModel], data: dict[str, Any], expression: Expression) -> Path:
    """Change `data`; return the path of what was changed."""
    path: Path = ()
    holder: Any = data
    *way, last = expression.keys
    steps = iter(way)
    for step in steps:
        field, annotation = _field(model, step, path, expression)
        path = (*path, field)
        if not (parts := _models(annotation)):
            raise _Refused(f"{expression.named(path)!r} has no fields of its own", f"{_kebab(field)}=VALUE sets it")
        (model,) = parts
        if get_origin(annotation) is not tuple:
            if holder.get(field) is None:
                holder[field] = {}
            holder = holder[field]
            continue
        if field not in _NAMES:
            raise _Refused(f"the items of {expression.named(path)!r} have no names to find them by", _AS_A_FILE)
        if (name := next(steps, None)) is None:
            example = f"{_kebab(field)}.{last}.{_kebab(list(model.model_fields)[-1])}=..."
            raise _Refused(f"{'.'.join(expression.keys)!r} is an item of a list, expected a field of it", example)
        items = holder.get(field, [])
        at = _place(items, field, name, path)
        holder, path = items[at], (*path, at)
    field, annotation = _field(model, last, path, expression)
    holder[field] = _value(annotation, expression, holder.get(field), field, (*path, field))
    return (*path, field)


def _field(model: type[BaseModel], key: str, path: Path, expression: Expression) -> tuple[str, Any]:
    """Return the name that people write a field by, and its type."""
    wanted = re.sub(r"-([a-z])", lambda found: found[1].upper(), key)
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    if wanted not in fields:
        owner = f"{expression.named(path)!r}" if path else WHOLE
        known = [_kebab(name) for name in fields]
        hint = did_you_mean(_kebab(wanted), known, otherwise=f"fields: {', '.join(known)}")
        raise _Refused(f"{owner} has no field {violations.quoted(key)}", hint)
    return wanted, fields[wanted]


def _place(items: Sequence[Mapping[str, Any]], field: str, name: str, path: Path) -> int:
    key = _NAMES[field]
    found = [at for at, item in enumerate(items) if name in (str(item.get(key)), f"{item.get(key)}:{item.get('port')}")]
    if len(found) == 1:
        return found[0]
    known = [
        f"{item.get(key)}:{item['port']}" if found and item.get("port") else str(item.get(key, "")) for item in items
    ]
    what = "names several of them" if found else "is none of them"
    raise _Refused(
        f"{violations.shown(path)!r}: {violations.quoted(name)} {what}",
        did_you_mean(name, () if found else known, otherwise=f"there are: {', '.join(known)}" if known else ""),
    )


def _value(annotation: Any, expression: Expression, before: Any, field: str, path: Path) -> Any:
    if get_origin(annotation) is tuple:
        return _list(get_args(annotation)[0], expression, before or [], field, path)
    if expression.operator != "=":
        raise _Refused(f"{expression.named(path)!r} is no list: '{expression.operator}' means nothing", "write =")
    if expression.value == _NONE and type(None) in get_args(annotation):
        return None
    if _models(annotation):
        raise _Refused(
            f"{expression.named(path)!r} has fields of its own, expected one of them",
            f"for example: {_kebab(field)}.{_kebab(next(iter(_models(annotation)[0].model_fields)))}=..., or "
            f"{_kebab(field)}=none",
        )
    return _scalar(annotation, expression.value)


def _list(item: Any, expression: Expression, before: list[Any], field: str, path: Path) -> list[Any]:
    texts = [text.strip() for text in expression.value.split(",") if text.strip()]
    if item is Backend:
        given: list[Any] = [_backend(text, before) for text in texts]
    elif _models(item) and expression.operator == "-=" and field in _NAMES:
        given = [before[_place(before, field, text, (field,))] for text in texts]
    elif _models(item) and texts:
        raise _Refused(
            f"an item of {expression.named(path)!r} has fields of its own, which do not fit here", _AS_A_FILE
        )
    else:
        given = [_scalar(item, text) for text in texts]
    match expression.operator:
        case "+=":
            return [*before, *(one for one in given if one not in before)]
        case "-=":
            if missing := [text for text, one in zip(texts, given, strict=True) if one not in before]:
                raise _Refused(f"{expression.named(path)!r} has no {', '.join(map(violations.quoted, missing))}", "")
            return [one for one in before if one not in given]
        case _:
            return given


def _backend(text: str, before: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the backend `host` or `host:port`, as it is when it is there already."""
    host, colon, port = text.partition(":")
    made = {"host": host, "port": _scalar(int, port)} if colon else {"host": host}
    known = (item for item in before if item.get("host") == host and (not colon or item.get("port") == made["port"]))
    return next(known, made)


def _scalar(annotation: Any, text: str) -> Any:
    """Return what `text` means for a field of that type; what does not fit stays text, for the model to judge."""
    kinds = [annotation, *get_args(annotation), *(one for part in get_args(annotation) for one in get_args(part))]
    if bool in kinds:
        return _BOOLEANS.get(text.lower(), text)
    if int in kinds or any(isinstance(kind, int) for kind in kinds):
        return int(text) if re.fullmatch(r"-?[0-9]{1,100}", text) else text
    return text


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the model that a field holds, or holds many of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _problem(violation: Violation, sources: Mapping[Path, Expression]) -> Problem:
    """Address what is wrong to the expression that brought it, which is the one with most of its path."""
    source = _source(violation.path, sources)
    named = source.named if source else violations.typed
    return Problem(
        code="CLV5214",
        where=source.text if source else WHOLE,
        what=violation.of(named(violation.about)),
        hint=violation.hint,
    )


def _source(path: Path, sources: Mapping[Path, Expression]) -> Expression | None:
    """Return the expression that changed what is at `path`, or something of it, or what it is part of."""
    fitting = [one for one in sources if one == path[: len(one)] or path == one[: len(path)]]
    nearest = max(fitting, key=len, default=None)
    return sources[nearest] if nearest else None


def _kebab(name: str) -> str:
    return violations.typed((name,)).replace("_", "-")
