"""The edges of the node's API: who may connect, and what a malformed request is told."""

import asyncio
import json
import os
import socket
import tempfile
from pathlib import Path

import pytest

from clover.kit import unix_http, unix_server
from clover.visibility import api


@pytest.fixture
def place():
    # Not pytest's tmp_path: the path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="clv") as folder:
        yield Path(folder, "api.sock")


async def ask(place, target, **options):
    # No question of these tests gets as far as a node.
    async with asyncio.TaskGroup() as tasks, api.serving_api(place, object(), tasks=tasks):
        status, body = await asyncio.to_thread(unix_http.fetch, place, target, **options)
        return status, json.loads(body)


def test_the_socket_is_its_owners_alone_from_the_moment_it_has_a_name(place):
    with unix_server.listen(place) as listening:
        assert place.stat().st_mode & 0o777 == 0o600
        assert listening.type == socket.SOCK_STREAM


async def test_opening_the_socket_leaves_the_modes_of_everything_else_alone(place):
    before = os.umask(0o022)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = api.serving_api(place, object(), tasks=tasks)
            entering = tasks.create_task(serving.__aenter__())
            while not entering.done():
                assert os.umask(0o022) == 0o022
                await asyncio.sleep(0)
            await serving.__aexit__(None, None, None)
    finally:
        os.umask(before)


async def test_a_socket_left_by_a_killed_node_is_replaced(place):
    with unix_server.listen(place):
        pass

    assert (await ask(place, "/nowhere"))[0] == 404


@pytest.mark.parametrize(
    ("target", "method", "status"), [("/v2/status", "GET", 404), ("/v1/status", "PUT", 405), ("/", "GET", 404)]
)
async def test_what_the_api_does_not_have_is_a_problem_like_any_other(place, target, method, status):
    answered, body = await ask(place, target, method=method)

    assert (answered, body["exitCode"], [problem["code"] for problem in body["problems"]]) == (status, 2, ["CLV5003"])


class Deleting:
    """Remembers what it was asked to delete."""

    async def delete_all(self, named, documents, *, dry_run, ignore_missing):
        self.named = named
        return {}


async def test_a_namespace_of_null_is_none_that_is_named(place):
    node, body = Deleting(), b'{"resources": [{"kind": "Sidecar", "name": "x", "namespace": null}]}'
    async with asyncio.TaskGroup() as tasks, api.serving_api(place, node, tasks=tasks):
        status, _ = await asyncio.to_thread(unix_http.fetch, place, "/v1/deletions", method="POST", body=body)

    assert (status, node.named) == (200, [("Sidecar", "x", "")])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"documents": [1]}'])
async def test_a_body_that_is_no_change_is_refused(place, body):
    answered, told = await ask(place, "/v1/resources", method="POST", body=body)

    assert (answered, told["problems"][0]["code"]) == (422, "CLV5003")


async def test_a_list_either_ends_or_goes_on(place):
    answered, told = await ask(place, "/v1/alerts?follow=perhaps")

    assert (answered, told["problems"][0]["what"]) == (422, "follow is 'perhaps', expected true or false")
