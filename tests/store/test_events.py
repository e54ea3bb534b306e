"""Alerts and changes are found again, and control calls are kept apart from requests, with the real engine."""

from __future__ import annotations

import asyncio
import time

import pytest

from clover.errors import DocumentError, MeshError, Problem
from clover.mesh.controller import Change, Outcome
from clover.telemetry import otlp, query
from clover.telemetry.query.events import LIMIT
from clover.visibility import recorded
from harness import otlp_payloads as payloads

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = iter(range(1, 1_000_000))


def fresh_trace() -> str:
    return f"{next(_numbers):031x}e"


def record(
    log: str, *, function: str, seconds_ago: float = 0.0, now: int = 0, trace_id: str = "", body: str = "b", **said
):
    attributes = {"log": log} | {f"clover.{log}.{name}": value for name, value in said.items()}
    at = (now or time.time_ns()) - round(seconds_ago * 1e9)
    made = otlp.LogRecord(time_unix_nano=at, event=f"clover.{log}", body=body, attributes=attributes, trace_id=trace_id)
    resource = {"service.name": function, "service.version": "v1", "clover.workload": f"{function}-v1"}
    return otlp.logs_request(resource, [made])


async def listed(store, kind, function, **more):
    return await query.recent(store, kind, query.Window(function=function, **more))


async def test_an_alert_comes_back_as_it_was_told(store):
    trace = fresh_trace()
    await store.insert_logs(
        record("alert", function="ids", trace_id=trace, id="a1", rule_id=9000001, message="a \"scanner\" \\ü\n'",
               severity=1, client="192.0.2.7", join="flow-transaction", method="GET", host="h", url="/?q={x:String}")
    )  # fmt: skip

    (alert,) = await listed(store, query.ALERTS, "ids")

    assert (alert.id, alert.rule_id, alert.message, alert.severity) == ("a1", 9000001, 'a "scanner" \\ü\n\'', 1)
    assert (alert.client, alert.join, alert.url, alert.trace_id) == (
        "192.0.2.7",
        "flow-transaction",
        "/?q={x:String}",
        trace,
    )
    assert (alert.function, alert.version, alert.workload) == ("ids", "v1", "ids-v1")
    assert alert.as_json()["ruleId"] == 9000001


async def test_a_change_comes_back_as_it_was_told(store):
    trace = fresh_trace()
    await store.insert_logs(
        record("change", function="changed", trace_id=trace, method="Apply", outcome="applied", generation=4,
               previous=3, how="reload", duration_ms=212.4, summary="s", diff="-a\n+b\n")
    )  # fmt: skip

    (change,) = await listed(store, query.CHANGES, "changed")

    assert (change.method, change.outcome, change.generation, change.previous) == ("Apply", "applied", 4, 3)
    assert (change.how, change.duration_ms, change.summary, change.diff) == ("reload", 212.4, "s", "-a\n+b\n")
    assert (change.function, change.workload, change.trace_id) == ("changed", "changed-v1", trace)


async def test_a_record_without_its_attributes_is_shown_by_its_text(store):
    await store.insert_logs(record("change", function="terse", body="something was changed"))
    await store.insert_logs(record("alert", function="terse", body="something was found"))

    assert (await listed(store, query.CHANGES, "terse"))[0].summary == "something was changed"
    assert (await listed(store, query.ALERTS, "terse"))[0].message == "something was found"


async def test_the_newest_are_listed_and_the_oldest_of_them_first(store):
    now = time.time_ns()
    for age in (1, 4000, 2, 3):
        await store.insert_logs(record("alert", function="ordered", seconds_ago=age, now=now, message=str(age)))

    def messages(found):
        return [alert.message for alert in found]

    assert messages(await listed(store, query.ALERTS, "ordered")) == ["4000", "3", "2", "1"]
    assert messages(await listed(store, query.ALERTS, "ordered", limit=2)) == ["2", "1"]
    assert messages(await listed(store, query.ALERTS, "ordered", since_s=60)) == ["3", "2", "1"]


async def test_a_record_that_was_sent_twice_is_listed_once(store):
    request = record("alert", function="twice", id="same")
    await store.insert_logs(request)
    await store.insert_logs(request)

    assert len(await listed(store, query.ALERTS, "twice")) == 1


async def test_who_follows_gets_what_is_there_and_then_what_comes_each_once(store):
    await store.insert_logs(record("alert", function="followed", id="0"))
    following = query.follow(store, query.ALERTS, query.Window(function="followed"))

    async def following_id():
        while (event := await anext(following)) is None:
            pass
        return event.id

    assert await following_id() == "0"
    for number in ("1", "2"):
        coming = asyncio.ensure_future(following_id())
        await store.insert_logs(record("change", function="followed"))
        await store.insert_logs(record("alert", function="other"))
        await store.insert_logs(record("alert", function="followed", id=number, seconds_ago=3600))
        assert await asyncio.wait_for(coming, 10) == number
    await following.aclose()


@pytest.mark.parametrize(
    "wrong", [{"limit": "0"}, {"limit": str(LIMIT + 1)}, {"sinceS": "nan"}, {"sinceS": "-1"}, {"colour": "red"}]
)
async def test_a_list_that_cannot_be_is_refused(wrong):
    with pytest.raises(DocumentError, match="CLV6010"):
        query.window_from(wrong)


# ---- what was changed before a request


async def test_changes_before_a_trace_are_those_of_its_functions_and_of_the_mesh(store):
    trace = fresh_trace()
    await store.insert_traces(payloads.traces(payloads.span("1" * 16, trace=trace, service="lb-v1")))
    for name, more in {
        "of the function": {"function": "lb", "seconds_ago": 30, "outcome": "applied"},
        "too long ago": {"function": "lb", "seconds_ago": 700, "outcome": "applied"},
        "afterwards": {"function": "lb", "seconds_ago": -5, "outcome": "applied"},
        "refused": {"function": "lb", "seconds_ago": 20, "outcome": "refused"},
        "by itself": {"function": "lb", "seconds_ago": 15, "outcome": "applied", "trace_id": trace},
        "elsewhere": {"function": "cache", "seconds_ago": 20, "outcome": "applied"},
        "of the mesh": {"function": "mesh", "seconds_ago": 10, "outcome": "applied"},
    }.items():
        await store.insert_logs(record("change", summary=name, **more))

    changes = await query.changes_before(store, await query.trace(store, trace))

    assert [change.summary for change in changes] == ["of the mesh", "of the function"]


async def test_what_was_changed_before_the_chain_came_up_explains_nothing_that_came_after(store):
    trace = fresh_trace()
    await store.insert_traces(payloads.traces(payloads.span("1" * 16, trace=trace, service="balancer-v1")))
    for name, seconds_ago in {"of the run before": 60, "of this run": 10}.items():
        event = record("change", function="balancer", seconds_ago=seconds_ago, outcome="applied", summary=name)
        await store.insert_logs(event)
    found = await query.trace(store, trace)

    async def told(*, up_s: float) -> list[str]:
        changes = await query.changes_before(store, found, up_since=time.time() - up_s)
        return [change.summary for change in changes if change.function == "balancer"]

    assert await told(up_s=30) == ["of this run"]
    assert await told(up_s=90) == ["of this run", "of the run before"]
    # A trace of the run before can be read, too, and is explained as it was then.
    assert await told(up_s=-10) == ["of this run", "of the run before"]


# ---- changes of the mesh


def mesh_outcome(*actions: str) -> Outcome:
    changes = tuple(
        Change(kind="VirtualService", name=f"vs{at}", namespace="default", action=action)
        for at, action in enumerate(actions)
    )
    return Outcome(changes=changes, acknowledged_ms=12.5, proxies=3)


async def test_changes_of_the_mesh_are_kept_like_all_others_without_waiting(store):
    seen = store.commits
    refusal = MeshError(Problem(code="CLV4201", where="vs.yaml:1:1", what="it is bad"))
    for number, change in enumerate((
        recorded.made("apply", mesh_outcome("created", "unchanged")),
        recorded.made("apply", mesh_outcome("unchanged")),
        recorded.made("delete", mesh_outcome("deleted")),
        recorded.failed("apply", refusal),
    )):  # fmt: skip
        store.note_logs(recorded.request(change, chain="sdc", time_unix_nano=time.time_ns() + number))
    await store.after_next_commit(seen=seen, timeout_s=10)

    changes = await listed(store, query.CHANGES, "mesh", since_s=5)

    assert [(one.method, one.outcome, one.summary) for one in changes[-4:]] == [
        ("apply", "applied", "VirtualService default/vs0 created"),
        ("apply", "unchanged", "nothing changed"),
        ("delete", "applied", "VirtualService default/vs0 deleted"),
        ("apply", "refused", "vs.yaml:1:1: it is bad [CLV4201]"),
    ]
    assert (changes[-4].duration_ms, changes[-4].trace_id, changes[-4].version) == (12.5, "", "")


async def test_what_was_refused_for_a_hundred_reasons_is_recorded_in_few_words():
    many = MeshError(*(Problem(code="CLV4201", where=f"f:{at}:1", what="x" * 300) for at in range(100)))

    assert len(recorded.failed("apply", many).summary) <= 1000
    assert recorded.failed("apply", many).summary.startswith("f:0:1: xxx")


# ---- control calls


async def test_control_calls_are_no_requests_and_are_found_when_asked_for(store):
    request, call, alarm = fresh_trace(), fresh_trace(), fresh_trace()
    now = time.time_ns()

    def own(trace, span_id, parent, service):
        span = otlp.Span(
            trace_id=trace,
            span_id=span_id,
            parent_span_id=parent,
            name="Apply",
            start_unix_nano=now,
            end_unix_nano=now + 9,
        )
        return otlp.traces_request({"service.name": service, "clover.workload": service}, [span])

    def envoys(trace, span_id, parent, service):
        return payloads.traces(
            payloads.envoy_span(span_id, parent, service=service, cluster="c", trace=trace, start_ns=now)
        )

    # A call from a command: its first span is the agent's own.
    await store.insert_traces(own(call, "1" * 16, "", "control-agent"))
    await store.insert_traces(envoys(call, "2" * 16, "1" * 16, "controlled-lb"))
    # A request that led to an alert, which an ambassador reported within its trace.
    await store.insert_traces(envoys(request, "3" * 16, "", "controlled-lb"))
    await store.insert_traces(own(request, "4" * 16, "3" * 16, "controlled-lb"))
    # The agent's sidecar was faster than the agent to tell of a call.
    await store.insert_traces(envoys(alarm, "5" * 16, "6" * 16, "control-agent"))
    await store.insert_traces(envoys(alarm, "7" * 16, "5" * 16, "controlled-lb"))

    async def found(**wanted):
        summaries = await query.find_traces(store, query.Filter(service="controlled-lb", **wanted))
        return {summary.trace_id for summary in summaries}

    assert await found() == await found(since_s=60) == {request}
    assert await found(control=True) == {call, alarm}
    assert (await query.trace(store, "latest")).trace_id not in (call, alarm)
    assert query.filter_from({"control": "true"}).control
    with pytest.raises(DocumentError, match="CLV6010"):
        query.filter_from({"control": "perhaps"})


async def test_calls_of_an_ambassador_are_not_what_its_function_does(store):
    ended = time.time_ns() - 3 * 10**9
    common = {"log": "envoy", "service": "measured", "direction": "inbound", "status": "200", "duration_ms": "1"}
    await store.insert_logs(
        payloads.logs(
            {**common, "upstream_cluster": "inbound|9180||", "time_ns": ended},
            {**common, "upstream_cluster": "inbound|50054||", "time_ns": ended, "status": "503"},
        )
    )

    (rate,) = [rate for rate in await query.rates(store, seconds=10) if rate.service == "measured"]

    assert (rate.rps, rate.error_rate) == (0.1, 0.0)


async def test_a_request_without_tls_counts_once_though_its_connection_has_a_record_too(store):
    common = {
        "log": "envoy",
        "service": "plain",
        "direction": "inbound",
        "duration_ms": "1",
        "filter_chain": "0.0.0.0_9180-http",
        "downstream_failure": "TLS_error|inspector:not_tls",
        "time_ns": time.time_ns() - 3 * 10**9,
    }
    await store.insert_logs(
        payloads.logs(
            {**common, "method": "GET", "status": "200", "upstream_cluster": "inbound|9180||"},
            {**common, "status": "0", "upstream_cluster": "-"},
        )
    )

    (rate,) = [rate for rate in await query.rates(store, seconds=10) if rate.service == "plain"]

    assert (rate.rps, rate.error_rate) == (0.1, 0.0)


async def test_what_a_proxy_ended_is_listed_and_what_a_function_answered_is_not(store):
    def access(**said):
        made = otlp.LogRecord(
            time_unix_nano=time.time_ns(),
            event="",
            body="b",
            attributes={"log": "envoy", **said},
            trace_id=fresh_trace(),
        )
        return otlp.logs_request({"service.name": "losing", "clover.workload": "losing-v1"}, [made])

    about = {"direction": "inbound", "method": "GET", "path": "/x", "flags": "-"}
    await store.insert_logs(access(**about, status="503", details="via_upstream"))
    await store.insert_logs(access(**{**about, "flags": "DI"}, status="200", details="via_upstream"))
    await store.insert_logs(access(**about, status="403", details="rbac_access_denied_matched_policy[none]"))
    await store.insert_logs(access(direction="inbound", flags="NR", downstream_local="10.0.0.1:1", status="0"))
    await store.insert_logs(
        access(flags="-", details="-", downstream_local="10.0.0.1:2", downstream_failure="TLS_error")
    )
    taken = {"flags": "-", "details": "-", "filter_chain": "0.0.0.0_9180-http"}
    await store.insert_logs(access(**taken, downstream_failure="TLS_error|error:1000009c:HTTP_REQUEST"))

    found = await query.lost(store, query.Window(function="losing"))

    assert [(one.what, one.status) for one in found] == [
        ("GET /x", 403),
        ("tcp to 10.0.0.1:1", 0),
        ("tcp to 10.0.0.1:2", 0),
    ]
    assert found[0].why == "denied: no AuthorizationPolicy of the workload allows it"
    assert all(one.workload == "losing-v1" for one in found)


async def test_what_failed_outside_of_the_chain_is_told_with_what_the_way_out_said(store):
    trace, began = fresh_trace(), time.time_ns()

    def access(way, *, trace_id="", **said):
        attributes = {"log": "envoy", "direction": "outbound", "upstream_host": f"/out/{way}", "duration_ms": "20"}
        made = otlp.LogRecord(
            time_unix_nano=began, event="", body="b", attributes={**attributes, **said}, trace_id=trace_id
        )
        return otlp.logs_request({"service.name": "leaving", "clover.workload": "leaving"}, [made])

    request = {"method": "GET", "path": "/", "status": "503", "flags": "UC", "bytes_sent": "95"}
    tcp = {"flags": "-", "downstream_local": "240.240.0.1:443"}
    await store.insert_logs(access("api_443", trace_id=trace, **request))
    await store.insert_logs(access("db_5432", **tcp, bytes_sent="0"))
    await store.insert_logs(access("db_5432", **tcp, bytes_sent="7"))
    await store.insert_logs(access("quiet_1", **tcp, bytes_sent="0"))
    await store.insert_logs(access("any_443", **{**request, "status": "502", "flags": "-", "details": "via_upstream"}))
    await store.insert_traces(payloads.traces(payloads.span("1" * 16, trace=trace, service="leaving", start_ns=began)))
    told = [("/out/api_443", "api:443: cannot be looked up"), ("/out/db_5432", "db:5432: Connection refused"),
            ("/out/any_443", "www.any:443: no answer")]  # fmt: skip
    await store.insert_logs(recorded.unreached(told, chain="sdc", time_unix_nano=began + 10_000_000))

    found = {one.what: one.why for one in await query.lost(store, query.Window(function="leaving"))}
    (summary,) = await query.find_traces(store, query.Filter(service="leaving"))
    (line,) = (await query.trace(store, trace)).logs

    assert found.pop("GET /") in ("api:443: cannot be looked up", "www.any:443: no answer")
    assert found == {"tcp to 240.240.0.1:443": "db:5432: Connection refused"}
    assert len(await query.lost(store, query.Window(function="leaving"))) == 3
    assert (summary.why, line.why) == ("api:443: cannot be looked up",) * 2
