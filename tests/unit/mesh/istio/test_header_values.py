import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh.istio.headers import is_header_name, value_problem


@pytest.mark.parametrize(
    "value", ["", "x", "100%%", "%REQ(x-a)%", "%REQ(x-a?:path):10%", "%TRACE_ID%", "a %PROTOCOL% b", "%%%PROTOCOL%%%"]
)
def test_text_and_commands_that_envoy_knows_are_values(value):
    assert value_problem(value) == ""


@pytest.mark.parametrize("value", ["100%", "%", "%%%", "a%b", "%REQ(x%", "%req(x)%"])
def test_a_lone_percent_sign_is_reported_with_how_to_write_it(value):
    assert value_problem(value).endswith("has a '%' that begins no command; write '%%' for a percent sign")


@pytest.mark.parametrize("value", ["%FOO%", "%REQ%", "%REQ()%", "%PROTOCOL(x)%", "%REQ(a b)%"])
def test_a_command_that_envoy_would_refuse_is_reported(value):
    assert value_problem(value).endswith("is not a command that Clover's proxies know")


def test_a_value_has_at_most_16384_bytes():
    assert value_problem("é" * 8192) == ""
    assert value_problem("é" * 8193) == "it is longer than 16384 bytes"


@pytest.mark.parametrize("name", ["", "a b", "x:y", "é", "a\n", "a" * 257])
def test_what_http_does_not_allow_is_no_header_name(name):
    assert not is_header_name(name)


@given(st.text())
def test_no_text_breaks_the_checks(text):
    assert isinstance(value_problem(text), str)
    assert isinstance(is_header_name(text), bool)
