"""Durations as Istio's resources write them: `5s`, `1.5s`, `100ms`, `1h10m`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_AMOUNT = r"([0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19})"
_TERM = re.compile(_AMOUNT + "(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_TERM.pattern})+")
_LONGEST_S = Decimal(315_360_000)
"""Ten years: longer ones are mistakes, and some do not fit into Envoy's 64 bits of nanoseconds."""


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means; raises `ValueError` with what is wrong with it."""
    if text == "0":
        return 0.0
    if text.startswith("-"):
        raise ValueError(f"{_cut(text)!r} is negative")
    if len(text) > 100 or not _DURATION.fullmatch(text):
        raise ValueError(f"{_cut(text)!r} is not a duration such as '5s', '1.5s' or '100ms'")
    seconds = sum((Decimal(amount) * _UNITS[unit] for amount, unit in _TERM.findall(text)), Decimal(0))
    if seconds > _LONGEST_S:
        raise ValueError(f"{_cut(text)!r} is longer than ten years")
    return float(seconds)


def render_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back as `seconds`."""
    text = f"{Decimal(repr(seconds)):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}s"


def _seconds(value: Any, *, least_s: float) -> float:
    if not isinstance(value, str):
        raise PydanticCustomError(
            "duration", "{found} has no unit, expected a duration such as '5s'", {"found": repr(value)[:40]}
        )
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{error}", {"error": str(error)}) from None
    if seconds < least_s:
        raise PydanticCustomError(
            "duration", "{found} is shorter than '1ms', the shortest that Istio accepts", {"found": repr(value)}
        )
    return seconds


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


Duration = Annotated[
    float,
    BeforeValidator(lambda value: _seconds(value, least_s=0.001)),
    PlainSerializer(render_duration, return_type=str),
]
"""Seconds, at least one millisecond."""

DurationOrZero = Annotated[
    float,
    BeforeValidator(lambda value: _seconds(value, least_s=0.0)),
    PlainSerializer(render_duration, return_type=str),
]
"""Seconds; 0 means something."""
