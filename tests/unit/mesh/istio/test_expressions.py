import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh.istio.expressions import regex_problem, substitution_problem


@pytest.mark.parametrize("pattern", [".*", "/api/v[0-9]+", "(?i)x", "(?P<n>a)", "\\pL", "é", "(a{1,100}){1,9}"])
def test_what_re2_takes_is_no_problem(pattern):
    assert regex_problem(pattern) == ""


@pytest.mark.parametrize("pattern", ["(?=a)", "(?!a)", "(", "*", "a{1001}", "\\1", "((a{1,100}){1,10}){1,10}", "a\\"])
def test_what_only_other_dialects_take_is_a_problem(pattern):
    assert regex_problem(pattern).startswith("the regex is not RE2: ")


def test_a_program_that_is_too_large_for_a_proxy_is_a_problem():
    assert "instructions, proxies take at most 32768" in regex_problem("(a{1,999}b{1,999}){1}" * 18)


def test_an_expression_that_nobody_wrote_is_a_problem():
    assert regex_problem("a" * 20_000) == "the regex is longer than 16384 bytes"


@pytest.mark.parametrize(
    ("substitution", "problem"),
    [
        ("/\\1", ""),
        ("/\\0\\\\", ""),
        ("/\\2", "'\\2' refers to a group, and the pattern has 1"),
        ("a\\", "a backslash stands before something that is neither a digit nor a backslash"),
        ("\\x", "a backslash stands before something that is neither a digit nor a backslash"),
    ],
)
def test_a_substitution_refers_to_groups_that_there_are(substitution, problem):
    assert substitution_problem("/(a)", substitution) == problem


@given(st.text(), st.text())
def test_no_text_breaks_the_check(pattern, substitution):
    assert isinstance(regex_problem(pattern) + substitution_problem(pattern, substitution), str)
