"""Alerts and changes as tables."""

from __future__ import annotations

from datetime import UTC

import pytest
import trace_answers as answers
from hypothesis import given
from hypothesis import strategies as st

from clover.cli import render_events, screen


def text(columns, rows):
    return "".join(f"{line.plain}\n" for line in screen.table(columns, rows))


def test_alerts_stand_in_a_table(golden):
    lost = {**answers.alert(), "severity": 3, "client": "", "traceId": "", "join": "none", "message": "no match"}

    rows = [render_events.alert(one, zone=UTC) for one in (answers.alert(), lost)]

    golden("cli/alerts.txt", text(render_events.ALERTS, rows))


def test_changes_stand_in_a_table(golden):
    golden(
        "cli/changes.txt",
        text(render_events.CHANGES, [render_events.change(one, zone=UTC) for one in answers.changes()]),
    )


def test_what_was_lost_stands_in_a_table_with_the_reason(golden):
    golden("cli/lost.txt", text(render_events.LOST, [render_events.lost(one, zone=UTC) for one in answers.lost()]))


@pytest.mark.parametrize(("previous", "generation", "shown"), [(3, 4, "3 > 4"), (3, 3, "3"), (0, 0, ""), (0, 1, "1")])
def test_a_generation_that_stayed_is_one_number(previous, generation, shown):
    change = {**answers.changes()[1], "previous": previous, "generation": generation}

    assert render_events.generations(change) == shown


def test_a_growing_table_never_narrows_a_column_and_has_one_header():
    table = screen.GrowingTable((screen.Column(title="A"), screen.Column(title="B", right=True)))

    lines = [line.plain for row in (["1", "2"], ["long", "22"], ["x", "3"]) for line in table.lines(row)]

    assert lines == ["A  B", "1  2", "long  22", "x      3"]


@given(st.text(), st.text())
def test_what_a_client_sent_never_reaches_the_terminal_raw(url, message):
    row = render_events.alert({**answers.alert(), "url": url, "message": message, "client": url}, zone=UTC)

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for cell in row for sign in str(cell))
