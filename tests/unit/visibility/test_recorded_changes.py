"""What the node tells the store of changes of the mesh."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from clover.errors import DocumentError, MeshError, Problem
from clover.mesh.controller import Change, Outcome
from clover.telemetry._proto import otlp_pb2
from clover.visibility import node as module
from clover.visibility import recorded
from clover.visibility.node import RunningNode

OUTCOME = Outcome(
    changes=(Change(kind="VirtualService", name="lb", namespace="default", action="configured"),), acknowledged_ms=9.0
)
DOCUMENT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lb}
spec: {hosts: [lb], http: [{route: [{destination: {host: lb}}]}]}
"""
REFUSAL = MeshError(Problem(code="CLV4405", where="sidecar lb", what="it did not take it"))


class Controller:
    """A mesh that takes everything, or nothing."""

    resources = ()

    def __init__(self, outcome: Outcome | Exception) -> None:
        self._outcome = outcome

    async def apply(self, *_, **__) -> Outcome:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    delete = delete_all = apply


@pytest.fixture
def records():
    return []


def node(records, outcome=OUTCOME) -> RunningNode:
    def keep(request: bytes) -> None:
        message = otlp_pb2.ExportLogsServiceRequest.FromString(request)
        (record,) = message.resource_logs[0].scope_logs[0].log_records
        said = {pair.key: pair.value.string_value for pair in record.attributes}
        records.append((said["clover.change.method"], said["clover.change.outcome"], said["clover.change.summary"]))

    return RunningNode(
        plan=SimpleNamespace(chain="sdc"), namespace="default", gateway="", pid=1, store_path="", statuses={},
        controller=Controller(outcome), server=None, store=SimpleNamespace(note_logs=keep), started=0.0,
    )  # fmt: skip


async def test_what_was_applied_and_deleted_is_recorded_with_its_resources(records):
    await node(records).apply([], dry_run=False)
    await node(records).delete("VirtualService", "lb", "")

    configured = "VirtualService default/lb configured"
    assert records == [("apply", "applied", configured), ("delete", "applied", configured)]


async def test_what_was_refused_is_recorded_with_the_reason(records):
    with pytest.raises(MeshError):
        await node(records, REFUSAL).apply([], dry_run=False)

    assert records == [("apply", "refused", "sidecar lb: it did not take it [CLV4405]")]


async def test_what_was_in_force_already_is_no_change(records):
    same = replace(OUTCOME, changes=tuple(replace(change, action="unchanged") for change in OUTCOME.changes))

    await node(records, same).apply([], dry_run=False)

    assert records == []


async def test_a_dry_run_is_no_change(records):
    await node(records).apply([("f.yaml", DOCUMENT)], dry_run=True)
    with pytest.raises(MeshError):
        await node(records, REFUSAL).apply([], dry_run=True)

    assert records == []


async def test_a_list_that_cannot_be_is_refused_before_anything_is_sent(records):
    with pytest.raises(DocumentError):
        node(records).following("alerts", {"limit": "0"})


async def test_a_dry_run_tells_each_resource_as_it_is_and_as_it_would_be(records):
    (change,) = (await node(records).apply([("f.yaml", DOCUMENT)], dry_run=True))["resources"]

    assert (change["before"], change["after"]["spec"]["hosts"]) == (None, ["lb"])


async def test_a_dry_run_is_compared_with_what_was_in_force_when_it_was_checked(records):
    class Changed(Controller):
        async def apply(self, parsed, **_):
            # Another change was under way, and is waited for.
            self.resources = parsed.resources
            return self._outcome

    asked = node(records)
    asked.controller = Changed(OUTCOME)
    (change,) = (await asked.apply([("f.yaml", DOCUMENT)], dry_run=True))["resources"]

    assert change["before"] == change["after"]


async def test_documents_are_read_without_keeping_anybody_waiting_whom_the_loop_serves(records, monkeypatch):
    readers, read = [], module.documents_in

    def noted(texts):
        readers.append(threading.current_thread())
        return read(texts)

    monkeypatch.setattr(module, "documents_in", noted)
    await node(records).apply([("f.yaml", DOCUMENT)], dry_run=False)
    await node(records).delete_all([], [("f.yaml", DOCUMENT)], dry_run=False, ignore_missing=False)

    assert len(readers) == 2
    assert threading.current_thread() not in readers


def test_a_process_that_died_is_recorded_as_a_change_of_its_function():
    died = recorded.restarted("http-lb-v1 haproxy", "killed by SIGKILL")
    whose = {"service.name": "http-lb", "service.version": "v1"}

    message = otlp_pb2.ExportLogsServiceRequest.FromString(
        recorded.request(died, chain="sdc", time_unix_nano=1, resource=whose)
    )

    (group,) = message.resource_logs
    assert {pair.key: pair.value.string_value for pair in group.resource.attributes} == whose
    (record,) = group.scope_logs[0].log_records
    said = {pair.key: pair.value.string_value for pair in record.attributes}
    assert said["clover.change.outcome"] == "restarted"
    assert said["clover.change.summary"] == "http-lb-v1 haproxy: killed by SIGKILL, started again"
