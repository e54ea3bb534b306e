"""The node's answers to the API: status, resources, traces and proxies of the chain that it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.errors import CloverError, DocumentError, MeshError, Problem, errors_only
from clover.kit import documents as yaml
from clover.kit import unix_http
from clover.kit.aside import aside
from clover.kit.documents import Document
from clover.mesh.controller import Controller, Outcome, unknown_kind
from clover.mesh.istio import parse, render
from clover.mesh.istio.analysis.headings import items_of, wrong_items
from clover.mesh.istio.resources import KINDS, Resource, full_kind, key
from clover.mesh.server import NodeStatus, Server
from clover.runtime.plan import Plan, WorkloadPlan
from clover.runtime.status import State, WorkloadStatus
from clover.telemetry import query
from clover.telemetry.store.store import Store
from clover.visibility import identities, recorded
from clover.visibility.named import check as check_named

Json = dict[str, Any]

RATE_WINDOW_S = 10
"""Rates and percentiles of `clover status` are of this long."""

PROXY_VIEWS = {
    "config": "/config_dump?include_eds",
    "clusters": "/clusters?format=json",
    "listeners": "/config_dump?resource=dynamic_listeners",
    "routes": "/config_dump?resource=dynamic_route_configs",
    "certificates": "/certs",
    "stats": "/stats?format=json&usedonly",
}
"""What `clover proxy` can show → where Envoy's admin interface has it."""


_LOGS = {"sidecar": "{} --sidecar", "ambassador": "{} --ambassador", "way-out": "way-out"}
"""What `clover logs` needs to be told to show the words of a process other than the engine."""


@dataclass(slots=True, kw_only=True)
class RunningNode:
    """Answers for one running chain; implements `api.Node`."""

    plan: Plan
    namespace: str
    gateway: str
    pid: int
    store_path: str
    statuses: Mapping[str, WorkloadStatus]
    controller: Controller
    server: Server
    store: Store
    started: float
    """Unix time."""
    ready: bool = False

    async def status(self) -> Json:
        """Return the chain, its workloads with their traffic of the last seconds, and its problems."""
        traffic = {(rate.service, rate.version): rate for rate in await query.rates(self.store, seconds=RATE_WINDOW_S)}
        sidecars = self.server.status()
        rows = []
        for workload in self.plan.workloads:
            row = self._workload(workload, sidecars)
            rate = traffic.get((workload.function, workload.version))
            row |= {
                "rps": rate.rps if rate else 0.0,
                "errorRate": rate.error_rate if rate else 0.0,
                "p50Ms": rate.p50_ms if rate else None,
                "p99Ms": rate.p99_ms if rate else None,
            }
            rows.append(row)
        refused = [problem for sidecar in sidecars.values() for problem in sidecar.problems]
        broken = [
            problem for workload in self.plan.workloads for problem in _broken(workload, self.statuses[workload.name])
        ]
        problems = [*broken, *dict.fromkeys(refused), *self.store.problems()]
        certificates = self.controller.problems()
        good = all(row["ready"] for row in rows) and not problems and not errors_only(certificates)
        return {
            "chain": self.plan.chain,
            "namespace": self.namespace,
            "gateway": self.gateway,
            "pid": self.pid,
            "uptimeS": round(time.time() - self.started, 1),
            "state": ("ready" if good else "degraded") if self.ready else "starting",
            "workloads": rows,
            "problems": [problem.as_json() for problem in (*problems, *certificates)],
            "store": {**await self.store.statistics(), "path": self.store_path},
        }

    async def apply(self, documents: Sequence[tuple[str, str]], *, dry_run: bool) -> Json:
        """Apply resources, all or none; every document that is wrong is reported."""
        parsed, unreadable = await aside(lambda: self._parsed(documents))
        try:
            outcome = await self.controller.apply(parsed, unreadable=unreadable, dry_run=dry_run)
        except CloverError as failure:
            if not dry_run:
                self._record(recorded.failed("apply", failure))
            raise
        if dry_run:
            # Nothing has run since it was checked, so these are the ones that it was checked with.
            return _compared(_outcome(outcome), self.controller.resources, parsed.resources)
        self._record(recorded.made("apply", outcome))
        return _outcome(outcome)

    async def delete_all(
        self,
        named: Sequence[tuple[str, str, str]],
        documents: Sequence[tuple[str, str]],
        *,
        dry_run: bool,
        ignore_missing: bool,
    ) -> Json:
        """Delete resources by kind, name and namespace, and those that documents are about; all or none."""
        read, malformed = await aside(lambda: documents_in(documents))
        found, wrong = identities.named_in(read, namespace=self.namespace)
        wanted = [(kind, namespace or self.namespace, name) for kind, name, namespace in named]
        try:
            outcome = await self.controller.delete_all(
                list(dict.fromkeys((*wanted, *found))),
                unreadable=(*malformed, *wrong),
                ignore_missing=ignore_missing,
                dry_run=dry_run,
            )
        except CloverError as failure:
            if not dry_run:
                self._record(recorded.failed("delete", failure))
            raise
        if not dry_run:
            self._record(recorded.made("delete", outcome))
        return _outcome(outcome)

    def resources(self, kind: str, name: str, namespace: str) -> Json:
        """Return the resources in force that fit the arguments; a kind without a group is every kind of that name."""
        if kind and kind not in KINDS:
            raise DocumentError(unknown_kind(kind))
        found = [
            resource
            for resource in self.controller.resources
            if kind in ("", full_kind(type(resource)), resource.kind)
            and name in ("", resource.metadata.name)
            and namespace in ("", resource.metadata.namespace)
        ]
        if name and not found:
            raise DocumentError(self.controller.unknown(kind, namespace or self.namespace, name))
        return {"items": [render.render(resource) for resource in found]}

    async def delete(self, kind: str, name: str, namespace: str) -> Json:
        """Delete a resource."""
        try:
            outcome = await self.controller.delete(kind, namespace or self.namespace, name)
        except CloverError as failure:
            self._record(recorded.failed("delete", failure))
            raise
        self._record(recorded.made("delete", outcome))
        return {**_outcome(outcome)["resources"][0], "acknowledgedMs": outcome.acknowledged_ms}

    async def traces(self, query_parameters: Mapping[str, str], attributes: Sequence[str]) -> list[Json]:
        """Return summaries of traces, newest first."""
        wanted = query.filter_from(query_parameters, attributes)
        found = await query.find_traces(self.store, wanted)
        # The store outlives the chain: a function that is no more may have traces. The same holds below.
        if not found:
            check_named(self.plan, wanted.service, wanted.version)
        return [summary.as_json() for summary in found]

    async def trace(self, key: str, *, wait_s: float) -> Json:
        """Return one trace with its logs, and the changes that may explain it."""
        found = await query.trace(self.store, key, wait_s=wait_s)
        changes = await query.changes_before(self.store, found, up_since=self.started)
        return {**found.as_json(), "changes": [change.as_json() for change in changes]}

    async def alerts(self, query_parameters: Mapping[str, str]) -> list[Json]:
        """Return alerts, oldest first."""
        wanted = query.window_from(query_parameters)
        found = await query.recent(self.store, query.ALERTS, wanted)
        if not found:
            check_named(self.plan, wanted.function, wanted.version)
        return [alert.as_json() for alert in found]

    async def changes(self, query_parameters: Mapping[str, str]) -> list[Json]:
        """Return changes, oldest first."""
        wanted = query.window_from(query_parameters)
        found = await query.recent(self.store, query.CHANGES, wanted)
        if not found:
            check_named(self.plan, wanted.function, wanted.version, also=(query.MESH,))
        return [change.as_json() for change in found]

    async def lost(self, query_parameters: Mapping[str, str]) -> list[Json]:
        """Return requests and connections that proxies ended themselves, oldest first."""
        wanted = query.window_from(query_parameters)
        found = await query.lost(self.store, wanted)
        if not found:
            check_named(self.plan, wanted.function, wanted.version)
        return [one.as_json() for one in found]

    def following(self, what: str, query_parameters: Mapping[str, str]) -> AsyncIterator[Json | None]:
        """Yield alerts or changes as they come, None when nothing has come for a while."""
        kind = {"alerts": query.ALERTS, "changes": query.CHANGES}[what]
        wanted = query.window_from(query_parameters)
        check_named(self.plan, wanted.function, wanted.version, also=(query.MESH,) if what == "changes" else ())
        return self._following(kind, wanted)

    async def _following(self, kind: query.Kind, wanted: query.Window) -> AsyncIterator[Json | None]:
        async for event in query.follow(self.store, kind, wanted):
            yield event.as_json() if event else None

    def _parsed(self, documents: Sequence[tuple[str, str]]) -> tuple[parse.Parsed, tuple[Problem, ...]]:
        """Return what texts say, and what is wrong with them; a megabyte takes seconds."""
        found, malformed = documents_in(documents)
        parsed, wrong = parse.inspect(found, namespace=self.namespace)
        return parsed, (*malformed, *wrong)

    def _record(self, change: recorded.Recorded) -> None:
        if change.outcome != recorded.UNCHANGED:
            now = time.time_ns()
            self.store.note_logs(recorded.request(change, chain=self.plan.chain, time_unix_nano=now))

    async def proxy(self, workload: str, what: str) -> bytes:
        """Return what a sidecar's own admin interface says."""
        plan = next((plan for plan in self.plan.workloads if plan.name == workload), None)
        if plan is None or what not in PROXY_VIEWS:
            raise DocumentError(
                Problem(
                    code="CLV5404",
                    where=f"proxy {workload} {what}",
                    what=f"there is no workload {workload!r}" if plan is None else f"{what!r} is not a view",
                    hint=f"workloads: {', '.join(known.name for known in self.plan.workloads)}"
                    if plan is None
                    else f"views: {', '.join(PROXY_VIEWS)}",
                )
            )
        try:
            socket = Path(plan.directory, "envoy.sock")
            _, body = await asyncio.to_thread(unix_http.fetch, socket, PROXY_VIEWS[what])
        except OSError as failure:
            raise MeshError(
                Problem(
                    code="CLV5301",
                    where=f"sidecar of {workload}",
                    what=f"its admin interface does not answer: {failure}",
                    hint=f"clover logs {workload} --sidecar",
                )
            ) from failure
        return body

    def _workload(self, plan: WorkloadPlan, sidecars: Mapping[str, NodeStatus]) -> Json:
        return workload_row(plan, self.statuses[plan.name], sidecars.get(plan.name))


def documents_in(texts: Sequence[tuple[str, str]]) -> tuple[list[Document], list[Problem]]:
    """Parse every text, and the items of a `List` in it; return what could be read, and why the rest could not."""
    found: list[Document] = []
    problems: list[Problem] = []
    for name, text in texts:
        try:
            read = yaml.parse(text, name)
            found += (item for document in read for item in items_of(document))
            problems += (problem for document in read for problem in wrong_items(document))
        except DocumentError as failure:
            problems += failure.problems
    return found, problems


def _broken(plan: WorkloadPlan, status: WorkloadStatus) -> Iterator[Problem]:
    """Tell of each part of a workload that died and is not back."""
    main = "relay" if plan.gateway else plan.engine
    if plan.gateway and status.engine and status.engine.state is State.STOPPED:
        yield Problem(
            code="CLV5105",
            where="gateway",
            what="no Gateway resource opens a port on the host: nothing can enter the chain",
            hint="clover render PATH gateway | clover apply - brings the chain's own back",
        )
    parts = [
        (f"sidecar of {plan.name}", "sidecar", status.sidecar),
        (f"workload {plan.name}", main, status.engine),
        *((f"{name} of {plan.name}", name, companion) for name, companion in status.companions.items()),
    ]
    for where, what, process in parts:
        if process is not None and process.state is State.RESTARTING:
            yield Problem(
                code="CLV5103",
                where=where,
                what=f"its {what} died and is being started again (restart {process.restarts}): {process.last_exit}",
                hint=f"clover logs {_LOGS.get(what, plan.name).format(plan.name)}",
            )


def workload_row(plan: WorkloadPlan, status: WorkloadStatus, sidecar: NodeStatus | None) -> Json:
    """Return what `clover status --json` says of one workload, without its traffic."""
    main = status.engine if plan.engine_process and status.engine else status.sidecar
    acknowledged = bool(sidecar and sidecar.connected and sidecar.acknowledged)
    return {
        "function": plan.function,
        "version": plan.version,
        "workload": plan.name,
        "engine": plan.engine,
        "state": status.state.value,
        "ready": status.state.value == "ready" and acknowledged,
        "address": f"{plan.address}:{plan.port}" if plan.port else plan.address,
        "restarts": status.restarts,
        "pid": main.pid,
        "lastExit": main.last_exit,
        "sidecar": {
            "state": status.sidecar.state.value,
            "restarts": status.sidecar.restarts,
            "pid": status.sidecar.pid,
            "lastExit": status.sidecar.last_exit,
            "configVersion": sidecar.version if sidecar else "",
            "acknowledged": acknowledged,
        },
        "companions": {
            name: {
                "state": companion.state.value,
                "restarts": companion.restarts,
                "pid": companion.pid,
                "lastExit": companion.last_exit,
            }
            for name, companion in status.companions.items()
        },
    }


def _compared(answer: Json, before: Iterable[Resource], after: Iterable[Resource]) -> Json:
    """Return the answer with each resource as it is, and as it would be."""
    old = {key(resource): render.render(resource) for resource in before}
    new = {key(resource): render.render(resource) for resource in after}
    for change in answer["resources"]:
        named = f"{change['kind']}/{change['namespace']}/{change['name']}"
        change |= {"before": old.get(named), "after": new[named]}
    return answer


def _outcome(outcome: Outcome) -> Json:
    return {
        "resources": [
            {"kind": change.kind, "name": change.name, "namespace": change.namespace, "action": change.action}
            for change in outcome.changes
        ],
        "warnings": [problem.as_json() for problem in outcome.warnings],
        "acknowledgedMs": round(outcome.acknowledged_ms, 1),
        "proxies": outcome.proxies,
    }
