"""What the nginx cache keeps and for how long, and that what is purged is gone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from exchange import get
from running_engine import Engine, backends, change
from serving import answering

from clover.functions import registry
from clover.spec.chain import FunctionType
from clover.spec.configuration import CacheConfiguration

pytestmark = pytest.mark.engines

CACHE = registry.driver(FunctionType.CACHE, "nginx")
SHOP = {"Host": "shop.example:8080"}


@pytest.fixture(scope="module")
def server(start) -> Engine:
    return start(FunctionType.SERVER, "nginx", name="server")


def status(cache: Engine, path: str, **headers: str) -> str:
    return get(cache.port, path, **headers).headers["x-cache-status"]


def purge(cache: Engine, **what: object) -> int | None:
    return asyncio.run(cache.way(CACHE).purge(**{"host": "", "prefix": False, **what}))


PATHS = ("/bytes/1k?a", "/bytes/1k?ab", "/bytes/10k?a", "/?a")
HOSTS = ("a.example", "a.example:8080", "b.example")


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ({"host": "a.example", "path": "/bytes/1k?a"}, {("a.example", 0), ("a.example:8080", 0)}),
        ({"host": "A.Example:8080", "path": "/bytes/1k?a"}, {("a.example:8080", 0)}),
        ({"path": "/bytes/1k?a"}, {(host, 0) for host in HOSTS}),
        ({"path": "/bytes/1k?a", "prefix": True}, {(host, n) for host in HOSTS for n in (0, 1)}),
        ({"host": "b.example", "path": "/bytes/", "prefix": True}, {("b.example", n) for n in (0, 1, 2)}),
        ({"host": "b.example", "path": "", "prefix": True}, {("b.example", n) for n in range(4)}),
        ({"path": "", "prefix": True}, {(host, n) for host in HOSTS for n in range(4)}),
        ({"path": "/none"}, set()),
        ({"host": "example", "path": "", "prefix": True}, set()),
    ],
)
def test_what_is_purged_is_a_miss_and_everything_else_a_hit(start, server, what, gone):
    cache = start(FunctionType.CACHE, "nginx", server.port, name="purged", default_ttl=600.0)
    kept = [(host, n) for host in HOSTS for n in range(len(PATHS))]
    for host, n in kept:
        assert [status(cache, PATHS[n], Host=host) for _ in range(2)] == ["MISS", "HIT"]

    assert purge(cache, **what) == len(gone)

    assert {(host, n) for host, n in kept if status(cache, PATHS[n], Host=host) == "MISS"} == gone
    assert all(status(cache, PATHS[n], Host=host) == "HIT" for host, n in kept)
    assert "[crit]" not in cache.text()


def test_all_variants_of_an_answer_are_purged(start):
    def varies(request: bytes) -> tuple[bytes, bytes]:
        del request
        return b"Vary: Accept-Language\r\n", b"hello"

    with answering(varies) as port:
        cache = start(FunctionType.CACHE, "nginx", port, name="vary", default_ttl=600.0)
        languages = ("en", "de", "en", "de")
        before = [status(cache, "/page", Accept_Language=language) for language in languages]

        purged = purge(cache, path="/page")

        after = [status(cache, "/page", Accept_Language=language) for language in languages]
    assert before == after == ["MISS", "MISS", "HIT", "HIT"]
    assert purged == 2


def test_an_answer_that_is_on_its_way_is_purged_when_it_is_there(start):
    half, purging = threading.Event(), threading.Event()

    def slowly(connection) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000)
        half.set()
        assert purging.wait(5)
        connection.sendall(b"x" * 50000)

    with answering(slowly, raw=True) as port:
        cache = start(FunctionType.CACHE, "nginx", port, name="slow", default_ttl=600.0)
        client = threading.Thread(target=get, args=(cache.port, "/slow"))
        client.start()
        assert half.wait(5)
        until(lambda: any("." in path.name for path in kept(cache)))
        threading.Timer(0.1, purging.set).start()

        assert purge(cache, path="/slow") == 1

        client.join(timeout=30)
        assert kept(cache) == []


def kept(cache: Engine) -> list[Path]:
    return [path for path in (cache.directory / "cache").rglob("*") if path.is_file()]


def until(true) -> None:
    pause = threading.Event()
    for _ in range(500):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it never became true")


def test_a_purge_of_an_empty_cache_drops_nothing(start, server):
    cache = start(FunctionType.CACHE, "nginx", server.port, name="empty")

    assert purge(cache, path="", prefix=True) == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bytes/1k", "BYPASS"),
        ("/bytes/1k?x", "BYPASS"),
        ("/%62ytes/1k", "BYPASS"),
        ("//bytes/./1k", "BYPASS"),
        ("/bytes/100k", "BYPASS"),
        ("/bytes/10k", "HIT"),
        ("/status/200", "HIT"),
        ("/statusX200", "MISS"),
    ],
)
def test_a_path_that_is_not_to_be_kept_is_never_kept_however_it_is_written(start, server, path, expected):
    uncached = ("/bytes/1k", "/bytes/100", "/status.200")
    cache = start(FunctionType.CACHE, "nginx", server.port, name="uncached", uncached_paths=uncached)

    assert [status(cache, path) for _ in range(2)][1] == expected


def test_a_path_that_is_no_longer_to_be_kept_is_not_given_from_the_cache(start, server):
    cache = start(FunctionType.CACHE, "nginx", server.port, name="changed", default_ttl=600.0)
    assert [status(cache, "/bytes/1k") for _ in range(2)] == ["MISS", "HIT"]
    configuration = {"backends": backends(server.port), "max_size_mib": 64, "default_ttl": 600.0, "grace": 5000.0}

    asyncio.run(change(cache, CACHE, CacheConfiguration(**configuration, uncached_paths=("/bytes/",))))
    assert status(cache, "/bytes/1k") == "BYPASS"
    asyncio.run(change(cache, CACHE, CacheConfiguration(**configuration)))
    assert status(cache, "/bytes/1k") == "HIT"


def test_an_answer_that_says_nothing_is_kept_as_long_as_it_is_told(start, server):
    cache = start(FunctionType.CACHE, "nginx", server.port, name="never", default_ttl=0.0)
    assert [status(cache, "/bytes/1k") for _ in range(2)] == ["MISS", "MISS"]

    cache = start(FunctionType.CACHE, "nginx", server.port, name="short", default_ttl=0.2)
    assert [status(cache, "/bytes/1k") for _ in range(2)] == ["MISS", "HIT"]
    until(lambda: status(cache, "/bytes/1k") in ("EXPIRED", "REVALIDATED"))


@pytest.mark.parametrize(("grace", "expected"), [(60.0, (200, "STALE")), (0.0, (503, "EXPIRED"))])
def test_an_old_answer_is_given_when_no_fresh_one_can_be_had_only_with_grace(start, grace, expected):
    fails = threading.Event()

    def once(request: bytes):
        return (b"", b"", b"503 Service Unavailable") if fails.is_set() else (b"Cache-Control: max-age=1\r\n", b"first")

    with answering(once) as port:
        cache = start(FunctionType.CACHE, "nginx", port, name="grace", grace=grace)
        assert status(cache, "/page") == "MISS"
        fails.set()
        until(lambda: status(cache, "/page") != "HIT")
        answer = get(cache.port, "/page")

    assert (answer.status, answer.headers["x-cache-status"]) == expected
