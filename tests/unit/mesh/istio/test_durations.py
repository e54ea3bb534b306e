import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.mesh.istio.durations import parse_duration, render_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("1.5s", 1.5), ("100ms", 0.1), ("1h10m", 4200.0), (".5s", 0.5), ("1m0.25s", 60.25), ("0", 0.0)],
)
def test_durations_are_read_as_istio_writes_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "1 s", "1d", "1s2", "١s", "1e3s", "5S", "1s\n"])
def test_what_is_no_duration_is_said_with_an_example(text):
    with pytest.raises(ValueError, match="is not a duration such as '5s'"):
        parse_duration(text)


def test_a_negative_duration_is_called_negative():
    with pytest.raises(ValueError, match="'-1s' is negative"):
        parse_duration("-1s")


def test_a_duration_that_envoy_cannot_count_is_refused():
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration("9999999999999999999h")


@given(st.integers(0, 315_360_000_000))
def test_a_duration_survives_being_written_and_read(milliseconds):
    assert parse_duration(render_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.text())
def test_no_text_is_worse_than_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0
