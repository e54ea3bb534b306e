"""Deleting what documents are about: by kind, namespace and name, whatever else they say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clover.errors import DocumentError
from clover.mesh.controller import Change, Outcome
from clover.visibility.node import RunningNode

VIRTUAL_SERVICE = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: lb}, spec: {nosuch: 1}}"
GATEWAY_OF_THE_API = (
    "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: shop}}"
)


class Controller:
    """Takes every deletion, and remembers it."""

    resources = ()

    async def delete_all(self, named, *, unreadable, ignore_missing, dry_run):
        self.asked = (list(named), ignore_missing, dry_run)
        if unreadable:
            raise DocumentError(*unreadable)
        return Outcome(
            changes=tuple(Change(kind=kind, namespace=ns, name=name, action="deleted") for kind, ns, name in named)
        )


@pytest.fixture
def controller():
    return Controller()


@pytest.fixture
def node(controller):
    return RunningNode(
        plan=SimpleNamespace(chain="sdc"), namespace="default", gateway="", pid=1, store_path="", statuses={},
        controller=controller, server=None, store=SimpleNamespace(note_logs=lambda _: None), started=0.0,
    )  # fmt: skip


async def test_documents_name_what_is_deleted_and_need_not_be_right_otherwise(node, controller):
    text = f"{VIRTUAL_SERVICE}\n---\n{GATEWAY_OF_THE_API}\n---\n{VIRTUAL_SERVICE}"

    answer = await node.delete_all(
        [("VirtualService", "lb", ""), ("Sidecar", "x", "shop")], [("f.yaml", text)], dry_run=True, ignore_missing=True
    )

    assert controller.asked == (
        [
            ("VirtualService", "default", "lb"),
            ("Sidecar", "shop", "x"),
            ("Gateway.gateway.networking.k8s.io", "shop", "edge"),
        ],
        True,
        True,
    )
    assert [one["action"] for one in answer["resources"]] == ["deleted"] * 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{apiVersion: v1, kind: Nosuch, metadata: {name: x}}", "its kind is 'Nosuch'"),
        ("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {}}", "it has no 'metadata.name'"),
        ("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: [x]}", "it has no 'metadata.name'"),
        ("{kind: [x]}", "its kind is"),
        ("{}", "its kind is ''"),
    ],
)
async def test_a_document_that_names_nothing_is_refused_with_its_place_and_nothing_is_deleted(node, text, what):
    with pytest.raises(DocumentError) as refused:
        await node.delete_all([], [("f.yaml", f"{VIRTUAL_SERVICE}\n---\n{text}")], dry_run=False, ignore_missing=False)

    (problem,) = refused.value.problems
    assert (problem.code, problem.where.startswith("f.yaml:3:"), what in problem.what) == ("CLV1081", True, True)


async def test_malformed_text_is_told_beside_the_rest(node):
    with pytest.raises(DocumentError) as refused:
        await node.delete_all([], [("a.yaml", "{"), ("b.yaml", "{kind: No}")], dry_run=False, ignore_missing=True)

    assert [problem.code for problem in refused.value.problems] == ["CLV1004", "CLV1081"]
