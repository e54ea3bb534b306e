"""Which match takes everything that another one takes, in time that does not grow with the square of the rules."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from clover.mesh.istio.kinds.virtual_service import HTTPMatchRequest, OptionalMatch, StringMatch

_Feature = tuple[Hashable, ...]
_ANYTHING: _Feature = ()


class Earlier:
    """
    The matches of the rules so far.

    A match can only take all of another's requests if whatever it asks for, the other one asks for too. So each is
    kept under one thing that it asks for, and only what a new match asks for is looked up.
    """

    def __init__(self) -> None:
        self._found: dict[_Feature, list[tuple[int, HTTPMatchRequest]]] = {}

    def add(self, index: int, match: HTTPMatchRequest) -> None:
        """Remember a match of rule `index`, under what fewest others ask for."""
        asked = [*_conditions(match), *_own_path(match)] or [_ANYTHING]
        fewest = min(asked, key=lambda feature: len(self._found.get(feature, ())))
        self._found.setdefault(fewest, []).append((index, match))

    def shadow_of(self, match: HTTPMatchRequest) -> int | None:
        """Return the first rule that takes everything that `match` takes."""
        candidates = (
            index
            for feature in (_ANYTHING, *_conditions(match), *_paths(match))
            for index, other in self._found.get(feature, ())
            if takes_all_of(other, match)
        )
        return min(candidates, default=None)


def _conditions(match: HTTPMatchRequest) -> Iterator[_Feature]:
    """Yield everything that a match asks for beside the path."""
    for name in ("scheme", "method", "authority", "port", "source_namespace"):
        if value := getattr(match, name):
            yield name, _text(value) if isinstance(value, OptionalMatch) else value
    for name in ("headers", "without_headers", "query_params", "source_labels"):
        for key, value in getattr(match, name).items():
            yield name, key, _text(value) if isinstance(value, OptionalMatch) else value


def _text(test: OptionalMatch) -> _Feature:
    return test.exact, test.prefix, test.regex


def _own_path(match: HTTPMatchRequest) -> Iterator[_Feature]:
    """Yield what a match asks of the path, as `_paths` of every narrower one has it."""
    if match.uri is not None and not _any_path(match.uri):
        kind = "prefix" if match.uri.prefix is not None else "uri"
        yield kind, match.ignore_uri_case, match.uri.prefix if match.uri.prefix is not None else _text(match.uri)


def _paths(match: HTTPMatchRequest) -> Iterator[_Feature]:
    """Yield every path test, as `_own_path` has it, that is passed by whatever passes a match's."""
    if match.uri is None:
        return
    yield "uri", match.ignore_uri_case, _text(match.uri)
    start = _literal(match.uri)
    for length in range(1, len(start or "") + 1):
        yield "prefix", match.ignore_uri_case, (start or "")[:length]


def takes_all_of(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Tell whether `wide` surely takes every request of `narrow`: it asks for nothing that `narrow` does not."""
    if wide.gateways and set(wide.gateways) != set(narrow.gateways):
        return False
    same = all(
        not wanted or wanted == given
        for wanted, given in (
            (wide.scheme, narrow.scheme),
            (wide.method, narrow.method),
            (wide.authority, narrow.authority),
            (wide.port, narrow.port),
            (wide.source_namespace, narrow.source_namespace),
        )
    )
    return (
        same
        and _within(wide.headers, narrow.headers)
        and _within(wide.without_headers, narrow.without_headers)
        and _within(wide.query_params, narrow.query_params)
        and _within(wide.source_labels, narrow.source_labels)
        and _path_within(wide, narrow)
    )


def _within(wanted: Mapping[str, OptionalMatch | str], given: Mapping[str, OptionalMatch | str]) -> bool:
    return all(name in given and given[name] == value for name, value in wanted.items())


def _any_path(uri: StringMatch) -> bool:
    return uri.prefix == "/" or uri.regex in (".*", "/.*")


def _path_within(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    if wide.uri is None or _any_path(wide.uri):
        return True
    if narrow.uri is None or wide.ignore_uri_case != narrow.ignore_uri_case:
        return False
    start = _literal(narrow.uri)
    if wide.uri.prefix is not None and start is not None:
        return start.startswith(wide.uri.prefix)
    return wide.uri == narrow.uri


def _literal(test: StringMatch) -> str | None:
    return test.exact if test.exact is not None else test.prefix
