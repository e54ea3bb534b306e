"""Files of a server, answers of a cache, rules of an intrusion detection system; and what a change tells of itself."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator

import pytest

from clover.functions.haproxy import sockets
from harness import ambassadors, otlp
from harness.ambassadors import Controlled, Network, Refusal

FILES = {"sites": [{"hosts": [], "locations": [{"path": "/css/", "match": "prefix", "files": True}]}]}


@pytest.fixture
async def server(network: Network) -> AsyncIterator[Controlled]:
    async with ambassadors.controlled(network, "server", "nginx", FILES) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        yield function


async def test_an_uploaded_file_is_served_listed_replaced_and_deleted(server: Controlled):
    answer = await server.upload("css/site.css", b"body", b" {}")
    assert (answer.generation, answer.changed) == (2, True)
    assert server.fetch("/css/site.css") == (200, "body {}")

    (listed,) = (await server.call("ListFiles")).files
    assert (listed.path, listed.bytes, listed.sha256) == ("css/site.css", 7, hashlib.sha256(b"body {}").hexdigest())

    assert not (await server.upload("css/site.css", b"body {}")).changed, "the same again"
    await server.upload("css/site.css", b"p {}")
    assert server.fetch("/css/site.css") == (200, "p {}")

    await server.call("DeleteFile", 'path: "css/site.css"')
    assert server.fetch("/css/site.css")[0] == 404
    assert not (await server.call("ListFiles")).files


async def test_a_file_of_the_greatest_size_is_taken_and_one_byte_more_is_not(server: Controlled):
    part = bytes(1 << 20)
    await server.upload("large", *([part] * 16))
    (listed,) = (await server.call("ListFiles")).files
    assert listed.bytes == 16 << 20

    with pytest.raises(Refusal) as caught:
        await server.upload("larger", *([part] * 16), b"x")

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "CLV3317")
    assert not list((server.files / "files").glob(".upload*"))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../b", ".hidden", "a//b", "a/", "a b", "a\nb", "ä", "x" * 201, "a\\b", "$a"]
)
async def test_a_path_that_leads_elsewhere_is_refused(server: Controlled, path: str):
    with pytest.raises(Refusal) as caught:
        await server.upload(path, b"x")

    assert (caught.value.code, list(caught.value.fields)) == ("INVALID_ARGUMENT", ["path"])
    assert (await server.state()).generation == 1


async def test_a_file_cannot_be_a_folder_at_the_same_time(server: Controlled):
    await server.upload("a/b", b"x")

    with pytest.raises(Refusal) as caught:
        await server.upload("a", b"x")

    assert caught.value.code == "INVALID_ARGUMENT"


async def test_an_upload_for_a_stale_generation_is_refused(server: Controlled):
    await server.upload("a", b"x")

    with pytest.raises(Refusal) as caught:
        await server.upload("b", b"x", expected=1)

    assert caught.value.reason == "CLV3301"


async def test_a_file_that_is_not_there_cannot_be_deleted(server: Controlled):
    with pytest.raises(Refusal) as caught:
        await server.call("DeleteFile", 'path: "nothing"')

    assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "CLV3315")


def purged(received):
    """What the records of changes say of answers that were dropped."""
    changes = [log.attributes for log in received.logs if log.attributes.get("clover.change.method") == "PurgeCache"]
    return [change["clover.change.summary"] for change in changes if change["clover.change.outcome"] == "applied"]


@pytest.mark.parametrize("engine", ["nginx", "varnish"])
async def test_a_cache_forgets_what_it_is_told_to_forget(network: Network, engine: str):
    configuration = {"backends": [{"host": "web-1"}], "defaultTtl": "600s"}
    async with (
        otlp.receiving(network.folder / "otlp.sock") as received,
        ambassadors.controlled(network, "cache", engine, configuration) as function,
    ):
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        assert function.fetch("/a") == (200, "web-1")
        await function.call(
            "Apply", 'configuration { cache { backends { host: "web-2" } default_ttl { seconds: 600 } } }'
        )
        assert function.fetch("/a") == (200, "web-1"), "it has the answer"

        await function.call("PurgeCache", 'url: "http://chain.test/a"')

        assert function.fetch("/a") == (200, "web-2")
        await function.call("PurgeCache", "everything: true")
        await function.call("PurgeCache", 'prefix: "/"')

        await received.until(lambda got: len(purged(got)) == 3)
        assert [summary.partition(":")[0] for summary in purged(received)] == [
            "purged chain.test/a",
            "purged everything",
            "purged /*",
        ]


@pytest.mark.parametrize(
    "text", ["", "everything: false", 'url: "ftp://x/"', 'url: "a"', 'prefix: "/a b"', 'url: "/\\n"']
)
async def test_what_cannot_be_purged_is_refused(network: Network, text: str):
    async with ambassadors.controlled(network, "cache", "nginx", {"backends": [{"host": "web-1"}]}) as function:
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()

        with pytest.raises(Refusal) as caught:
            await function.call("PurgeCache", text)

        assert caught.value.code == "INVALID_ARGUMENT"


async def test_a_haproxy_that_many_ask_at_once_answers_them_all(network: Network):
    configuration = {"backends": [{"host": "web-1"}]}
    async with ambassadors.controlled(network, "load-balancer", "haproxy", configuration) as function:
        function.start_engine()

        answers = await asyncio.gather(
            *(sockets.ask(function.directory / "admin.sock", "show info") for _ in range(200))
        )

    assert all("Version: " in answer for answer in answers)


async def test_a_change_is_one_trace_from_its_caller_to_the_engine_and_one_record(network: Network):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with (
        otlp.receiving(network.folder / "otlp.sock") as received,
        ambassadors.controlled(network, "load-balancer", "nginx", {"backends": [{"host": "web-1"}]}) as function,
    ):
        function.start_engine()
        function.start_ambassador()
        await function.until_ready()
        await function.call(
            "Apply",
            'configuration { load_balancer { backends { host: "web-2" } } }',
            traceparent=f"00-{trace_id}-00f067aa0ba902b7-01",
        )
        await received.until(lambda got: any(span.name.endswith("/Apply") for span in got.spans) and bool(got.logs))

        spans = {span.name: span for span in received.spans if span.trace_id == trace_id}
        server = spans.pop("clover.control.v1.Ambassador/Apply")
        assert server.parent_id == "00f067aa0ba902b7"
        assert set(spans) == {"render", "write", "check", "activate", "confirm"}
        assert {span.parent_id for span in spans.values()} == {server.span_id}
        assert server.resource == {
            "service.name": "fn",
            "service.version": "v1",
            "service.namespace": "test",
            "service.instance.id": "fn",
            "clover.workload": "fn",
        }
        (record,) = received.logs
        assert (record.trace_id, record.span_id) == (trace_id, server.span_id)
        assert re.fullmatch(r"fn@v1: generation 1 → 2 by reload in \d+ ms: backends: web-1 → web-2", record.name)
        assert record.attributes["log"] == "change"
        assert record.attributes["clover.change.outcome"] == "applied"
        assert record.attributes["clover.change.method"] == "Apply"
        assert record.attributes["clover.function"] == "fn"
