"""A change of a running nginx: in force when it is said to be, taken back when it is not, and no request is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from exchange import get
from running_engine import Engine, backends, change, lay_out, turn

from clover.functions import registry
from clover.functions.driver import EngineDownError, EngineError, How
from clover.functions.nginx_running import NginxRunning
from clover.spec.chain import FunctionType
from clover.spec.configuration import LoadBalancerConfiguration

pytestmark = pytest.mark.engines

BALANCER = registry.driver(FunctionType.LOAD_BALANCER, "nginx")


@pytest.fixture(scope="module")
def servers(start) -> tuple[Engine, Engine]:
    return tuple(start(FunctionType.SERVER, "nginx", name=f"server{n}") for n in (1, 2))


def to(*servers: Engine) -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration(backends=backends(*(server.port for server in servers)))


def test_a_confirmed_change_holds_for_every_new_connection_from_the_first(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb")
    for turn_ in range(6):
        wanted = servers[(turn_ + 1) % 2]

        how = asyncio.run(change(balancer, BALANCER, to(wanted)))

        answers = [get(balancer.port, "/headers") for _ in range(5)]
        assert how is How.RELOAD
        assert {answer.headers["x-served-by"] for answer in answers} == {wanted.name}
        assert {balancer.access_of(answer.traceparent).generation for answer in answers} == {turn_ + 2}


async def test_a_reload_that_nginx_refuses_is_an_error_in_its_words_at_once(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-refuses")
    before = balancer.settings
    after = replace(before, configuration=to(servers[1]), generation=2)
    program = BALANCER.render(after)
    broken = {name: text + "\nnonsense here;\n" for name, text in program.files.items()}
    lay_out(replace(program, files=broken), after)
    turn(after)
    way = balancer.way(BALANCER)

    how = await way.change(before, after)
    with pytest.raises(EngineError, match='unknown directive "nonsense"'):
        await way.confirm(after, how)

    turn(before)
    await way.confirm(before, await way.change(after, before))
    assert get(balancer.port, "/headers").headers["x-served-by"] == "server1"


async def test_an_nginx_that_is_gone_is_down(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-killed")
    way = balancer.way(BALANCER)
    os.killpg(balancer.process.pid, signal.SIGKILL)
    balancer.process.wait(timeout=5)

    for attempt in (
        way.change(balancer.settings, balancer.settings),
        way.confirm(balancer.settings, How.RELOAD),
        way.statistics(),
    ):
        with pytest.raises(EngineDownError):
            await attempt


async def test_the_pid_of_another_program_is_never_signalled(start, servers, tmp_path):
    stranger = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="stranger")
    (tmp_path / "nginx.pid").write_text(f"{stranger.process.pid}\n")
    mine = replace(stranger.settings, directory=str(tmp_path))

    with pytest.raises(EngineDownError, match="belongs to another program"):
        await NginxRunning.of(mine).change(mine, mine)


async def test_statistics_count_requests_across_reloads(start, servers):
    balancer = start(FunctionType.LOAD_BALANCER, "nginx", servers[0].port, name="lb-counts")
    way = balancer.way(BALANCER)
    before = await way.statistics()
    for _ in range(5):
        get(balancer.port, "/")
    await change(balancer, BALANCER, to(servers[1]))

    after = await way.statistics()

    assert after["requests_total"] >= before["requests_total"] + 5
    assert after["connections_active"] >= 1
    assert after["connections_accepted_total"] == after["connections_handled_total"]
