from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import DocumentError
from clover.telemetry.query.search import Filter, filter_from, search_query

HOSTILE = ["'; DROP TABLE otel_traces; --", "{service:String}", "\\", "%s", "`x`", "a\x00b", "𝔘"]


def test_query_parameters_become_a_filter():
    wanted = filter_from(
        {"service": "http-lb", "status": "5xx", "minDurationMs": "1.5", "sinceS": "60", "limit": "7", "attribute": "x"},
        ["http.url=http://x/?a=b", "empty="],
    )

    assert wanted == Filter(
        service="http-lb",
        status="5xx",
        min_duration_ms=1.5,
        since_s=60,
        attributes=(("http.url", "http://x/?a=b"), ("empty", "")),
        limit=7,
    )


def test_a_version_of_a_function_is_named_as_everywhere():
    wanted = filter_from({"service": "http-lb@v2"})

    assert (wanted.service, wanted.version) == ("http-lb", "v2")
    assert "ServiceVersion = {version:String}" in search_query(wanted)[0]


def test_everything_wrong_with_a_filter_is_reported_at_once():
    query = {"status": "9", "limit": "0", "sinceS": "soon", "minDurationMs": "-1", "colour": "red"}

    with pytest.raises(DocumentError) as caught:
        filter_from(query, ["novalue"])

    assert {problem.code for problem in caught.value.problems} == {"CLV6010"}
    assert {problem.where for problem in caught.value.problems} == {*query, "attribute"}


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "0x10", "1.5"])
def test_a_limit_that_is_no_whole_number_is_refused(number):
    with pytest.raises(DocumentError):
        filter_from({"limit": number})


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_a_duration_that_is_no_duration_is_refused(number):
    with pytest.raises(DocumentError):
        filter_from({"minDurationMs": number, "sinceS": number})


@given(st.text(), st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=3))
def test_no_text_of_a_user_gets_into_the_statement(service, attributes):
    plain = search_query(Filter(service="s" if service else "", attributes=tuple(("k", "v") for _ in attributes)))[0]
    asked = Filter(service=service, attributes=tuple((f"!{key}", value) for key, value in attributes))

    assert search_query(asked)[0] == plain


@pytest.mark.parametrize("text", HOSTILE)
def test_every_value_is_bound_by_a_name_that_the_statement_has(text):
    sql, parameters = search_query(
        Filter(service=text, status="404", min_duration_ms=3, since_s=9, attributes=((text, text), ("http.url", text)))
    )

    assert text not in sql or text == "{service:String}"
    assert set(re.findall(r"{(\w+):\w+}", sql)) == set(parameters) - {"key1"}
