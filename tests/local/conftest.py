from __future__ import annotations

import json

import pytest

from harness import chains
from harness.ports import free_port


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(chains.REPOSITORY / "tests" / "local"):
            item.add_marker(pytest.mark.local)


@pytest.fixture(scope="session")
def sdc():
    """The sample chain, up once for all tests that leave it as they found it: (command, what `up` answered)."""
    with chains.clover() as command:
        answer = json.loads(command.ok("up", chains.EXAMPLES / "sdc", "--port", str(free_port()), "--json"))
        yield command, answer


@pytest.fixture
def fresh():
    """The command, with nothing up."""
    with chains.clover() as command:
        yield command
