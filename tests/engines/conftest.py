"""Real engines for the tests of this folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from running_engine import Engine, free_port, running, write

from clover.functions import registry
from clover.functions.driver import Settings, Upstream
from clover.kit import requirements
from clover.spec.chain import FunctionType

Start = Callable[..., Engine]


@pytest.fixture(scope="session", autouse=True)
def engines_are_installed() -> None:
    needed = [requirement for driver in registry.DRIVERS for requirement in driver.requirements]
    if lacking := list(requirements.missing(needed)):
        pytest.skip("; ".join(f"{problem.what}: {problem.hint}" for problem in lacking))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return `start(type, engine, *upstream ports, name=...)`: a function that runs until the module's tests end."""
    root = tmp_path_factory.mktemp("w")
    with contextlib.ExitStack() as stack:

        def start_one(type_: FunctionType, engine: str, *upstreams: int, name: str, **more: object) -> Engine:
            directory = root / f"{name}-{len(list(root.iterdir()))}"
            directory.mkdir()
            settings = Settings(
                workload=name,
                function=name,
                version="v1",
                port=free_port(),
                upstreams=tuple(Upstream(host="127.0.0.1", port=port) for port in upstreams),
                directory=str(directory),
            )
            program = registry.driver(type_, engine).render(replace(settings, **more))  # type: ignore[arg-type]
            write(program, directory)
            return stack.enter_context(running(program, directory, name=name))

        yield start_one


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Return a new folder that every user may pass through."""
    directory = Path(f"/tmp/clover-test-{os.getpid()}-{time.monotonic_ns()}")
    directory.mkdir(mode=0o711)
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)
