"""Work in a thread beside a loop, and what remembers results when several threads ask."""

import asyncio
import sys
import threading

import pytest

from clover.kit import memory
from clover.kit.aside import aside


async def test_what_work_returns_or_raises_comes_back():
    def fails():
        raise ValueError("no")

    assert await aside(lambda: 7) == 7
    with pytest.raises(ValueError, match="no"):
        await aside(fails)


async def test_the_loop_goes_on_meanwhile():
    go = threading.Event()
    working = asyncio.ensure_future(aside(go.wait))
    await asyncio.sleep(0)

    go.set()

    assert await working is True


async def test_who_is_cancelled_is_so_when_the_work_has_ended():
    started, go, ended = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait()
        ended.append(True)

    working = asyncio.ensure_future(aside(work))
    await asyncio.to_thread(started.wait)
    for _ in range(3):
        working.cancel()
        await asyncio.sleep(0)
        assert not working.done()

    go.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended == [True]


@pytest.fixture
def impatient():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_is_remembered_may_be_forgotten_by_another_thread_at_any_moment(impatient):
    double = memory.remembered(lambda number: number * 2)
    wrong, over = [], threading.Event()

    def ask():
        try:
            wrong.extend(number for _ in range(20_000) for number in (1, 2) if double(number) != number * 2)
        finally:
            over.set()

    asking = threading.Thread(target=ask)
    asking.start()
    while not over.is_set():
        memory.forget_unused()
    asking.join()

    assert wrong == []
