import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from clover.cli import screen
from clover.cli.screen import Column


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0, "0.00 ms"),
        (0.412, "0.41 ms"),
        (9.996, "10.0 ms"),
        (99.96, "100 ms"),
        (999.6, "1.00 s"),
        (12_340, "12.34 s"),
        (200_000, "3 m 20 s"),
        (7_260_000, "2 h 1 m"),
    ],
)
def test_a_duration_has_three_digits_that_mean_something(milliseconds, text):
    assert screen.duration(milliseconds) == text


@pytest.mark.parametrize(("octets", "text"), [(0, "0 B"), (999, "999 B"), (4_100_000, "4.1 MB"), (None, "-")])
def test_a_size_has_the_unit_that_keeps_it_short(octets, text):
    assert screen.size(octets) == text


def test_columns_line_up_whatever_their_characters_and_no_line_ends_in_blanks():
    columns = (Column(title="NAME"), Column(title="MS", right=True), Column(title="NOTE"))
    rows = [["防火墙", "1.5", ""], ["lb", "12.0", "ok"]]

    assert [line.plain for line in screen.table(columns, rows)] == [
        "NAME      MS  NOTE",
        "防火墙   1.5",
        "lb      12.0  ok",
    ]


@given(st.text())
def test_no_text_from_a_request_can_move_the_terminals_cursor(text):
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in screen.printable(text))


@given(st.text(), st.integers(min_value=1, max_value=30))
def test_a_cut_text_fits(text, cells):
    assert cell_len(screen.cut(text, cells)) <= cells


def test_a_pipe_gets_long_lines_whole_and_without_colour():
    pipe = io.StringIO()
    line = next(screen.table((Column(title="x" * 300),), []))

    screen.show([line], target=Console(file=pipe, soft_wrap=True, highlight=False))

    assert pipe.getvalue() == "x" * 300 + "\n"


def test_an_output_that_is_not_unicode_gets_plain_signs():
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")

    assert screen.marks(Console(file=latin)) is screen.ASCII
    assert screen.marks(Console(file=io.TextIOWrapper(io.BytesIO(), encoding="UTF-8"))) is screen.UNICODE


def test_a_problem_from_the_node_reads_as_every_problem_does():
    (first, hint) = screen.problems(
        [{"code": "CLV5101", "where": "waf", "what": "it died", "hint": "clover logs waf", "severity": "warning"}]
    )

    assert (first.plain, hint.plain) == ("waf: warning: it died [CLV5101]", "    hint: clover logs waf")
