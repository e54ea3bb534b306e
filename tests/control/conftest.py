"""Functions with real engines and real ambassadors, in networks of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harness import ambassadors
from harness.ambassadors import Controlled, Network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("root makes the networks of these tests; a chain does without")
    with ambassadors.network() as network:
        yield network


@pytest.fixture(params=["nginx", "haproxy"])
async def balancer(network: Network, request: pytest.FixtureRequest) -> AsyncIterator[Controlled]:
    """A load balancer that sends to web-1, running, with its ambassador."""
    async with ambassadors.controlled(
        network, "load-balancer", request.param, {"backends": [{"host": "web-1"}]}
    ) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        yield function
