"""
Results of pure functions, remembered for as long as somebody asks for them.

`functools.lru_cache` must be given a size: one that is too small remembers nothing at all when more values than that
take turns, and one that is too large keeps what nobody will ask for again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Result = TypeVar("_Result", bound=Hashable)
_MOST = 200_000
"""How many results of one function are remembered at most, should nobody ever forget."""


_UNKNOWN = object()


class _Memory:
    """Results that were asked for since the last turn, and in the time before it."""

    def __init__(self) -> None:
        self.recent: dict[Hashable, Any] = {}
        self.before: dict[Hashable, Any] = {}

    def turn(self) -> None:
        self.before, self.recent = self.recent, {}


_memories: list[_Memory] = []


def forget_unused() -> None:
    """Forget what was not asked for since the last call."""
    for memory in _memories:
        memory.turn()


def remembered(function: _Function) -> _Function:
    """Remember the results of a pure function, by the values of its arguments."""
    return _remembering(function, _Value)


def remembered_by_identity(function: _Function) -> _Function:
    """
    Remember the results of a pure function, by the identity of its arguments.

    For large values that many places share: to know one again by its value is to go through all of it, by its identity
    costs nothing. Equal arguments that are other objects are worked out anew.
    """
    return _remembering(function, _Identity)


class _Value:
    """A call's arguments, whose hash is worked out once."""

    __slots__ = ("hash", "key")

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.key = (arguments, tuple(sorted(named.items())))
        self.hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Value) and self.key == other.key

    def __hash__(self) -> int:
        return self.hash


class _Identity:
    """The very objects that a call's arguments are, which live as long as this does."""

    __slots__ = ("key", "objects")

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.objects = (arguments, tuple(named.values()))
        self.key = (*map(id, arguments), *((name, id(value)) for name, value in named.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _remembering(function: _Function, key_of: Callable[[tuple[Any, ...], dict[str, Any]], Hashable]) -> _Function:
    memory = _Memory()
    _memories.append(memory)

    @wraps(function)
    def asked(*arguments: Any, **named: Any) -> Any:
        key = key_of(arguments, named)
        # Another thread may turn at any moment: each is looked at once.
        result = memory.recent.get(key, _UNKNOWN)
        if result is not _UNKNOWN:
            return result
        result = memory.before.get(key, _UNKNOWN)
        if result is _UNKNOWN:
            result = function(*arguments, **named)
        if len(memory.recent) >= _MOST:
            memory.turn()
        memory.recent[key] = result
        return result

    return asked  # type: ignore[return-value]


@remembered
def the_same(value: _Result) -> _Result:
    """Return the object that was returned for an equal value before, so that what is known by identity is found."""
    return value
