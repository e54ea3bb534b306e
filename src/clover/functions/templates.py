"""From settings to an engine's configuration text, with nothing in it that no rule has vetted.

Two rules hold whatever a template says. A name that the values lack is an error (`StrictUndefined`), never empty
text. And a template can only print whole numbers and `Word`s: a `Word` cannot be made without passing its rule, and
anything that a filter derives from one is a plain string again, which is refused. So a value can be a token of an
engine's configuration, but never a second token, the end of a quoted string, a variable or a line of its own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import jinja2

from clover.errors import FunctionError, Problem
from clover.functions.driver import Settings

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
"""Function, version and workload names."""
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
"""Host names and IPv4 addresses; no `:` or `/`, which engines read as ports, socket paths and address families."""
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
DIRECTORY = re.compile(r"""/[^\x00-\x1f\x7f"'$\\{};#%*?\[\]]*""")
"""Absolute; without quotes and without the characters that an engine expands, splits or cuts at."""

PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}", re.ASCII)
"""Of a URL, without a character that is written in another way there."""
URL = re.compile(r"(?:https?://[A-Za-z0-9.:-]+)?/[A-Za-z0-9._~/?&=%+-]*", re.ASCII)
SITE_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:(?!\.\.)[a-z0-9.-]){0,251}(?<![.-])", re.ASCII)
"""A host name, or `*.` and one: all hosts below it."""
CONTENT_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+(?:; charset=[A-Za-z0-9-]+)?", re.ASCII)
"""With a space and a semicolon, so it can only stand in quotes."""
_EMPTY = re.compile("")
_Told = TypeVar("_Told")


class Word(str):
    """Text that can stand in double quotes, and bare unless its rule says otherwise, and means itself there."""

    __slots__ = ()

    def __new__(cls, text: str, rule: re.Pattern[str]) -> Word:
        """Take `text` as it is, or refuse it."""
        if rule.fullmatch(text) is None or not text.isprintable():
            raise ValueError(f"{text!r} cannot be written into an engine's configuration")
        return super().__new__(cls, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An upstream whose parts are vetted."""

    host: Word
    port: int
    weight: int = 1
    state: str = "ready"
    """To compare with, not to print: `ready`, `drain` or `disabled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What templates see of the settings."""

    workload: Word
    function: Word
    version: Word
    port: int
    generation: int
    status_port: int
    upstreams: tuple[Target, ...]
    """Each once, in the order given."""
    algorithm: str
    """How the next upstream is chosen; to compare with, not to print."""
    directory: Word
    folder: Word
    """Of this generation; absolute."""
    user: Word
    """'' when workers keep the user that started the engine."""


def values_from(settings: Settings) -> Values:
    """Vet every setting that templates may print, and refuse them all at once."""
    if problems := tuple(_problems(settings)):
        raise FunctionError(*problems)
    return Values(
        workload=Word(settings.workload, NAME),
        function=Word(settings.function, NAME),
        version=Word(settings.version, NAME),
        port=settings.port,
        generation=settings.generation,
        status_port=settings.status_port,
        upstreams=tuple(_targets(settings)),
        algorithm=getattr(settings.configuration, "algorithm", "round-robin"),
        directory=Word(settings.directory, DIRECTORY),
        folder=Word(settings.folder, DIRECTORY),
        user=Word(settings.user, re.compile("|" + USER.pattern)),
    )


def render(template: str, values: Values, **more: object) -> str:
    """Return the text of a template, whose name is its path below this package."""
    fields = {name: getattr(values, name) for name in Values.__slots__}
    return _environment().get_template(template).render(**fields, **more)


def problem(settings: Settings, code: str, what: str, hint: str = "") -> Problem:
    """Return a problem of one workload's settings."""
    where = f"workload {settings.workload!a}"
    return Problem(code=code, where=where, what=f"function {settings.function!a} {what}", hint=hint)


def told(settings: Settings, model: type[_Told]) -> _Told:
    """Return the configuration of the type that a driver knows what to do with."""
    if not isinstance(settings.configuration, model):
        raise TypeError(f"{type(settings.configuration).__name__} is not what {settings.workload} is told")
    return settings.configuration


class Vetting:
    """Makes words of a configuration's strings, and tells of all that are none at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._problems: list[Problem] = []

    def word(self, what: str, text: str, rule: re.Pattern[str]) -> Word:
        """Return the text as a word; one that does not pass is remembered as a problem, and is empty here."""
        try:
            return Word(text, rule)
        except ValueError as refused:
            self.refuse("CLV3002", f"has a {what} that no engine can take: {refused}")
            return Word("", _EMPTY)

    def refuse(self, code: str, what: str, hint: str = "") -> None:
        """Remember a problem of the function: `what` goes on from its name."""
        self._problems.append(problem(self._settings, code, what, hint))

    def finish(self) -> None:
        """Raise FunctionError with all problems, if there are any."""
        if self._problems:
            raise FunctionError(*self._problems)


def upstreams_required(settings: Settings) -> None:
    """Refuse a function that forwards requests and has nowhere to send them."""
    if not settings.upstreams:
        hint = "add `to: [NAME]` to it in the chain file"
        raise FunctionError(problem(settings, "CLV3003", "forwards requests, but sends to no function", hint))


def _targets(settings: Settings) -> Iterator[Target]:
    seen = set()
    backends = getattr(settings.configuration, "backends", ())
    for upstream, backend in zip(settings.upstreams, backends, strict=True):
        if upstream not in seen:
            seen.add(upstream)
            host = Word(upstream.host, HOST)
            yield Target(host=host, port=upstream.port, weight=backend.weight, state=backend.state)


def _problems(settings: Settings) -> Iterator[Problem]:
    words = [
        ("workload name", settings.workload, NAME),
        ("name", settings.function, NAME),
        ("version", settings.version, NAME),
        ("directory", settings.directory, DIRECTORY),
    ]
    if settings.user:
        words.append(("user", settings.user, USER))
    words.extend(("upstream host", upstream.host, HOST) for upstream in settings.upstreams)
    for what, text, rule in words:
        try:
            Word(text, rule)
        except ValueError as refused:
            yield problem(settings, "CLV3002", f"has a {what} that no engine can take: {refused}")
    for port in (settings.port, settings.status_port, *(upstream.port for upstream in settings.upstreams)):
        if not 1 <= port <= 65535:
            yield problem(settings, "CLV3002", f"has the port {port}; ports are 1 to 65535")
    if settings.generation < 1:
        yield problem(settings, "CLV3002", f"has the generation {settings.generation}; generations begin with 1")


def _printable(value: object) -> object:
    if isinstance(value, Word) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, jinja2.Undefined):
        return str(value)  # which a strict one answers with an error that names it
    raise TypeError(f"a template prints {value!r}, which no rule has vetted")


@functools.cache
def _environment() -> jinja2.Environment:
    # Autoescaping is for HTML; here `finalize` refuses what could need escaping.
    return jinja2.Environment(  # noqa: S701
        loader=jinja2.PackageLoader("clover", "functions"),
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
