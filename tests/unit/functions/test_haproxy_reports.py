"""What HAProxy's sockets answer, word for word, as values."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.functions.haproxy import reports
from clover.functions.haproxy.reports import Server, UnreadableError, Workers

PROC = """\
#<PID>          <type>          <reloads>       <uptime>        <version>      
31446           master          3 [failed: 1]   0d00h01m17s     2.6.12-1+deb12u4
# workers
1187            worker          1               0d00h00m02s     2.6.12-1+deb12u4
# old workers
571             worker          2               0d00h00m21s     2.6.12-1+deb12u4
572             worker          3               0d00h00m22s     2.6.12-1+deb12u4
# programs

"""  # noqa: W291
SERVERS = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change
3 next 1 a:7001 127.0.0.1 2 0 3 3 7
3 next 2 b:7002 127.0.0.1 2 0 0 0 7
3 next 3 c:7003 127.0.0.1 0 5 2 2 7
3 next 4 d:7004 - 0 32 2 2 7

"""
STAT = "# pxname,svname,scur,status,\nentry,FRONTEND,2,OPEN,\nnext,a:7001,1,no check,\nnext,BACKEND,1,UP,\n\n"
INFO = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 571\nStopping: 1\n\n"


def test_workers_are_those_that_accept_and_those_that_leave():
    assert reports.workers_from(PROC) == Workers(master=31446, reloads=3, failed=1, current=(1187,), leaving=(571, 572))


def test_without_old_workers_nobody_leaves():
    text = PROC[: PROC.index("# old workers")] + "# programs\n\n"

    assert reports.workers_from(text).leaving == ()


def test_a_server_has_a_weight_and_perhaps_is_in_maintenance():
    assert reports.servers_from(SERVERS) == {
        "a:7001": Server(weight=3, maintenance=False, running=True),
        "b:7002": Server(weight=0, maintenance=False, running=True),
        "c:7003": Server(weight=2, maintenance=True, running=False),
        "d:7004": Server(weight=2, maintenance=True, running=False),
    }


def test_a_server_that_only_began_in_maintenance_is_in_none():
    (server,) = reports.servers_from(SERVERS.partition("3 next 2")[0].replace("2 0 3 3", "2 4 3 3")).values()

    assert not server.maintenance


def test_the_generation_is_a_variable_of_the_process():
    assert reports.generation_from("proc.generation: type=sint value=<12>\n\n") == 12


def test_counters_are_fields_by_proxy_and_server():
    assert reports.statistics_from(STAT)["next", "a:7001"]["status"] == "no check"
    assert reports.statistics_from(STAT)["entry", "FRONTEND"]["scur"] == "2"


def test_information_is_by_name():
    assert reports.information_from(INFO)["Stopping"] == "1"


READERS = [
    (reports.workers_from, PROC),
    (reports.servers_from, SERVERS),
    (reports.generation_from, "proc.generation: type=sint value=<12>\n"),
    (reports.statistics_from, STAT),
    (reports.information_from, INFO),
]


@pytest.mark.parametrize(("read", "text"), READERS)
@pytest.mark.parametrize(
    "answer", ["", "\n", "Can't find the target PID matching the prefix '@!7'.\n", "Unknown command"]
)
def test_another_answer_is_told_word_for_word(read, text, answer):
    with pytest.raises(UnreadableError) as caught:
        read(answer)

    assert str(caught.value) == answer


@pytest.mark.parametrize(("read", "text"), READERS)
@given(data=st.data())
def test_an_answer_with_any_piece_replaced_is_read_or_told(read, text, data):
    start = data.draw(st.integers(0, len(text)))
    changed = text[:start] + data.draw(st.text(max_size=6)) + text[start + data.draw(st.integers(0, 40)) :]
    with contextlib.suppress(UnreadableError):
        read(changed)
