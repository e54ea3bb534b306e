"""What goes wrong on the way is told as it is, and leaves the function as it was."""

from __future__ import annotations

import re
import subprocess

import pytest

from harness import ambassadors
from harness.ambassadors import Controlled, Network, Refusal

TWO = 'configuration { load_balancer { backends { host: "web-2" } } }'
THREE = 'configuration { load_balancer { backends { host: "web-3" } } }'


@pytest.mark.parametrize("engine", ["nginx", "haproxy"])
async def test_what_passes_the_check_and_not_the_reload_is_put_back(network: Network, engine: str):
    async with ambassadors.controlled(network, "load-balancer", engine, {"backends": [{"host": "web-1"}]}) as function:
        # The engine's check finds web-3, and the engine does not.
        function.start_engine(hosts="127.0.0.1 localhost web-1 web-2\n")
        function.start_ambassador()
        await function.until_ready()

        with pytest.raises(Refusal) as caught:
            await function.call("Apply", THREE)

        assert (caught.value.code, caught.value.reason) == ("ABORTED", "CLV3306")
        assert "web-3" in caught.value.message, "the engine's own words"
        assert "generation 1 was put back" in caught.value.message
        assert function.fetch() == (200, "web-1")
        assert function.generations() == ["000001", "current"]
        state = await function.state()
        assert (state.generation, state.engine_ready) == (1, True)
        assert "a change was rolled back" in function.ambassador_log()

        assert (await function.call("Apply", TWO)).generation == 2
        assert function.fetch() == (200, "web-2")


async def test_an_engine_that_can_reload_nothing_any_more_is_told_again_until_it_can(network: Network):
    async with ambassadors.controlled(network, "load-balancer", "nginx", {"backends": [{"host": "web-1"}]}) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        master = (function.files / "nginx.pid").read_text().strip()
        _limit(master, 4)

        with pytest.raises(Refusal) as caught:
            await function.call("Apply", TWO)

        # What an nginx that never took the new one says of the old one is its own affair.
        assert caught.value.reason in ("CLV3306", "CLV3307"), caught.value
        assert "Too many open files" in caught.value.message
        assert function.fetch() == (200, "web-1")

        _limit(master, 1024)
        assert (await function.until_ready()).generation == 1
        assert (await function.call("Apply", TWO)).generation == 2


def _limit(pid: str, open_files: int) -> None:
    subprocess.run(["prlimit", "--pid", pid, f"--nofile={open_files}:"], check=True)


async def test_a_full_disk_is_said_and_leaves_nothing_half_written():
    with ambassadors.network(small="192k") as network:
        folder = network.folder / "small"
        async with ambassadors.controlled(
            network, "load-balancer", "nginx", {"backends": [{"host": "web-1"}]}, directory=folder
        ) as function:
            function.start_engine()
            function.start_ambassador()
            await function.until_ready()
            filler = function.files / "filler"
            _fill(filler)

            with pytest.raises(Refusal) as caught:
                await function.call("Apply", TWO)

            assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "CLV3310")
            assert "No space left on device" in caught.value.message
            assert function.generations() == ["000001", "current"]
            assert function.fetch() == (200, "web-1")

            filler.unlink()
            assert (await function.call("Apply", TWO)).generation == 2


def _fill(path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


async def test_the_engines_own_check_has_the_last_word_before_anything_is_changed(network: Network):
    async with ambassadors.controlled(network, "load-balancer", "nginx", {"backends": [{"host": "web-1"}]}) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        # The ambassador does not know the name any more, and so its check does not.
        hosts = network.folder / "hosts"
        known = hosts.read_text()
        hosts.write_text(known.replace("web-2", "gone"))
        try:
            with pytest.raises(Refusal) as caught:
                await function.call("Apply", TWO)
        finally:
            hosts.write_text(known)

        assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "CLV3305")
        assert re.search(r"host not found .*web-2", caught.value.message)
        assert function.generations() == ["000001", "current"]


async def test_a_message_that_is_too_large_is_refused(balancer: Controlled):
    text = f'configuration {{ load_balancer {{ backends {{ host: "{"x" * 5_000_000}" }} }} }}'

    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", text)

    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert (await balancer.state()).generation == 1


async def test_very_many_mistakes_are_told_as_far_as_they_fit_into_an_answer(balancer: Controlled):
    backends = " ".join(f'backends {{ host: "{"Ä" * 60}{n}" weight: 999 }}' for n in range(64))

    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", f"configuration {{ load_balancer {{ {backends} }} }}")

    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "CLV3303")
    assert 5 < len(caught.value.fields) < 128


async def test_a_deadline_that_passes_ends_the_call_and_not_the_change(balancer: Controlled):
    with pytest.raises(Refusal) as caught:
        await balancer.call("Apply", TWO, timeout_s=0.02)

    assert caught.value.code == "DEADLINE_EXCEEDED"
    state = await balancer.until_ready()
    assert balancer.fetch()[1] == state.configuration.load_balancer.backends[0].host
