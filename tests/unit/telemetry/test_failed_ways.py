"""A failure outside of the chain is told of the request that met it, and of no other."""

from __future__ import annotations

import pytest

from clover.telemetry.query import outcomes
from clover.telemetry.query.ways import Failure, joined, with_failures

SECOND = 1_000_000_000
WAY = "/run/clover/sdc/out/api.example.com_443"
TRIED = {"upstream_host": WAY, "flags": "UC", "duration_ms": "100", "method": "GET"}
UNKNOWN = "api.example.com:443: api.example.com cannot be looked up: Name or service not known"


def failure(after_s: float = 0.0, *, socket: str = WAY, words: str = UNKNOWN) -> Failure:
    return Failure(time_unix_nano=1000 * SECOND + round(after_s * SECOND), socket=socket, words=words)


def told(*failures: Failure, record=TRIED) -> str:
    (found,) = joined([(1000 * SECOND, record)], failures)
    return outcomes.why(found)


def test_a_request_that_the_way_out_could_not_carry_says_why():
    assert told(failure(0.05)) == UNKNOWN


def test_a_failure_may_be_recorded_a_little_later():
    assert told(failure(1.0)) == UNKNOWN


@pytest.mark.parametrize("other", [failure(-0.01), failure(1.2), failure(0.05, socket=f"{WAY}_loopback")])
def test_a_failure_before_after_or_of_another_way_explains_nothing(other):
    assert "cannot be reached from this machine" in told(other)


def test_of_several_attempts_the_last_is_told():
    assert told(failure(0.06, words="last"), failure(0.05, words="first")) == "last"


def test_a_connection_that_ended_without_a_word_is_explained_too():
    tcp = {"upstream_host": WAY, "flags": "-", "duration_ms": "3"}

    assert (told(record=tcp), told(failure(), record=tcp)) == ("", UNKNOWN)


TUNNEL = {
    "upstream_cluster": "outbound|443||*.example.com",
    "upstream_host": "-",
    "flags": "UF,URX",
    "upstream_failure": "tunnel_response:502",
    "duration_ms": "11",
}


def test_tls_to_a_name_that_is_asked_for_is_explained_by_what_was_said_of_names_like_it():
    wild = "/run/clover/sdc/out/*.example.com_443"
    other = "www.example.org:443: www.example.org cannot be looked up: Name or service not known"

    assert told(failure(socket=wild), record=TUNNEL) == UNKNOWN
    assert told(failure(socket=wild, words=other), record=TUNNEL) == (
        "no connection to *.example.com:443 (tunnel response:502)"
    )
    assert told(failure(), record={**TUNNEL, "upstream_failure": "delayed_connect_error:_111"}) != UNKNOWN


async def test_nothing_is_asked_when_nobody_left_the_chain():
    record = {"upstream_host": "10.244.0.3:9180", "flags": "UF"}

    assert await with_failures(None, [(1, record)]) == [record]
