"""Several resources are deleted in one change, all or none."""

from __future__ import annotations

import pytest
from test_controller import WEB, controller

from clover.errors import DocumentError, Problem

GATEWAY, SERVICE = ("Gateway", "default", "sdc-gateway"), ("VirtualService", "default", "sdc")


async def test_resources_that_need_each_other_go_together():
    outcome = await controller().delete_all([GATEWAY, SERVICE], dry_run=True)

    assert [(one.name, one.action) for one in outcome.changes] == [("sdc-gateway", "deleted"), ("sdc", "deleted")]


async def test_every_one_that_is_not_there_is_told_at_once():
    with pytest.raises(DocumentError) as refused:
        await controller(WEB).delete_all(
            [SERVICE, ("Gateway", "default", "x"), ("Sidecar", "shop", "y")],
            unreadable=(Problem(code="CLV1081", where="f", what="w"),),
        )

    assert [problem.code for problem in refused.value.problems] == ["CLV1081", "CLV4404", "CLV4404"]


async def test_what_is_not_there_may_be_ignored_and_changes_nothing():
    there = controller()

    assert (await there.delete_all([("Gateway", "default", "x")], ignore_missing=True)).changes == ()
    assert SERVICE[2] in {resource.metadata.name for resource in there.resources}


async def test_those_that_are_needed_are_named():
    with pytest.raises(DocumentError, match="Gateway default/sdc-gateway is needed: VirtualService default/sdc"):
        await controller().delete_all([GATEWAY, ("Gateway", "default", "x")], ignore_missing=True)
