"""A real Envoy, told what Telemetries mean: which traces have spans, which requests are logged, what the spans say."""

import dataclasses
import tempfile
from pathlib import Path

import pytest

from clover.mesh import server, snapshot
from clover.mesh.istio.cel import cel_problem
from clover.mesh.reporting import Reporting, Reports
from clover.mesh.xds import compile
from harness import envoy, policies, proxies
from harness.otlp import receiving
from harness.ports import free_port

pytestmark = pytest.mark.envoy


@pytest.fixture
def directory():
    """A folder whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        yield Path(name)


class Gateway:
    """A gateway in front of an echo, and what it has reported."""

    def __init__(self, control, received, echo):
        self.control, self.received, self.echo = control, received, echo
        self.port = free_port()

    async def report(self, spec):
        """Put a Telemetry into force whose spec is YAML in flow style."""
        text = f"apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: here}}\nspec: {spec}\n"
        assert [str(problem) for problem in policies.problems(text) if problem.severity == "error"] == []
        await self.push(policies.proxies(text)["gateway"].identity.reports)

    async def push(self, reports):
        members = proxies.members(proxies.cluster_name(proxies.LB), "127.0.0.1", port=self.echo)
        proxy = proxies.gateway(port=self.port, endpoints=(members,))
        proxy = dataclasses.replace(proxy, identity=dataclasses.replace(proxy.identity, reports=reports))
        generation = self.control.push({"gateway": snapshot.snapshot_from(proxy)})
        assert (await self.control.acknowledged(generation, timeout_s=10)).accepted == ("gateway",)

    async def ask(self, path="/", **headers):
        return await envoy.fetch(self.port, path, **headers)

    async def reported(self, path):
        """Return the log record of the request for `path`, once it is there; what came before it is there too."""
        await self.received.until(lambda seen: any(log.attributes["path"] == path for log in seen.logs))
        (found,) = (log for log in self.received.logs if log.attributes["path"] == path)
        return found


@pytest.fixture
async def gateway(directory):
    async with (
        receiving(directory / "otlp.sock") as received,
        envoy.echoing() as echo,
        server.serving(directory / "xds.sock") as control,
        envoy.envoy(directory, proxies.GATEWAY),
    ):
        yield Gateway(control, received, echo)


def sampled(answer):
    return answer.echo["headers"]["traceparent"].endswith("-01")


async def test_without_a_share_no_trace_has_spans_and_its_records_say_so(gateway):
    await gateway.report("{tracing: [{randomSamplingPercentage: 0}]}")
    answers = [await gateway.ask(f"/{number}", traceparent=f"00-{number:032x}-{1:016x}-01") for number in range(1, 9)]
    record = await gateway.reported("/8")
    await gateway.push(Reports())
    await gateway.ask("/kept")
    await gateway.received.until(lambda seen: seen.spans)

    assert not any(map(sampled, answers))
    assert (record.trace_id, record.attributes["spans_kept"]) == (f"{8:032x}", "0 %")
    assert {answer.headers["traceresponse"][-3:] for answer in answers} == {"-00"}
    assert {span.trace_id for span in gateway.received.spans} == {(await gateway.reported("/kept")).trace_id}


async def test_a_share_of_traces_has_spans_and_always_the_same_ones_whatever_the_client_says(gateway):
    await gateway.report("{tracing: [{randomSamplingPercentage: 50}]}")
    ids = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in range(1, 61)]
    first = [sampled(await gateway.ask(traceparent=f"00-{name}-{1:016x}-00")) for name in ids]
    again = [sampled(await gateway.ask(traceparent=f"00-{name}-{2:016x}-01")) for name in ids]

    assert first == again
    assert 15 < sum(first) < 45


async def test_a_proxy_without_spans_leaves_the_trace_to_others(gateway):
    await gateway.report("{tracing: [{disableSpanReporting: true}]}")
    given = f"00-{7:032x}-{1:016x}-01"
    answer = await gateway.ask("/x", traceparent=given)

    assert answer.echo["headers"]["traceparent"] == given
    assert "traceresponse" not in answer.headers
    assert (await gateway.reported("/x")).attributes["spans_kept"] == "none"


async def test_spans_have_the_tags_of_the_policy(gateway):
    await gateway.report(
        """{tracing: [{customTags: {
            stage: {literal: {value: trial}},
            user: {header: {name: x-user, defaultValue: nobody}},
            other: {header: {name: x-other, defaultValue: nothing}},
            home: {environment: {name: NO_SUCH_VARIABLE, defaultValue: homeless}},
            asked: {formatter: {value: 'by %REQ(x-user)%'}}}}]}"""
    )
    await gateway.ask(x_user="jason")
    await gateway.received.until(lambda seen: len(seen.spans) == 2)

    wanted = {"stage": "trial", "user": "jason", "other": "nothing", "home": "homeless", "asked": "by jason"}
    for span in gateway.received.spans:
        assert wanted.items() <= span.attributes.items()


async def test_only_requests_for_which_the_condition_holds_are_logged(gateway):
    await gateway.report("{accessLogging: [{filter: {expression: \"request.headers['x-user'] == 'jason'\"}}]}")
    for number in range(20):
        await gateway.ask(f"/{number}")
    await gateway.ask("/last", x_user="jason")
    await gateway.reported("/last")

    assert [log.attributes["path"] for log in gateway.received.logs] == ["/last"]


async def test_where_logging_is_disabled_nothing_is_logged_and_everything_traced(gateway):
    await gateway.report("{accessLogging: [{disabled: true}]}")
    await gateway.ask("/silent")
    await gateway.received.until(lambda seen: len(seen.spans) == 2)
    assert {span.attributes["logs_kept"] for span in gateway.received.spans} == {"none"}
    await gateway.push(Reports())
    await gateway.ask("/heard")
    await gateway.reported("/heard")

    assert [log.attributes["path"] for log in gateway.received.logs] == ["/heard"]


CONDITIONS = (
    "response.code >= 500",
    "has(response.code) && response.code == 200 || !(request.method in ['GET', \"HEAD\"])",
    "request.path.startsWith('/a') ? true : false",
    "size(request.path) > 10 && int('5') == 5 && duration('1s') < duration('2s')",
    "request.time.getFullYear() == 2026 && timestamp('2020-01-01T00:00:00Z') < request.time",
    "-1 < 1u && 1.5e3 > 2.0 && 0x4 == response.flags",
    "r'\\d' == 'x' && '\\u00e9\\n\\x41\\101' == \"\"",
    "(((((((((((1 == 1)))))))))))",
    "1+1+1+1+1+1+1+1+1+1+1 == 12",
    " && ".join(["true"] * 100),
    "size(size(size(size(size(size(size(size(size(size(1)))))))))) == 1",
    "request.path.matches('^/[a-z]+$') && matches(request.path, 'a')",
    "string(1) == '1'",
    "[1, 2].exists(x, x == 1)",
    "request.path.matches('^/a{1,90}$')",
    "request.path.matches('(((')",
    "1 +",
    "",
    "'\\777' == 'x'",
    "request.path == '\\q'",
    "99999999999999999999 == 1",
    "'x'.upperAscii() == 'X'",
    "request.path = '/'",
    "request.path === '/'",
    "request..path == 1",
)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_refused_exactly_when_envoy_refuses_it(condition, tmp_path):
    proxy = proxies.gateway()
    reports = Reports(sent=Reporting(log_condition=condition or " "))
    proxy = dataclasses.replace(proxy, identity=dataclasses.replace(proxy.identity, reports=reports))
    said = envoy.validated(envoy.static(compile.resources_from(proxy)), tmp_path)

    assert (cel_problem(condition or " ") == "") == (said == "")
