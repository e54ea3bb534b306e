"""A question about a function that the chain does not have is refused, not answered with nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clover.errors import DocumentError
from clover.visibility.node import RunningNode


class Store:
    """A store with nothing in it, unless it is told the rows of every answer."""

    commits = 0

    def __init__(self, *rows) -> None:
        self.rows = list(rows)
        self.parameters: list[dict] = []

    async def settle(self):
        pass

    async def query(self, _, parameters=None):
        self.parameters.append(parameters or {})
        return self.rows


def node(store=None) -> RunningNode:
    names = [("gateway", ""), ("http-lb", "v1"), ("http-lb", "v2"), ("waf", "v1")]
    workloads = tuple(SimpleNamespace(function=function, version=version) for function, version in names)
    return RunningNode(
        plan=SimpleNamespace(chain="sdc", workloads=workloads), namespace="default", gateway="", pid=1, store_path="",
        statuses={}, controller=None, server=None, store=store or Store(), started=0.0,
    )  # fmt: skip


QUESTIONS = {
    "alerts": lambda node, name: node.alerts({"function": name}),
    "changes": lambda node, name: node.changes({"function": name}),
    "lost": lambda node, name: node.lost({"function": name}),
    "traces": lambda node, name: node.traces({"service": name}, []),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize(
    ("name", "it_has"),
    [("nosuch", "gateway, http-lb@v1, http-lb@v2"), ("http-lb@v3", "http-lb@v1, http-lb@v2"), ("@v9", "gateway")],
)
async def test_an_unknown_function_is_refused_with_those_that_there_are(ask, name, it_has):
    with pytest.raises(DocumentError) as refused:
        await ask(node(), name)

    (problem,) = refused.value.problems
    assert (problem.code, problem.what) == ("CLV5203", f"{name!r} is not in the chain")
    assert it_has in problem.hint


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("name", ["", "waf", "http-lb@v2", "gateway"])
async def test_a_function_of_which_nothing_is_known_has_an_empty_answer(ask, name):
    assert await ask(node(), name) == []


async def test_the_version_that_is_asked_for_is_the_one_that_is_looked_for():
    store = Store()
    for ask in QUESTIONS.values():
        await ask(node(store), "http-lb@v2")

    asked = [one for one in store.parameters if "version" in one]
    assert len(asked) >= len(QUESTIONS)
    assert {one["version"] for one in asked} == {"v2"}


async def test_the_mesh_is_changed_and_does_nothing_else():
    assert await node().changes({"function": "mesh"}) == []
    with pytest.raises(DocumentError):
        await node().alerts({"function": "mesh"})


def test_who_follows_an_unknown_function_is_told_before_the_first_line():
    with pytest.raises(DocumentError, match="'nosuch' is not in the chain"):
        node().following("alerts", {"function": "nosuch"})
    node().following("changes", {"function": "mesh"})


async def test_a_function_that_is_no_more_has_its_traces_still():
    row = {"trace_id": "1" * 32, "root": ("old", "GET /", 1), "span_count": 1, "error_count": 0, "services": ["old"],
           "start": 1, "arriving": 0, "time": 1, "attributes": {}}  # fmt: skip

    (found,) = await node(Store(row)).traces({"service": "old", "limit": "1"}, [])

    assert found["services"] == ["old"]
