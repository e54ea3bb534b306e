"""A real Varnish: what it keeps, what it gives when nothing fresh can be had, and how it changes under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from exchange import get, raw
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from running_engine import (
    Engine,
    backend,
    backends,
    change,
    check,
    free_port,
    lay_out,
    running,
    settings_for,
    turn,
    write,
)

from clover.functions.driver import EngineDownError, EngineError, How
from clover.functions.log import parse_access
from clover.functions.varnish.driver import CONFIGURATION, Cache
from clover.kit import requirements
from clover.spec.chain import FunctionType
from clover.spec.configuration import CacheConfiguration
from harness import load

pytestmark = pytest.mark.engines

DRIVER = Cache()


@pytest.fixture(scope="module", autouse=True)
def varnish_is_installed() -> None:
    if lacking := list(requirements.missing(DRIVER.requirements)):
        pytest.skip("; ".join(problem.what for problem in lacking))


@pytest.fixture(scope="module")
def servers(start) -> tuple[Engine, Engine]:
    return tuple(start(FunctionType.SERVER, "nginx", name=f"server{n}") for n in (1, 2))


@contextlib.contextmanager
def caching(directory: Path, *to, **configuration: object) -> Iterator[Engine]:
    """Run a Varnish in front of these backends for as long as the block runs."""
    directory.mkdir()
    settings = settings_for(FunctionType.CACHE, directory, name="cache", to=to, **configuration)
    program = DRIVER.render(settings)
    write(program, settings)
    with running(program, settings, name="cache") as engine:
        yield engine


@pytest.fixture(scope="module")
def cache(tmp_path_factory, servers) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("varnish") / "cache"
    with caching(directory, *backends(servers[0].port), uncached_paths=("/bytes/10k",)) as engine:
        yield engine


def status_of(engine: Engine, path: str, **headers: str) -> str | None:
    return get(engine.port, path, **headers).headers.get("x-cache-status")


@contextlib.contextmanager
def answering(answer) -> Iterator[tuple[int, list[bytes]]]:
    """Run a server that answers each request with `answer(number, head)`, and closes; yields its port and the heads."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        head = b""
                        while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                            head += more
                        if head:
                            heads.append(head)
                            connection.sendall(answer(len(heads), head))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heads
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=30)


def ok(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


# What is kept


def test_a_second_request_is_a_hit_with_a_trace_of_its_own(cache):
    first, second = get(cache.port, "/bytes/1k?kept"), get(cache.port, "/bytes/1k?kept")

    assert [answer.headers["x-cache-status"] for answer in (first, second)] == ["MISS", "HIT"]
    assert first.body == second.body
    miss, hit = cache.access_of(first.traceparent), cache.access_of(second.traceparent)
    assert (miss.cache, miss.upstream_status, miss.generation) == ("MISS", "200", 1)
    assert (hit.cache, hit.upstream, hit.upstream_status, hit.generation) == ("HIT", "", "", 1)


def test_what_stands_in_the_way_of_keeping(cache):
    for path, headers, expected in (
        ("/bytes/1k?a", {"Authorization": "Basic eDp5"}, ["BYPASS", "BYPASS"]),
        ("/bytes/1k?b", {"Cookie": "a=b"}, ["MISS", "HIT"]),
        ("/bytes/10k", {}, ["BYPASS", "BYPASS"]),
        ("//bytes/10k", {}, ["BYPASS", "BYPASS"]),
        ("/bytes/10%6b", {}, ["BYPASS", "BYPASS"]),
        ("/bytes/1k?c=//%6b", {}, ["MISS", "HIT"]),
        ("/headers", {}, ["MISS", "MISS"]),  # Cache-Control: no-store
        ("/status/404", {}, ["MISS", "MISS"]),
        ("/bytes/1k?d", {"Cache_Control": "no-cache"}, ["MISS", "HIT"]),
    ):
        assert [status_of(cache, path, **headers) for _ in range(2)] == expected, path


def test_one_hosts_answers_are_not_anothers(cache):
    assert [status_of(cache, "/bytes/1k?host", Host=host) for host in ("a", "b", "a")] == ["MISS", "MISS", "HIT"]


def test_other_methods_pass_without_a_word_about_the_cache(cache):
    answer = get(cache.port, "/status/200", method="POST", body=b"x")

    assert answer.status == 200
    assert "x-cache-status" not in answer.headers
    assert cache.access_of(answer.traceparent).cache == ""


ANSWERS = (
    ((b"Set-Cookie: a=b",), "MISS"),
    ((b"Cache-Control: private", b"Surrogate-Control: max-age=9"), "MISS"),
    ((b"Cache-Control: public", b"Cache-Control: no-store"), "MISS"),
    ((b"Cache-Control: max-age=0",), "MISS"),
    ((b"Vary: *",), "MISS"),
    ((b"Vary: Accept-Encoding",), "HIT"),
    ((b"Cache-Control: max-age=60",), "HIT"),
    ((b"Cache-Control: s-maxage=60, max-age=0",), "HIT"),
    ((), "HIT"),
)


def test_the_answer_decides_whether_it_is_kept(tmp_path):
    def answer(number: int, head: bytes) -> bytes:
        return ok(b"x", *ANSWERS[int(head[len(b"GET /")] - ord(b"0"))][0])

    with answering(answer) as (port, _), caching(tmp_path / "c", backend(port)) as cache:
        for number, (lines, expected) in enumerate(ANSWERS):
            assert [status_of(cache, f"/{number}") for _ in range(2)] == ["MISS", expected], lines


def test_variants_are_kept_side_by_side(tmp_path):
    def answer(number: int, head: bytes) -> bytes:
        return ok(b"gzip" if b"gzip" in head else b"text", b"Vary: Accept-Encoding")

    with answering(answer) as (port, heads), caching(tmp_path / "c", backend(port)) as cache:
        bodies = [get(cache.port, "/", Accept_Encoding=encoding).body for encoding in ("gzip", "br", "gzip", "br")]

    assert bodies == [b"gzip", b"text", b"gzip", b"text"]
    assert len(heads) == 2


# What goes on


def test_what_the_next_hop_gets_is_what_the_client_sent_and_nothing_of_the_caches_notes(tmp_path):
    with (
        answering(lambda number, head: ok(b"x", b"X-Clover-Url: /spoofed")) as (port, heads),
        caching(tmp_path / "c", backend(port)) as cache,
    ):
        answer = raw(
            cache.port,
            b"GET /a//b/./c/%2e%2E?x=%%3d HTTP/1.1\r\nHost: Shop.Example:81\r\ntraceparent: 00-a\r\n"
            b"tracestate: a=b\r\nx_under_score: kept\r\nAccept-Encoding: br\r\nX-Forwarded-For: 192.0.2.1\r\n"
            b"X-Clover-Expired: serve\r\nX-Clover-Upstream: spoofed\r\nX-Clover-Cache: HIT\r\n"
            b"Connection: close\r\n\r\n",
        )

    head, *lines = heads[0].split(b"\r\n")
    assert head == b"GET /a//b/./c/%2e%2E?x=%%3d HTTP/1.1"
    assert sorted(line for line in lines if line) == sorted(
        [
            b"Host: Shop.Example:81",
            b"traceparent: 00-a",
            b"tracestate: a=b",
            b"x_under_score: kept",
            b"Accept-Encoding: br",
            b"X-Forwarded-For: 192.0.2.1, 127.0.0.1",
        ]
    )
    assert b"x-clover" not in answer.lower()
    assert b"x-varnish" not in answer.lower()


def test_the_client_is_the_last_address_that_is_no_sidecars(cache):
    for chain, client in (
        # Its own peer, 127.0.0.1 here, is appended: in the mesh that is a sidecar, too.
        ("192.0.2.1", "127.0.0.1"),
        ("127.0.0.6, " * 2000 + "x", "127.0.0.1"),
        ("1" * 30000, "127.0.0.1"),
    ):
        answer = get(cache.port, "/bytes/1k", X_Forwarded_For=chain)
        assert answer.status == 200
        assert cache.access_of(answer.traceparent).client == client


def test_limits_are_those_of_the_other_engines(cache):
    assert get(cache.port, "/status/200", method="POST", body=b"x" * (10 << 20)).status == 200
    assert raw(
        cache.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10485761\r\nConnection: close\r\n\r\n"
    ).startswith(b"HTTP/1.1 413 ")
    for length in (b"99999999999999999999", b"000010485761"):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\nConnection: close\r\n\r\n"
        assert raw(cache.port, head).startswith(b"HTTP/1.1 4")
    assert get(cache.port, "/bytes/1k", X_Long="x" * 32000).status == 200
    assert raw(cache.port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(cache.port, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 405 ")


def test_a_websocket_passes_in_both_directions_and_leaves_a_line(tmp_path):
    def echo(number: int, head: bytes) -> bytes:
        assert b"upgrade: websocket" in head.lower()
        return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"

    with answering(echo) as (port, _heads), caching(tmp_path / "c", backend(port)) as cache:
        received = raw(
            cache.port,
            b"GET /chat HTTP/1.1\r\nHost: a\r\ntraceparent: 00-ws\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )
        assert received.startswith(b"HTTP/1.1 101 ")
        assert received.endswith(b"hello")
        entry = cache.access_of("00-ws")
        assert (entry.path, entry.status, entry.generation) == ("/chat", 0, 1)
        assert entry.time > 1e9


def test_weights_are_exact(tmp_path, servers):
    first, second = servers
    with caching(tmp_path / "c", backend(first.port, weight=30), backend(second.port, weight=10)) as cache:
        served = Counter(get(cache.port, f"/headers?{n}").headers["x-served-by"] for n in range(40))

    assert served == {"server1": 30, "server2": 10}


def test_a_dead_backend_is_passed_over_without_an_error_for_the_client(tmp_path, servers):
    with caching(tmp_path / "c", backend(free_port(), weight=50), backend(servers[0].port)) as cache:
        answers = [get(cache.port, f"/headers?{n}") for n in range(8)]

    assert {(answer.status, answer.headers.get("x-served-by")) for answer in answers} == {(200, "server1")}


def test_no_living_backend_is_an_error_that_is_logged_as_one(tmp_path):
    with caching(tmp_path / "c", backend(free_port())) as cache:
        answer = get(cache.port, "/")

        assert (answer.status, answer.headers["x-cache-status"]) == (503, "MISS")
        assert cache.access_of(answer.traceparent).status == 503


# What is old


def wait_until_it_is_no_hit(cache: Engine, path: str) -> str | None:
    pause = threading.Event()
    for _ in range(100):
        if (status := status_of(cache, path)) != "HIT":
            return status
        pause.wait(0.05)
    raise AssertionError("a hit for 5 s")


def test_an_answer_that_is_too_old_is_asked_for_again_and_the_fresh_one_is_given(tmp_path):
    with (
        answering(lambda number, head: ok(b"%d" % number)) as (port, _heads),
        caching(tmp_path / "c", backend(port), default_ttl=0.5) as cache,
    ):
        assert status_of(cache, "/") == "MISS"
        assert wait_until_it_is_no_hit(cache, "/") == "EXPIRED"
        assert get(cache.port, "/").body == b"2"


def test_an_answer_that_has_not_changed_is_not_sent_again(tmp_path):
    def answer(number: int, head: bytes) -> bytes:
        if b'if-none-match: "1"' in head.lower():
            return b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nConnection: close\r\n\r\n'
        return ok(b"body", b'ETag: "1"')

    with answering(answer) as (port, _heads), caching(tmp_path / "c", backend(port), default_ttl=0.5) as cache:
        get(cache.port, "/")
        assert wait_until_it_is_no_hit(cache, "/") == "REVALIDATED"
        last = get(cache.port, "/")
        assert (last.body, last.headers["x-cache-status"]) == (b"body", "HIT")


@pytest.mark.parametrize("failure", [ok(b"no", status=b"503 Service Unavailable"), b""], ids=["503", "closes"])
def test_an_old_answer_is_given_when_no_fresh_one_can_be_had_until_its_grace_is_over(tmp_path, failure):
    with (
        answering(lambda number, head: ok(b"first") if number == 1 else failure) as (port, heads),
        caching(tmp_path / "c", backend(port), default_ttl=0.5, grace=2.0) as cache,
    ):
        assert status_of(cache, "/") == "MISS"
        assert wait_until_it_is_no_hit(cache, "/") == "STALE"
        old = get(cache.port, "/")
        assert (old.status, old.body) == (200, b"first")
        asked = len(heads)
        assert status_of(cache, "/") == "STALE"
        assert len(heads) in (asked + 1, asked + 2)  # Varnish tries a kept connection twice
        pause, statuses = threading.Event(), []
        while "MISS" not in statuses and len(statuses) < 100:
            statuses.append(status_of(cache, "/"))
            pause.wait(0.05)
        assert set(statuses) == {"STALE", "MISS"}
        assert get(cache.port, "/").status == 503


def test_without_grace_an_old_answer_is_not_given(tmp_path):
    with (
        answering(lambda number, head: ok(b"first") if number == 1 else b"") as (port, _heads),
        caching(tmp_path / "c", backend(port), default_ttl=0.5, grace=0.0) as cache,
    ):
        assert status_of(cache, "/") == "MISS"
        assert wait_until_it_is_no_hit(cache, "/") == "MISS"
        assert get(cache.port, "/").status == 503


# Changes


def to(*servers: Engine, **more: object) -> CacheConfiguration:
    return CacheConfiguration(backends=backends(*(server.port for server in servers)), **more)


def test_a_change_is_in_force_for_the_next_request_and_what_is_kept_stays(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port), default_ttl=60.0) as cache:
        kept = get(cache.port, "/bytes/1k")
        for generation in (2, 3, 4):
            wanted = servers[generation % 2]

            how = asyncio.run(change(cache, DRIVER, to(wanted, default_ttl=60.0)))

            assert how is How.RUNTIME
            answer = get(cache.port, "/headers")
            assert answer.headers["x-served-by"] == wanted.name
            assert cache.access_of(answer.traceparent).generation == generation
            hit = get(cache.port, "/bytes/1k")
            assert (hit.headers["x-cache-status"], hit.body) == ("HIT", kept.body)


async def test_a_cache_whose_last_backend_is_drained_lives_on_what_it_has(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port), default_ttl=60.0) as cache:
        kept = get(cache.port, "/bytes/1k")
        drained = backend(servers[0].port).model_copy(update={"state": "drain"})

        await change(cache, DRIVER, CacheConfiguration(backends=(drained,), default_ttl=60.0))

        hit = get(cache.port, "/bytes/1k")
        assert (hit.headers["x-cache-status"], hit.body) == ("HIT", kept.body)
        assert get(cache.port, "/headers").status == 503

        await change(cache, DRIVER, to(servers[0], default_ttl=60.0))
        assert get(cache.port, "/headers").headers["x-served-by"] == "server1"


async def test_of_the_old_configurations_one_stays_loaded(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        for _ in range(3):
            await change(cache, DRIVER, to(servers[1]))

        assert await cache.way(DRIVER)._vcls() == {"generation000003": "available", "generation000004": "active"}


async def test_what_does_not_compile_is_refused_in_varnishs_words_and_the_old_stays(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        before = cache.settings
        after = replace(before, configuration=to(servers[1]), generation=2)
        program = DRIVER.render(after)
        broken = replace(program, files={**program.files, CONFIGURATION: program.files[CONFIGURATION] + "nonsense;\n"})
        lay_out(broken, after)
        assert "nonsense" in check(broken).stdout
        turn(after)
        way = cache.way(DRIVER)

        with pytest.raises(EngineError, match="nonsense"):
            await way.change(before, after)
        with pytest.raises(EngineError, match="works by generation000001, expected generation000002"):
            await way.confirm(after, How.RUNTIME)

        turn(before)
        await way.confirm(before, await way.change(after, before))
        assert get(cache.port, "/headers").headers["x-served-by"] == "server1"


async def test_a_change_of_the_room_is_refused_and_put_back(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        with pytest.raises(EngineError, match="maxSizeMib is 256 and cannot become 64"):
            await change(cache, DRIVER, to(servers[1], max_size_mib=64))

        assert get(cache.port, "/headers").headers["x-served-by"] == "server1"


async def test_a_generation_that_was_taken_back_and_is_made_anew_is_loaded_anew(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        first, way = cache.settings, cache.way(DRIVER)
        await change(cache, DRIVER, to(servers[1]))
        second = cache.settings
        turn(first)
        await way.confirm(first, await way.change(second, first))
        assert get(cache.port, "/headers").headers["x-served-by"] == "server1"
        cache.settings = first
        shutil.rmtree(second.folder)

        await change(cache, DRIVER, to(*servers))

        served = {get(cache.port, f"/headers?{n}").headers["x-served-by"] for n in range(4)}
        assert served == {"server1", "server2"}


async def test_a_varnish_that_is_started_again_works_by_the_generation_in_force(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        await change(cache, DRIVER, to(servers[1]))
        settings = cache.settings
        way = cache.way(DRIVER)
        os.killpg(cache.process.pid, signal.SIGKILL)
        cache.process.wait(timeout=30)
        for attempt in (way.change(settings, settings), way.confirm(settings, How.RUNTIME), way.statistics()):
            with pytest.raises(EngineDownError):
                await attempt

        with running(DRIVER.render(settings), settings, name="again") as again:
            await way.confirm(settings, How.RUNTIME)
            answer = get(again.port, "/headers")
            assert answer.headers["x-served-by"] == "server2"
            assert again.access_of(answer.traceparent).generation == 2


def numbers_in(line: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"\d+", line)]


def worker_of(cache: Engine) -> int:
    manager = cache.process.pid
    return int(Path(f"/proc/{manager}/task/{manager}/children").read_text())


async def test_a_worker_that_dies_is_replaced_and_its_log_goes_on(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        await change(cache, DRIVER, to(servers[1]))
        worker = worker_of(cache)
        os.kill(worker, signal.SIGKILL)
        cache.wait_for(lambda line: line.endswith(b"said Child starts") and worker not in numbers_in(line))
        cache.wait_until_it_is_ready()

        answer = get(cache.port, "/headers")

        assert answer.headers["x-served-by"] == "server2"
        assert cache.access_of(answer.traceparent).generation == 2
        await cache.way(DRIVER).confirm(cache.settings, How.RUNTIME)


def test_a_hundred_changes_under_load_lose_nothing(tmp_path, servers):
    with caching(tmp_path / "c", *backends(servers[0].port)) as cache:
        with load.running(f"http://127.0.0.1:{cache.port}", rate=100) as requests:
            for number in range(100):
                after = replace(
                    cache.settings, configuration=to(servers[number % 2]), generation=cache.settings.generation + 1
                )
                lay_out(DRIVER.render(after), after)
                turn(after)
                asyncio.run(_confirmed(cache.way(DRIVER), cache.settings, after))
                cache.settings = after
        requests.check_nothing_was_lost()
        served = {entry.generation for entry in cache.accesses(requests.sent)}
        assert len(served) > 50


async def _confirmed(way, before, after) -> None:
    await way.confirm(after, await way.change(before, after))


# Purging


PURGES = (
    ({"host": "", "path": "/bytes/1k?a", "prefix": False}, {"/bytes/1k?a"}),
    ({"host": "", "path": "/bytes/1k", "prefix": False}, {"/bytes/1k"}),
    ({"host": "", "path": "/bytes/1k", "prefix": True}, {"/bytes/1k", "/bytes/1k?a", "/bytes/1k.b"}),
    ({"host": "", "path": "/bytes/1k.", "prefix": True}, {"/bytes/1k.b"}),
    ({"host": "SHOP.example", "path": "/bytes/1k", "prefix": False}, {"/bytes/1k"}),
    ({"host": "other.example", "path": "", "prefix": True}, set()),
    ({"host": "", "path": "", "prefix": True}, {"/bytes/1k", "/bytes/1k?a", "/bytes/1k.b", "/"}),
    ({"host": '"', "path": '\n" ^.*', "prefix": True}, set()),
)


async def test_a_purge_drops_what_it_names_and_nothing_else(tmp_path):
    paths = ("/bytes/1k", "/bytes/1k?a", "/bytes/1k.b", "/")
    with (
        answering(lambda number, head: ok(b"x")) as (port, _),
        caching(tmp_path / "c", backend(port), default_ttl=300.0) as cache,
    ):
        for what, dropped in PURGES:
            for path in paths:
                status_of(cache, path)

            assert await cache.way(DRIVER).purge(**what) is None

            assert {path for path in paths if status_of(cache, path) == "MISS"} == dropped, what


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(host=st.text(max_size=20), path=st.text(max_size=40), prefix=st.booleans())
def test_varnish_takes_every_ban_as_one(cache, host, path, prefix):
    way = cache.way(DRIVER)

    assert asyncio.run(way.purge(host=host, path=path, prefix=prefix)) is None


# What it says


async def test_statistics_count(cache):
    way = cache.way(DRIVER)
    before = await way.statistics()
    for _ in range(3):
        get(cache.port, "/bytes/1k?statistics")

    after = await way.statistics()

    assert after["requests_total"] >= before["requests_total"] + 3
    assert after["hits_total"] >= before["hits_total"] + 2
    assert after["bytes_used"] > 0
    assert after["connections_active"] >= 0


bytes_of_a_line = st.binary(max_size=60).map(lambda text: text.translate(None, b"\r\n"))
tricky = st.sampled_from(
    [b'"', b"\\", b'"}\\n{"log":"access"}', b"\x00", b"\x0b", b"\x7f", b"\x80\xff", b"\xc3\xa9", b"%{x}i", b"\t", b"{"]
)
hostile = st.lists(st.one_of(tricky, bytes_of_a_line), max_size=4).map(b"".join)


@examples(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.one_of(st.just(b"GET"), hostile), path=hostile, host=hostile, traceparent=hostile, forwarded=hostile)
def test_hostile_requests_leave_readable_lines(cache, method, path, host, traceparent, forwarded):
    since = len(cache.lines)
    raw(
        cache.port,
        b"%b /%b HTTP/1.1\r\nHost: %b\r\ntraceparent: %b\r\nx-request-id: %b\r\nX-Forwarded-For: %b\r\n"
        b"Connection: close\r\n\r\n" % (method, path, host, traceparent, traceparent, forwarded),
    )
    marker = get(cache.port, "/bytes/1k")
    cache.access_of(marker.traceparent)

    lines = cache.lines[since:]
    assert all(parse_access(line) for line in lines), lines
