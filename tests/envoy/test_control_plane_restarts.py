"""What two real sidecars with certificates do while their control plane goes away, and when it is there again."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import pytest

from clover.mesh import ir, server
from clover.mesh.xds.resource import SECRET
from harness import envoy, mutual
from harness.mutual import CALLED, CALLER

pytestmark = pytest.mark.envoy

RESTARTS = 5
WHILE_IT_IS_DOWN = 300
"""Requests, each over new connections; at one a fifth of a second this would be a minute."""


@pytest.fixture
async def pair():
    async with envoy.echoing() as backend, mutual.pair(backend) as both:
        # Every request shakes hands anew, with whatever certificates the sidecars have then.
        both.limits = ir.Limits(max_requests_per_connection=1)
        yield both


@dataclass(slots=True)
class Load:
    """Clients that send one request after the other."""

    port: int
    statuses: list[int] = field(default_factory=list)
    _served: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def client(self) -> None:
        while True:
            status = (await envoy.fetch(self.port)).status
            async with self._served:
                self.statuses.append(status)
                self._served.notify_all()

    async def more(self, count: int = 20) -> None:
        """Wait until as many more requests have been answered."""
        wanted = len(self.statuses) + count
        async with self._served:
            await self._served.wait_for(lambda: len(self.statuses) >= wanted)


@contextlib.asynccontextmanager
async def load(pair, clients: int = 3):
    """Send requests for as long as the block runs."""
    sending = Load(pair.port)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(sending.client()) for _ in range(clients)]
        yield sending
        for client in running:
            client.cancel()


async def handshakes(pair) -> int:
    (count,) = (await pair.client.stats("outbound.*9180.*ssl.handshake$")).values()
    return count


async def test_a_control_plane_that_restarts_under_load_loses_no_request(pair):
    held = {"caller": pair.svid(CALLER), "called": pair.svid(CALLED)}
    assert (await pair.push(**held)).problems == ()
    async with load(pair) as sending:
        await sending.more()
        await pair.stop_control()
        for restart in range(RESTARTS):
            await sending.more()
            async with server.serving(pair.socket) as pair.control:
                # It comes back with what it had, and then with new certificates each time.
                result = await pair.push(**({} if restart else held))
                sent = [sum(kind.sent for kind in node.types.values()) for node in pair.control.status().values()]
                await sending.more()

                assert sorted(result.accepted) == ["client", "server"]
                assert sent == ([1, 1] if restart else [0, 0])
        await sending.more()

    assert set(sending.statuses) == {200}


async def test_the_data_plane_serves_while_the_control_plane_is_down_and_hears_of_news_when_it_is_back(pair):
    lifetime_s = 120.0
    caller, called = (pair.svid(name, lifetime_s=lifetime_s) for name in (CALLER, CALLED))
    assert (await pair.push(caller=caller, called=called)).problems == ()
    await envoy.fetch(pair.port)
    before = await handshakes(pair)

    await pair.stop_control()
    answers = [await envoy.fetch(pair.port) for _ in range(WHILE_IT_IS_DOWN)]

    assert {answer.status for answer in answers} == {200}
    assert all(f"URI={CALLER}" in answer.echo["headers"]["x-forwarded-client-cert"] for answer in answers)
    assert await handshakes(pair) - before >= WHILE_IT_IS_DOWN
    assert time.time() < min(caller.expires, called.expires)

    async with server.serving(pair.socket) as pair.control:
        renewed = await pair.push(mode=ir.PeerMode.STRICT)

        assert sorted(renewed.accepted) == ["client", "server"]
        types = pair.control.status()["client"].types
        assert {type_url for type_url, state in types.items() if state.sent} == {SECRET}
        assert (await envoy.fetch(pair.port)).status == 200


async def test_a_change_that_was_decided_while_a_proxy_could_not_hear_it_is_in_force_once_it_is_back(pair):
    assert (await pair.push(ir.Protocol.HTTP)).problems == ()
    await pair.stop_control()
    assert (await envoy.fetch(pair.port)).status == 200

    async with server.serving(pair.socket) as pair.control:
        result = await pair.push(ir.Protocol.HTTP, callers_roots=pair.svid(CALLED).certificate)

        assert sorted(result.accepted) == ["client", "server"]
        assert (await envoy.fetch(pair.port)).status == 503
