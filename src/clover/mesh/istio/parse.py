"""Istio's documents into resources, with every problem of every document at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clover.errors import DocumentError, Problem
from clover.kit.documents import Document, kind_of
from clover.mesh.istio import left_out, resources
from clover.mesh.istio.finding import cut, dotted, nearest
from clover.mesh.istio.kinds.part import Part
from clover.mesh.istio.resources import Resource

SCHEMA = "IST0106"
"""What Istio's analysis calls a document that does not fit the form of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Resources, and the documents that they were read from."""

    resources: tuple[Resource, ...]
    origins: Mapping[str, Document] = field(default_factory=dict)
    """By `resources.key`; problems found later are told where they are written."""


def parse(documents: Iterable[Document], *, namespace: str = "default") -> tuple[Resource, ...]:
    """
    Return the resources in `documents`; raises `DocumentError` with every problem found.

    A resource that names no namespace belongs to `namespace`.
    """
    return parse_with_origins(documents, namespace=namespace).resources


def parse_with_origins(documents: Iterable[Document], *, namespace: str = "default") -> Parsed:
    """Return the resources in `documents` with where each was read; raises like `parse`."""
    parsed, problems = inspect(documents, namespace=namespace)
    if problems:
        raise DocumentError(*problems)
    return parsed


def inspect(documents: Iterable[Document], *, namespace: str = "default") -> tuple[Parsed, tuple[Problem, ...]]:
    """Return what could be read, and why the rest could not: with both, everything wrong can be told at once."""
    found: dict[str, Resource] = {}
    origins: dict[str, Document] = {}
    problems: list[Problem] = []
    for document in documents:
        try:
            resource = _resource(document, namespace)
        except DocumentError as error:
            problems.extend(error.problems)
            continue
        name = resources.key(resource)
        if name in found:
            problems.append(_twice(name, origins[name], document))
        found.setdefault(name, resource)
        origins.setdefault(name, document)
    return Parsed(resources=tuple(found.values()), origins=origins), tuple(problems)


def _resource(document: Document, namespace: str) -> Resource:
    model = _model(document)
    try:
        resource = model.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise DocumentError(*_problems(error, model, document)) from None
    if "namespace" in resource.metadata.model_fields_set:
        return resource
    metadata = resource.metadata.model_copy(update={"namespace": namespace})
    return resource.model_copy(update={"metadata": metadata})


def _model(document: Document) -> type[Resource]:
    """Return the model for a document's `kind`, or say which kinds there are."""
    kind, version = document.data.get("kind"), document.data.get("apiVersion")
    kinds = ", ".join(resources.KINDS)
    if not isinstance(kind, str) or not isinstance(version, str):
        absent = "kind" if not isinstance(kind, str) else "apiVersion"
        value = document.data.get(absent)
        what = f"the document has no {absent!r}" if value is None else f"{absent!r} is {kind_of(value)}, expected text"
        raise DocumentError(
            Problem(code="CLV4101", where=str(document.mark((absent,))), what=what, hint=f"Clover reads {kinds}")
        )
    model = resources.model_of(kind, version)
    if model is None:
        where, subject = str(document.mark(("kind",))), _subject(document)
        if known := left_out.ON_PURPOSE.get(kind):
            what = f"{subject}: the kind {kind!r} is left out by Clover: {known.why}"
            raise DocumentError(Problem(code="CLV4280", where=where, what=what, hint=known.instead))
        what = f"{subject}: the kind {cut(kind)!r} is not supported by Clover, which reads {kinds}"
        hint = left_out.HINTS.get(kind) or nearest(kind, resources.KINDS)
        raise DocumentError(Problem(code="CLV4101", where=where, what=what, hint=hint))
    if version not in model.api_versions:
        raise DocumentError(
            Problem(
                code="CLV4101",
                where=str(document.mark(("apiVersion",))),
                what=f"{_subject(document)}: apiVersion is {cut(version)!r}, expected {model.api_versions[0]!r}",
            )
        )
    return model


def _problems(error: ValidationError, model: type[Part], document: Document) -> Iterator[Problem]:
    """Yield what is wrong, in the order of the lines."""
    details = error.errors(include_url=False)
    broken = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    # A list whose items are all broken is called too short as well, which says nothing.
    told = (detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in broken)
    found = [(document.mark(_path(detail)), _problem(detail, model, document)) for detail in told]
    for _, problem in sorted(found, key=lambda pair: (pair[0].line, pair[0].column)):
        yield problem


def _path(detail: ErrorDetails) -> tuple[int | str, ...]:
    """Return where in the document the value is; pydantic marks a bad key with a step of its own."""
    return tuple(step for step in detail["loc"] if step != "[key]")


def _problem(detail: ErrorDetails, model: type[Part], document: Document) -> Problem:
    path = _path(detail)
    subject = f"{_subject(document)}: field {dotted(path)!r}"
    match detail["type"]:
        case "extra_forbidden":
            return _extra(path, subject, model, document)
        case "missing":
            where = str(document.mark(path[:-1]))
            return Problem(code="CLV4105", where=where, what=f"{subject} is missing", istio=SCHEMA)
        case kind:
            what = _wrong(kind, detail)
            return Problem(code="CLV4104", where=str(document.mark(path)), what=f"{subject}: {what}", istio=SCHEMA)


def _extra(path: tuple[int | str, ...], subject: str, model: type[Part], document: Document) -> Problem:
    where = str(document.mark(path, key=True))
    owner = part_at(model, path[:-1])
    if owner and path[-1] in owner.unsupported:
        return Problem(code="CLV4103", where=where, what=f"{subject} is not supported by Clover")
    known = [info.alias or name for name, info in owner.model_fields.items()] if owner else []
    hint = nearest(str(path[-1]), known)
    return Problem(code="CLV4102", where=where, what=f"{subject} is unknown", hint=hint, istio=SCHEMA)


def _wrong(kind: str, detail: ErrorDetails) -> str:
    """Say in our words what pydantic found."""
    value, context = detail["input"], detail.get("ctx", {})
    shown = repr(value) if isinstance(value, str | int | float) else kind_of(value)
    match kind:
        case "literal_error":
            return f"{cut(shown)} is not one of {context['expected']}"
        case "string_type":
            return (
                f"{shown} is {kind_of(value)}, expected text"
                if value is not None
                else "there is nothing, expected text"
            )
        case "int_type" | "float_type" | "int_from_float":
            return f"{cut(shown)} is {kind_of(value)}, expected a {'whole ' if kind != 'float_type' else ''}number"
        case "bool_type":
            return f"{cut(shown)} is not true or false"
        case "tuple_type":
            return f"there is {kind_of(value)}, expected a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"there is {kind_of(value)}, expected a mapping"
        case "greater_than_equal":
            return f"{cut(shown)} is less than {context['ge']}"
        case "greater_than":
            return f"{cut(shown)} is not more than {context['gt']}"
        case "less_than_equal":
            return f"{cut(shown)} is more than {context['le']}"
        case "string_too_short" | "too_short":
            return "it is empty"
        case "string_too_long" | "too_long":
            items = "characters" if isinstance(value, str) else "items"
            return f"it has {len(value)} {items}, expected {context['max_length']} at most"
        case "string_pattern_mismatch":
            return f"{cut(shown)} is not a valid name"
        case _:
            return detail["msg"]


def part_at(model: Any, path: tuple[int | str, ...]) -> type[Part] | None:
    """Return the model that describes the value at `path`."""
    here = _unwrapped(model)
    for step in path:
        if isinstance(here, type) and issubclass(here, Part):
            fields = {info.alias or name: info.annotation for name, info in here.model_fields.items()}
            here = _unwrapped(fields.get(str(step)))
        elif get_origin(here) in (tuple, dict):
            here = _unwrapped([part for part in get_args(here) if part is not Ellipsis][-1])
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, Part) else None


def _unwrapped(annotation: Any) -> Any:
    """Return `X` for `X | None`."""
    if get_origin(annotation) in (Union, UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _subject(document: Document) -> str:
    """Return `VirtualService default/x`, as far as the document says it."""
    kind, metadata = document.data.get("kind"), document.data.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = metadata.get("name", "?"), metadata.get("namespace", "default")
    return f"{cut(str(kind))} {cut(str(namespace))}/{cut(str(name))}"


def _twice(name: str, first: Document, second: Document) -> Problem:
    return Problem(
        code="CLV4106",
        where=str(second.mark(("metadata", "name"))),
        what=f"{name!r} is written twice; it is first written at {first.mark(('metadata', 'name'))}",
    )
