"""What a change changes, in words: as a unified diff of what people write, and as one line for a log."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from clover.functions.state import State
from clover.spec import violations
from clover.spec.configuration import Backend, Configuration

MOST_SUMMARY = 300
"""Characters of a summary."""
_MOST_NAMES = 8
"""So many things are listed by name; of more, only the number is told."""
_MOST_COMPARED = 600
"""Lines."""
_CONTEXT = 3
# The one in C takes a twentieth of the time: a second less for two thousand rules.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def diff(before: State, after: State) -> str:
    """Return what differs as a unified diff of YAML; '' when nothing does."""
    old, new = _yaml(before), _yaml(after)
    names = f"generation {before.generation}", f"generation {after.generation}"
    if max(len(old), len(new)) <= _MOST_COMPARED:
        lines = difflib.unified_diff(old, new, *names, lineterm="")
    else:
        lines = _one_hunk(old, new, *names)
    return "".join(f"{line}\n" for line in lines)


def _one_hunk(old: list[str], new: list[str], old_name: str, new_name: str) -> Iterator[str]:
    """Yield a unified diff, longer than it had to be: the shortest takes time in the square of the length."""
    if old == new:
        return
    shorter = min(len(old), len(new))
    head = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    tail = next((n for n in range(shorter - head) if old[-1 - n] != new[-1 - n]), shorter - head)
    start, old_end, new_end = max(head - _CONTEXT, 0), len(old) - tail, len(new) - tail
    last = old[old_end : old_end + _CONTEXT]
    yield f"--- {old_name}"
    yield f"+++ {new_name}"
    old_length, new_length = old_end - start + len(last), new_end - start + len(last)
    yield f"@@ -{start + 1},{old_length} +{start + 1},{new_length} @@"
    yield from (f" {line}" for line in old[start:head])
    yield from (f"-{line}" for line in old[head:old_end])
    yield from (f"+{line}" for line in new[head:new_end])
    yield from (f" {line}" for line in last)


def summary(before: State, after: State) -> str:
    """Return what differs as one line: `backends: web → web-2, web-3; algorithm: round-robin → random`."""
    parts = [*_fields(before.configuration, after.configuration), *_files(before.files, after.files)]
    text = "; ".join(parts)
    return text if len(text) <= MOST_SUMMARY else f"{text[: MOST_SUMMARY - 4]} ..."


def _yaml(state: State) -> list[str]:
    data = state.configuration.as_json()
    if state.files:
        data["files"] = {path: PurePosixPath(state.files[path]).name[:12] for path in sorted(state.files)}
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000) if data else ""
    return text.splitlines()


def _fields(before: Configuration, after: Configuration) -> Iterator[str]:
    for name, field in type(after).model_fields.items():
        called = violations.typed((field.alias or name,))
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name == "backends":
            yield from _backends(old, new)
        elif isinstance(new, tuple):
            yield f"{called}: {_items(old, new)}"
        else:
            yield f"{called}: {_shown(old)} → {_shown(new)}"


def _backends(before: tuple[Backend, ...], after: tuple[Backend, ...]) -> Iterator[str]:
    old, new = ({(one.host, one.port): one for one in some} for some in (before, after))
    if list(old) != list(new):
        yield f"backends: {_listed(map(_name, before))} → {_listed(map(_name, after))}"
    for key, backend in new.items():
        if key not in old:
            continue
        for what in ("weight", "state"):
            was, now = getattr(old[key], what), getattr(backend, what)
            if was != now:
                yield f"{_name(backend)}: {what} {was} → {now}"


def _name(backend: Backend) -> str:
    return f"{backend.host}:{backend.port}" if backend.port else backend.host


def _items(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    old, new = ({_label(item, place): item for place, item in enumerate(some)} for some in (before, after))
    signs = [
        *(f"+{label}" for label in new if label not in old),
        *(f"-{label}" for label in old if label not in new),
        *(f"~{label}" for label in new if label in old and old[label] != new[label]),
    ]
    if len(signs) > _MOST_NAMES:
        return f"{len(before)} → {len(after)}, {len(signs)} changed"
    return " ".join(signs) or "in another order"


def _label(item: Any, place: int) -> str:
    """Return what an item is called: its id, its hosts, itself."""
    if hasattr(item, "id"):
        return str(item.id)
    if hasattr(item, "hosts"):
        return ",".join(item.hosts) or "*"
    return str(item) if isinstance(item, str | int) else f"#{place + 1}"


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    signs = [
        *(f"+{path}" for path in sorted(after) if path not in before),
        *(f"-{path}" for path in sorted(before) if path not in after),
        *(f"~{path}" for path in sorted(after) if path in before and before[path] != after[path]),
    ]
    if len(signs) > _MOST_NAMES:
        yield f"files: {len(before)} → {len(after)}, {len(signs)} changed"
    elif signs:
        yield f"files: {' '.join(signs)}"


def _listed(names: Iterator[str]) -> str:
    found = list(names)
    return ", ".join(found) if 0 < len(found) <= _MOST_NAMES else f"{len(found)} backends"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g} s" if isinstance(value, float) else _part(value)


def _part(value: Any) -> str:
    if hasattr(value, "as_json"):
        inner = " ".join(f"{violations.typed((name,))}={_part(item)}" for name, item in value.as_json().items())
        return f"({inner or 'as usual'})"
    if isinstance(value, list):
        return ",".join(map(_part, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
