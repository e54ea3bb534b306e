"""What a failed call tells: the ambassador's own words, or which part of the way there is missing."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control.client import CallFailedError, failure_from
from clover.control.handlers import CallError, Code, Violation
from clover.control.server import status_from
from clover.errors import Problem


def failed(code: str, details: str, trailing: bytes | None = None) -> CallFailedError:
    metadata = Metadata() if trailing is None else Metadata(("grpc-status-details-bin", trailing))
    error = AioRpcError(grpc.StatusCode[code], Metadata(), metadata, details=details)
    return failure_from(error, address="http-lb-v2:50054", method="Get", timeout_s=3)


def told(error: CallError) -> CallFailedError:
    """What a caller hears of what an ambassador raised."""
    status = status_from(error)
    return failed(error.code.name, status.message, status.SerializeToString())


@pytest.mark.parametrize(
    ("code", "details", "problem", "what"),
    [
        (
            "UNAVAILABLE",
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "CLV3332",
            "the mesh led to 'http-lb-v2', but no ambassador answers there: ",
        ),
        (
            "UNAVAILABLE",
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote"
            " connection failure",
            "CLV3334",
            "the call of 'http-lb-v2' was broken off: whether it was done is not known",
        ),
        ("UNAVAILABLE", "no healthy upstream", "CLV3333", "the mesh knows no instance behind 'http-lb-v2:50054'"),
        ("UNAVAILABLE", "fault filter abort", "CLV3333", "a route rule of the mesh breaks off calls to 'http-lb-v2'"),
        ("UNAVAILABLE", "errors resolving x: [address lookup failed for x]", "CLV3333", "the mesh has no name"),
        ("UNAVAILABLE", "failed to connect to all addresses", "CLV3332", "nobody answers at 'http-lb-v2:50054'"),
        ("UNIMPLEMENTED", "", "CLV3333", "the mesh has no route for calls to 'http-lb-v2:50054'"),
        (
            "INTERNAL",
            "Stream removed (RST_STREAM error code: 2)",
            "CLV3334",
            "the ambassador behind 'http-lb-v2:50054' went away while it answered",
        ),
        (
            "UNAVAILABLE",
            "Socket closed",
            "CLV3334",
            "the ambassador behind 'http-lb-v2:50054' went away while it answered",
        ),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "CLV3334", "no answer within 3 s"),
        (
            "DEADLINE_EXCEEDED",
            "upstream request timeout",
            "CLV3334",
            "a timeout of the mesh's route rules ended the call",
        ),
        (
            "DEADLINE_EXCEEDED",
            "downstream duration timeout",
            "CLV3334",
            "a timeout of the mesh's route rules ended the call",
        ),
    ],
)
def test_the_part_of_the_way_that_is_missing_is_named(code, details, problem, what):
    failure = failed(code, details)
    assert (failure.problems[0].code, failure.exit_code) == (problem, 5)
    assert failure.problems[0].what.startswith(what)
    assert (failure.answer.code, failure.answer.message) == (code, details)


@pytest.mark.parametrize(
    ("code", "details", "what", "kind"),
    [
        (
            "PERMISSION_DENIED",
            "RBAC: access denied",
            "an AuthorizationPolicy of 'http-lb-v2' denies the call: RBAC: access denied",
            "authorizationpolicy",
        ),
        (
            "UNAUTHENTICATED",
            "Jwt is missing",
            "a RequestAuthentication of 'http-lb-v2' denies the call: Jwt is missing",
            "requestauthentication",
        ),
    ],
)
def test_a_policy_that_denies_a_call_is_told_with_the_trace_that_names_it(code, details, what, kind):
    error = AioRpcError(grpc.StatusCode[code], Metadata(), Metadata(), details=details)
    failure = failure_from(error, address="http-lb-v2:50054", method="Get", timeout_s=3, trace_id="0af7")

    (problem,) = failure.problems
    assert (problem.code, problem.where, problem.what) == ("CLV4265", "Get at http-lb-v2:50054", what)
    assert problem.hint == f"clover trace 0af7 says which; clover get {kind} lists them"
    assert failure.exit_code == 5


def test_an_ambassador_that_says_no_more_than_a_status_is_quoted():
    failure = failed("INTERNAL", "oh dear")
    assert (failure.problems[0].code, failure.exit_code) == ("CLV3330", 4)
    assert failure.problems[0].what == "the call ended with INTERNAL: oh dear"


def test_each_field_that_an_ambassador_refuses_is_a_problem():
    problems = (Problem(code="CLV3302", where="lb", what="two things are wrong"),)
    violations = (Violation(field="backends[0].host", what="bad host"), Violation(field="algorithm", what="bad one"))
    failure = told(CallError(code=Code.INVALID_ARGUMENT, problems=problems, violations=violations))
    assert failure.problems == (
        Problem(code="CLV3302", where="backends[0].host", what="bad host"),
        Problem(code="CLV3302", where="algorithm", what="bad one"),
    )


def test_what_is_in_the_way_is_told_with_its_hint_and_not_twice():
    problem = Problem(code="CLV3305", where="lb", what="generation 5 is in force", hint="look again")
    failure = told(
        CallError(code=Code.FAILED_PRECONDITION, problems=(problem,), preconditions={"GENERATION": problem.what})
    )
    assert failure.problems == (problem,)
    assert failure.exit_code == 4


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    code=st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]),
    details=st.text(max_size=50),
    trailing=st.none() | st.binary(max_size=100),
)
def test_whatever_comes_back_is_a_problem_in_words(code, details, trailing):
    failure = failed(code.name, details, trailing)
    assert failure.problems
    assert all(problem.what and problem.code.startswith("CLV") for problem in failure.problems)
