"""Why a change of a function's configuration did not come into force, for whoever asked for it."""

from __future__ import annotations

import errno
from typing import Any

from clover.control.handlers import CallError, Code, call_error
from clover.control.settings import AmbassadorSettings
from clover.errors import FunctionError
from clover.functions.driver import EngineDownError, EngineError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def stale(settings: AmbassadorSettings, *, in_force: int, expected: int) -> CallError:
    """Return that it was made for a generation that is in force no more."""
    return call_error(
        Code.FAILED_PRECONDITION,
        "CLV3301",
        f"generation {in_force} of {settings.function!r} is in force, not the expected {expected}:"
        " it was changed meanwhile",
        where=_where(settings),
        hint="look at what is in force now, and try again",
        preconditions={"GENERATION": ""},
        metadata={"generation": str(in_force), "expected": str(expected)},
    )


def without_interface(settings: AmbassadorSettings) -> CallError:
    """Return that the engine is one that nothing can be told."""
    what = f"{settings.function!r} cannot be changed while it runs: its engine is {settings.engine!r}"
    return _of_engine(settings, Code.FAILED_PRECONDITION, "CLV3309", what, hint="edit the chain file, then clover up")


def by_driver(refused: FunctionError) -> CallError:
    """Return what the driver says that it cannot do."""
    return CallError(code=Code.FAILED_PRECONDITION, problems=refused.problems, preconditions={"ENGINE": ""})


def by_check(settings: AmbassadorSettings, words: str) -> CallError:
    """Return what the engine's own check says against it."""
    what = f"{settings.engine} refuses the configuration of {settings.function!r}: {words}"
    return _of_engine(settings, Code.FAILED_PRECONDITION, "CLV3305", what)


def by_disk(settings: AmbassadorSettings, failure: OSError) -> CallError:
    """Return that it could not be written."""
    return call_error(
        Code.RESOURCE_EXHAUSTED if failure.errno in _FULL else Code.INTERNAL,
        "CLV3310",
        f"the new configuration of {settings.function!r} cannot be written, and nothing was changed:"
        f" {failure.strerror}",
        where=str(failure.filename or settings.directory),
        hint="df -h",
    )


def not_settled(settings: AmbassadorSettings, failure: EngineError, words: str, *, in_force: int) -> CallError:
    """Return that the engine does not even work by what is in force."""
    engine = f"the engine {settings.engine} of {settings.function!r}"
    if isinstance(failure, EngineDownError):
        what = f"{engine} does not run, and nothing was changed"
    else:
        what = f"{engine} does not work by generation {in_force}, which is in force; nothing was changed"
    return _of_engine(settings, Code.INTERNAL, "CLV3308", f"{what}: {words}", hint="clover status")


def put_back(settings: AmbassadorSettings, words: str, *, before: int, down: bool) -> CallError:
    """Return that the engine did not take it, and has the old one again, or will have it when it runs."""
    now = (
        f"it does not run any more, and reads generation {before} when it is started"
        if down
        else f"generation {before} was put back"
    )
    what = f"{settings.engine} did not take the change of {settings.function!r}, and {now}: {words}"
    return _of_engine(settings, Code.ABORTED, "CLV3306", what, metadata={"generation": str(before)})


def not_put_back(settings: AmbassadorSettings, words: str, *, before: int, again: str) -> CallError:
    """Return that the engine took neither it nor the old one; `again` is what it said to the second."""
    what = (
        f"{settings.engine} did not take the change of {settings.function!r}: {words};"
        f" putting generation {before} back failed, too, and is tried again: {again}"
    )
    return _of_engine(
        settings, Code.INTERNAL, "CLV3307", what, hint="clover status", metadata={"generation": str(before)}
    )


def cut_short(settings: AmbassadorSettings, words: str) -> CallError:
    """Return that the engine does not take what an ambassador was killed in."""
    return call_error(Code.ABORTED, "CLV3306", f"a change that was cut short is refused by {settings.engine}: {words}")


def _of_engine(settings: AmbassadorSettings, code: Code, problem_code: str, what: str, **rest: Any) -> CallError:
    return call_error(code, problem_code, what, where=_where(settings), preconditions={"ENGINE": ""}, **rest)


def _where(settings: AmbassadorSettings) -> str:
    return f"workload {settings.workload}"
