"""What a configuration may not ask for, though each of its fields is right: what the chain does not have."""

from __future__ import annotations

from collections.abc import Iterator

from clover.control.handlers import CallError, Code, Violation
from clover.control.settings import AmbassadorSettings
from clover.errors import Problem
from clover.spec.configuration import Configuration


def refuse(configuration: Configuration, settings: AmbassadorSettings) -> None:
    """Raise CallError with everything that the configuration of this function may not ask for."""
    problems = tuple(_problems(configuration, settings))
    if problems:
        violations = tuple(
            Violation(field=one.where, what=f"{one.what}; {one.hint}" if one.hint else one.what) for one in problems
        )
        raise CallError(code=Code.INVALID_ARGUMENT, problems=problems, violations=violations)


def _problems(configuration: Configuration, settings: AmbassadorSettings) -> Iterator[Problem]:
    backends = getattr(configuration, "backends", None)
    if backends is None:
        return
    path = f"{settings.type.replace('-', '_')}.backends"
    services = settings.services
    known = f"{settings.function!r} may send to: {', '.join(services) or 'no function'} ('to' in the chain file)"
    if not backends:
        text = f"{settings.function!r} forwards requests, and is left without a backend"
        yield Problem(code="CLV3304", where=path, what=text, hint=known)
    for place, backend in enumerate(backends):
        if backend.host not in services:
            yield Problem(
                code="CLV3302",
                where=f"{path}[{place}].host",
                what=f"{backend.host!r} is no function that {settings.function!r} may send to",
                hint=known,
            )
        elif backend.port not in (None, services[backend.host]):
            yield Problem(
                code="CLV3302",
                where=f"{path}[{place}].port",
                what=f"is {backend.port}; {backend.host!r} listens on {services[backend.host]}",
                hint="leave the port out",
            )
