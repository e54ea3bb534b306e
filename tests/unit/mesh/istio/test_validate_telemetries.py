"""What is said about Telemetries before a proxy hears of them, and what proxies then report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh.istio.cel import cel_problem
from clover.mesh.reporting import EVERYTHING, Reporting, Reports, Tag, TagKind
from harness import policies


def telemetry(spec, *, name="here", namespace="default"):
    return f"""
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def about(text):
    found = policies.problems(text)
    return [(one.code, one.severity, one.what.partition("field ")[2]) for one in found]


def reports(text, node="server"):
    return policies.proxies(text)[node].identity.reports


def both(**more):
    return Reports(sent=Reporting(**more), taken=Reporting(**more))


def test_without_a_policy_everything_is_reported():
    assert reports("") == EVERYTHING


def test_a_sound_policy_is_not_spoken_of():
    assert about(telemetry("{tracing: [{randomSamplingPercentage: 10}], accessLogging: [{disabled: true}]}")) == []


def test_a_policy_of_the_namespace_is_for_all_of_its_proxies():
    text = telemetry("{tracing: [{randomSamplingPercentage: 12.5}], accessLogging: [{disabled: true}]}")

    for node in ("gateway", "waf", "server"):
        assert reports(text, node) == both(sampled_percent=12.5, logs=False)


def test_the_narrower_policy_decides_field_by_field():
    text = "\n---\n".join(
        (
            telemetry(
                "{tracing: [{randomSamplingPercentage: 1, disableSpanReporting: true}]}", namespace="istio-system"
            ),
            telemetry("{tracing: [{randomSamplingPercentage: 2}]}"),
            telemetry(
                "{selector: {matchLabels: {app: server}}, tracing: [{disableSpanReporting: false}]}", name="a-workload"
            ),
        )
    )

    assert reports(text, "waf") == both(sampled_percent=2.0, spans=False)
    assert reports(text, "server") == both(sampled_percent=2.0, spans=True)


def test_tags_are_replaced_as_a_whole():
    text = "\n---\n".join(
        (
            telemetry("{tracing: [{customTags: {a: {literal: {value: x}}, b: {literal: {value: y}}}}]}"),
            telemetry(
                "{selector: {matchLabels: {app: server}}, "
                "tracing: [{customTags: {c: {header: {name: h, defaultValue: d}}}}]}",
                name="other",
            ),
        )
    )

    assert reports(text, "server") == both(tags=(Tag(name="c", kind=TagKind.HEADER, value="h", default="d"),))


def test_what_is_sent_and_what_is_taken_can_differ():
    text = telemetry(
        "{accessLogging: [{match: {mode: CLIENT}, disabled: true},"
        " {match: {mode: SERVER}, filter: {expression: 'response.code >= 500'}}],"
        " tracing: [{match: {mode: SERVER}, randomSamplingPercentage: 5}]}"
    )

    assert reports(text) == Reports(
        sent=Reporting(logs=False), taken=Reporting(sampled_percent=5.0, log_condition="response.code >= 500")
    )


def test_the_last_entry_about_logs_decides():
    text = telemetry("{accessLogging: [{filter: {expression: 'true'}}, {disabled: true}, {}]}")

    assert reports(text) == EVERYTHING


def test_a_policy_that_chooses_workloads_is_for_its_own_namespace():
    text = telemetry(
        "{selector: {matchLabels: {app: server}}, accessLogging: [{disabled: true}]}", namespace="istio-system"
    )

    assert reports(text) == EVERYTHING
    ((code, severity, _),) = about(text)
    assert (code, severity) == ("CLV4273", "warning")


def test_a_namespace_has_one_policy():
    text = f"{telemetry('{}')}\n---\n{telemetry('{}', name='second')}"
    ((code, severity, what),) = about(text)

    assert (code, severity) == ("CLV4277", "error")
    assert what == "'metadata.name': the whole namespace 'default' already has 'Telemetry/default/here'"


def test_metrics_are_refused_with_a_reason():
    ((code, severity, what),) = about(telemetry("{metrics: [{providers: [{name: prometheus}]}]}"))

    assert (code, severity) == ("CLV4103", "error")
    assert what.startswith("'spec.metrics': the proxies have Envoy's own metrics")


def test_one_provider_is_as_good_as_another_and_several_are_too_many():
    ((code, severity, _),) = about(telemetry("{tracing: [{providers: [{name: otel}]}]}"))
    assert (code, severity) == ("CLV4279", "warning")

    several = "{accessLogging: [{providers: [{name: otel}]}, {providers: [{name: stdout}], disabled: true}]}"
    ((code, severity, what),) = about(telemetry(several))
    assert (code, severity) == ("CLV4279", "error")
    assert "'otel', 'stdout'" in what


def test_that_request_ids_decide_nothing_is_told():
    ((code, severity, _),) = about(telemetry("{tracing: [{useRequestIdForTraceSampling: true}]}"))

    assert (code, severity) == ("CLV4220", "warning")


@pytest.mark.parametrize(
    ("tag", "field"),
    [("{header: {name: 'a b'}}", "header.name"), ("{formatter: {value: '%NO_SUCH%'}}", "formatter.value")],
)
def test_tags_ask_for_what_there_is(tag, field):
    ((code, severity, what),) = about(telemetry(f"{{tracing: [{{customTags: {{x: {tag}}}}}]}}"))

    assert (code, severity) == ("CLV4212", "error")
    assert what.startswith(f"'spec.tracing[0].customTags.x.{field}'")


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("respons.code == 1", "nothing is called 'respons'; did you mean 'response'?"),
        ("response.code === 1", "'= 1' at character 17 cannot be read"),
        ("response.code = 1", "'= 1' at character 15 cannot be read"),
        ("size()", "'size' takes 1 arguments, 0 are given"),
        ("has(true)", "'has' asks for a field: has(request.headers)"),
        ("request.in", "'in' at character 9 is a word of the language"),
        ("request.path.matches(request.host)", "the expression in 'matches' must be written out"),
        ("string(1) == '1'", "proxies have no function 'string'"),
        ("(" * 20 + "true" + ")" * 20, "at character 13 the condition is nested more than 12 times"),
        ("true " * 500, "the condition is longer than 2000 characters"),
        ("[1,]", "there is a ',' before ']'"),
        ("true true", "there is 'true' at character 6, expected 'end'"),
        ("", "there is the end at character 1, expected 'name'"),
    ],
)
def test_a_condition_that_proxies_cannot_read_is_refused_with_its_place(condition, problem):
    assert problem in cel_problem(condition)
    ((code, severity, what),) = about(telemetry(f"{{accessLogging: [{{filter: {{expression: {condition!r}}}}}]}}"))
    assert (code, severity) == ("CLV4278", "error")
    assert what.startswith("'spec.accessLogging[0].filter.expression'")


@given(st.text(alphabet="request.code()[]'\"\\ &|!<>=+-*/%?:,0x1u\n\t"))
def test_whatever_is_written_as_a_condition_is_judged(text):
    cel_problem(text)
