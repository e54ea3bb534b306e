"""YAML documents as plain data that remembers where each piece was written.

Plain scalars mean what they mean to Kubernetes, since the same files go there: `yes` and `on` are booleans,
`010` is eight, a date is text. What a reader could mistake, or what could hurt us, is refused with its
place: duplicate keys, tags, merge keys, aliases that swell, deep nesting. Nothing here knows what a document
is about.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from clover.errors import DocumentError, Mark, Problem

MAX_BYTES = 1 << 20
"""Size of the largest file that is read."""
MAX_DEPTH = 64
"""Most levels of mappings and lists inside each other."""
MAX_ALIASED = 10_000
"""Most values that aliases may repeat in one file: enough for people, too few for a bomb."""
MAX_PROBLEMS = 100
"""Most problems of one file that are shown at once."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN: re.Pattern[str] = yaml.reader.Reader.NON_PRINTABLE
"""What YAML does not allow; already compiled there, which takes long for a set this wide."""
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_OPEN_ADDRESS = re.compile(r"(?<=[0-9A-Fa-f]):(?=:[,\]}])|(?<=[0-9A-Fa-f]:):(?=[,\]}])")
"""The colons at the end of `[2001:db8::]`, which libyaml takes for half a mapping, and Kubernetes' reader for text."""
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("true", "yes", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.title(), word.upper())},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """One value, where it is written, and how many values it holds, itself included."""

    value: Any
    """A scalar, or `dict[str, _Node]`, or `list[_Node]`."""
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict)
    size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document: a mapping."""

    source: str
    """Name of the file, as messages show it."""
    data: dict[str, Any]
    """Plain data: dict, list, str, int, float, bool and None; nothing in it is shared."""
    _root: _Node = field(repr=False)

    def mark(self, path: tuple[str | int, ...] = (), *, key: bool = False) -> Mark:
        """
        Return where the value at `path` is written, or with `key` the name that it is written under.

        A path that does not exist is answered with the name of its nearest existing ancestor.
        """
        node, name = self._root, self._root.mark
        for step in path:
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                name, node = node.keys[step], node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
                node = node.value[step]
                name = node.mark
            else:
                return name
        return name if key else node.mark

    def part(self, path: tuple[str | int, ...]) -> Document:
        """Return the mapping at `path` as a document of its own, with the places of this one."""
        node = self._root
        for step in path:
            node = node.value[step]
        return Document(source=self.source, data=_plain(node), _root=node)


def load(path: Path) -> tuple[Document, ...]:
    """Read and parse a file; raises `DocumentError` with all its problems."""
    return parse(load_text(path), str(path))


def load_text(path: Path) -> str:
    """Read a file as text; raises `DocumentError` when it cannot be read, is too large or is not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(path, "does not exist") from None
    except IsADirectoryError:
        raise _unreadable(path, "is a folder, not a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unreadable(path, f"cannot be read: {reason}") from None
    return text_of(content, str(path))


def text_of(content: bytes, source: str) -> str:
    """Return bytes as text; raises `DocumentError` when they are too many or not UTF-8."""
    if len(content) > MAX_BYTES:
        raise DocumentError(_too_large(source))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise DocumentError(
            Problem(
                code="CLV1002",
                where=str(_mark_at(source, before)),
                what=f"the byte 0x{content[error.start]:02x} is not UTF-8 text",
                hint="save the file as UTF-8",
            )
        ) from None


def parse(text: str, source: str) -> tuple[Document, ...]:
    """
    Return the documents in `text`, without the empty ones; raises `DocumentError` with every problem found.

    `source` is the name that messages show.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentError(_too_large(source))
    if found := _FORBIDDEN.search(text):
        raise DocumentError(
            Problem(
                code="CLV1002",
                where=str(_mark_at(source, text[: found.start()])),
                what=f"the character U+{ord(found[0]):04X} cannot stand in a YAML document",
                hint="save the file as UTF-8 text" if found[0] == "\0" else "remove it",
            )
        )
    builder = _Builder(text, source)
    try:
        roots = tuple(builder.roots())
    except yaml.YAMLError as error:
        raise DocumentError(*builder.problems, _malformed(error, text, source)) from None
    except DocumentError as error:
        raise DocumentError(*worth_reading((*builder.problems, *error.problems), source)) from None
    if builder.problems:
        raise DocumentError(*builder.problems)
    return tuple(Document(source=source, data=_plain(root), _root=root) for root in roots)


def worth_reading(problems: Iterable[Problem], source: str) -> tuple[Problem, ...]:
    """Return the first problems, and one that says so when there are more than anybody wants to read."""
    first = tuple(islice(problems, MAX_PROBLEMS + 1))
    if len(first) <= MAX_PROBLEMS:
        return first
    more = Problem(
        code="CLV1012",
        where=source,
        what=f"{source!r} has more than {MAX_PROBLEMS} problems, of which the first are shown",
    )
    return (*first[:MAX_PROBLEMS], more)


def kind_of(value: object) -> str:
    """Return what a person calls the kind of a plain value: `text`, `a list` ..."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


class _Builder:
    """Builds nodes from parser events; keeps the problems that do not stop it, raises the one that does."""

    def __init__(self, text: str, source: str) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._colon = _absent_from(text)
        """Stands for colons that libyaml should not see; one character for another, so that places stay."""
        self._events: Iterator[Any] = yaml.parse(_OPEN_ADDRESS.sub(self._colon, text), Loader=_LOADER)
        self._anchors: dict[str, _Node | None] = {}
        """None while the anchored value is still being read."""
        self._aliased = 0

    def roots(self) -> Iterator[_Node]:
        """Yield the root of each document that is a mapping."""
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._anchors.clear()
            node = self._node(next(self._events), depth=1)
            if isinstance(node.value, dict):
                yield node
            elif node.value is not None:
                self._report(
                    "CLV1010",
                    node.mark,
                    f"the document is {kind_of(node.value)}, expected a mapping of names to values",
                )

    def _node(self, event: Any, *, depth: int) -> _Node:
        mark = self._mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark)
        if event.tag is not None:
            self._report("CLV1007", mark, f"the tag {event.tag!r} is not supported", "remove it: plain YAML is enough")
        if depth > MAX_DEPTH:
            raise DocumentError(self._problem("CLV1009", mark, f"values are nested more than {MAX_DEPTH} levels deep"))
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        match event:
            case yaml.ScalarEvent():
                node = _Node(value=self._scalar(event, mark), mark=mark)
            case yaml.SequenceStartEvent():
                node = self._sequence(mark, depth)
            case _:
                node = self._mapping(mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, mark: Mark, depth: int) -> _Node:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return _Node(value=items, mark=mark, size=1 + sum(item.size for item in items))

    def _mapping(self, mark: Mark, depth: int) -> _Node:
        values: dict[str, _Node] = {}
        keys: dict[str, Mark] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth=depth + 1)
            value = self._node(next(self._events), depth=depth + 1)
            if type(key.value) is int:
                # As on Kubernetes, which reads YAML as JSON: `portLevelMtls: {8080: ...}`.
                key = replace(key, value=str(key.value))
            if not isinstance(key.value, str):
                self._report(
                    "CLV1006",
                    key.mark,
                    f"a key is {kind_of(key.value)}, expected text",
                    "write it in quotes" if not isinstance(key.value, dict | list) else "",
                )
            elif key.value == "<<" and event.implicit[0]:
                self._report("CLV1008", key.mark, "merge keys ('<<') are not supported", "write the fields out")
            elif key.value in values:
                first = keys[key.value]
                self._report(
                    "CLV1005",
                    key.mark,
                    f"the key {key.value!r} is written twice in one mapping",
                    f"it is first written on line {first.line}; keep one",
                )
            else:
                values[key.value], keys[key.value] = value, key.mark
        return _Node(value=values, mark=mark, keys=keys, size=1 + sum(value.size for value in values.values()))

    def _alias(self, anchor: str, mark: Mark) -> _Node:
        if anchor not in self._anchors:
            self._report("CLV1008", mark, f"the alias '*{anchor}' has no anchor '&{anchor}' before it")
            return _Node(value=None, mark=mark)
        node = self._anchors[anchor]
        if node is None:
            self._report("CLV1008", mark, f"the alias '*{anchor}' stands inside the value that it repeats")
            return _Node(value=None, mark=mark)
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise DocumentError(
                self._problem("CLV1008", mark, f"aliases repeat more than {MAX_ALIASED} values", "write the values out")
            )
        return node

    def _scalar(self, event: Any, mark: Mark) -> str | int | float | bool | None:
        text: str = event.value.replace(self._colon, ":")
        if found := _UNUSABLE.search(text):
            self._report("CLV1002", mark, f"the text contains the character U+{ord(found[0]):04X}", "remove it")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return self._int(text, mark)
        if _FLOAT.fullmatch(text):
            return self._float(text, mark)
        return text

    def _int(self, text: str, mark: Mark) -> int | str:
        digits = text.replace("_", "").lstrip("+-")
        base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 8 if digits.startswith("0") else 10)
        try:
            # More than 64 bits would have up to a million digits, which Python refuses to convert.
            number = int(digits, base) if len(digits) <= 66 else 1 << 64
        except ValueError:
            return text  # e.g. `089`, which is no octal number: text, as on Kubernetes
        if number >= 1 << 63:
            self._report("CLV1011", mark, f"the number {_cut(text)!r} does not fit into 64 bits")
            return 0
        return -number if text.startswith("-") else number

    def _float(self, text: str, mark: Mark) -> float:
        number = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            self._report("CLV1011", mark, f"the number {_cut(text)!r} is not finite")
            return 0.0
        return number

    def _mark(self, event: Any) -> Mark:
        place = event.start_mark
        return Mark(file=self._source, line=place.line + 1, column=place.column + 1)

    def _problem(self, code: str, mark: Mark, what: str, hint: str = "") -> Problem:
        return Problem(code=code, where=str(mark), what=what, hint=hint)

    def _report(self, code: str, mark: Mark, what: str, hint: str = "") -> None:
        self.problems.append(self._problem(code, mark, what, hint))
        if len(self.problems) > MAX_PROBLEMS:
            raise DocumentError


def _plain(node: _Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value


def _malformed(error: yaml.YAMLError, text: str, source: str) -> Problem:
    place = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = (
        Mark(file=source, line=place.line + 1, column=place.column + 1)
        if place
        else Mark(file=source, line=1, column=1)
    )
    lines = text.split("\n")
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        what, hint = (
            "the line is indented with a tab; YAML is indented with spaces",
            "replace the tab with spaces",
        )
    else:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        context = getattr(error, "context", None)
        what, hint = "the YAML is malformed: " + (f"{context}, {problem}" if context else problem), ""
    return Problem(code="CLV1004", where=str(mark), what=what, hint=hint)


def _absent_from(text: str) -> str:
    """Return a character for private use that is not in the text; a colon when somebody used them all."""
    present = set(text)
    return next((character for character in map(chr, range(0xE000, 0xF900)) if character not in present), ":")


def _mark_at(source: str, before: str) -> Mark:
    """Return the place right after the text `before`."""
    return Mark(file=source, line=before.count("\n") + 1, column=len(before) - (before.rfind("\n") + 1) + 1)


def _too_large(source: str) -> Problem:
    return Problem(code="CLV1003", where=source, what=f"{source!r} is larger than {MAX_BYTES >> 10} KiB")


def _unreadable(path: Path, reason: str) -> DocumentError:
    return DocumentError(Problem(code="CLV1001", where=str(path), what=f"{str(path)!r} {reason}"))


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
