"""Processes that are forked from one which has everything imported."""

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from clover.runtime.local.warm import Child, Warm

PROGRAM = textwrap.dedent("""
    import os, random, signal, socket, sys
    from clover.runtime.local import warm

    def run(arguments):
        if arguments[0] == "fail":
            raise ValueError("as asked")
        if arguments[0] == "wait":
            print("waiting", flush=True)
            signal.pause()
        if arguments[0] == "reconfigure":
            sys.stdout.reconfigure(errors="backslashreplace")
            print("spoken")
            return 0
        print(os.getcwd(), os.environ.get("GREETING"), os.getpgid(0) == os.getpid(), arguments[1:])
        print(random.random())
        return int(arguments[0])

    warm.serve(socket.socket(fileno=int(sys.argv[1])), run)
""")


@pytest.fixture
async def warm():
    process = Warm((sys.executable, "-c", PROGRAM))
    yield process
    await process.aclose()


async def spawned(warm: Warm, *argv: str, directory: Path | None = None) -> Child:
    where = str(directory or Path.cwd())
    return await warm.spawn(argv, network=None, directory=where, environment={"GREETING": "hello"})


async def test_a_copy_has_its_own_folder_environment_session_and_exit_code(warm, tmp_path):
    child = await spawned(warm, "7", "one", "two", directory=tmp_path)

    words = (await child.stdout.read()).decode()

    assert words.splitlines()[0] == f"{tmp_path} hello True ['one', 'two']"
    assert await child.wait() == 7
    assert child.returncode == 7


async def test_a_copy_speaks_though_the_warm_process_itself_writes_to_a_file():
    process = Warm(("sh", "-c", 'exec "$0" "$@" >/dev/null', sys.executable, "-c", PROGRAM))
    try:
        child = await spawned(process, "reconfigure")

        assert (await child.stdout.read()).decode() == "spoken\n"
        assert await child.wait() == 0
    finally:
        await process.aclose()


async def test_copies_do_not_share_what_is_random(warm):
    children = [await spawned(warm, "0") for _ in range(3)]

    words = [(await child.stdout.read()).decode().splitlines()[1] for child in children]

    assert len(set(words)) == 3


async def test_a_copy_that_fails_says_why_and_leaves_the_others_alone(warm):
    failing, other = await spawned(warm, "fail"), await spawned(warm, "3")

    assert b"ValueError: as asked" in await failing.stdout.read()
    assert await failing.wait() == 70
    assert await other.wait() == 3


async def test_a_copy_can_be_ended_by_a_signal(warm):
    child = await spawned(warm, "wait")
    assert await child.stdout.readline() == b"waiting\n"

    child.send_signal(signal.SIGTERM)

    assert await child.wait() == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        child.send_signal(signal.SIGTERM)


async def test_when_the_warm_process_dies_its_copies_go_on_and_the_next_order_starts_another(warm):
    child = await spawned(warm, "wait")
    assert await child.stdout.readline() == b"waiting\n"

    os.kill(warm._process.pid, signal.SIGKILL)
    await warm._process.wait()
    async with asyncio.timeout(60):
        while warm._socket is not None:  # noqa: ASYNC110 - it hears of the end with the next turn of the loop
            await asyncio.sleep(0)
    assert child.returncode is None

    after = await spawned(warm, "4")
    assert await after.wait() == 4
    child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
