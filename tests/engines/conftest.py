"""Real engines for the tests of this folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_engine import Engine, backends, running, settings_for, write

from clover.functions import registry
from clover.functions.driver import Driver
from clover.kit import requirements
from clover.spec.chain import FunctionType

Start = Callable[..., Engine]
SECOND_ENGINES = ("snort", "varnish")


@pytest.fixture(scope="session", autouse=True)
def engines_are_installed() -> None:
    # An engine that is nobody's default is looked for by its own tests, and below.
    _skip_without(*(driver for driver in registry.DRIVERS if driver.engine not in SECOND_ENGINES))


@pytest.fixture(autouse=True)
def its_engine_is_installed(request: pytest.FixtureRequest) -> None:
    """Skip the tests of a second engine that this machine lacks."""
    if driver := getattr(getattr(request.node, "callspec", None), "params", {}).get("driver"):
        _skip_without(driver)


def _skip_without(*drivers: Driver) -> None:
    needed = [requirement for driver in drivers for requirement in driver.requirements]
    if lacking := list(requirements.missing(needed)):
        pytest.skip("; ".join(f"{problem.what}: {problem.hint}" for problem in lacking))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """
    Return `start(type, engine, *upstream ports, name=...)`: a function that runs until the module's tests end.

    More keywords are fields of its configuration.
    """
    root = tmp_path_factory.mktemp("w")
    with contextlib.ExitStack() as stack:

        def start_one(type_: FunctionType, engine: str, *upstreams: int, name: str, **configuration: Any) -> Engine:
            directory = root / f"{name}-{len(list(root.iterdir()))}"
            directory.mkdir()
            settings = settings_for(type_, directory, name=name, to=backends(*upstreams), **configuration)
            program = registry.driver(type_, engine).render(settings)
            write(program, settings)
            return stack.enter_context(running(program, settings, name=name))

        yield start_one


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Return a new folder that every user may pass through."""
    directory = Path(f"/tmp/clover-test-{os.getpid()}-{time.monotonic_ns()}")
    directory.mkdir(mode=0o711)
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)
