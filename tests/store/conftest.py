"""One store for all tests of a module: a process can have only one open at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from clover.telemetry.store import Store, open_store
from clover.telemetry.store.store import Limits


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(tmp_path_factory) -> AsyncIterator[Store]:
    directory: Path = tmp_path_factory.mktemp("store")
    async with open_store(directory, limits=Limits(commit_interval_s=0, commit_share=1)) as opened:
        yield opened
