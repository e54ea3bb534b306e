"""Who is blocked, for how long, and who never is."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clover.control import block_policy
from clover.control.block_policy import Blocklist, Entry, Outcome, address_of
from clover.functions.alerts import Alert
from clover.functions.request_identity import SIDECAR
from clover.spec.configuration import BlockPolicy

CLIENT = "192.0.2.7"
POLICY = BlockPolicy(threshold=3, window=10.0, duration=60.0)


def alert(number: int, *, at: float, client: str = CLIENT) -> Alert:
    return Alert(
        id=f"a{number}", time=at, rule_id=9000001, message="evil", severity=1, client=client, trace_id=f"{number:032x}"
    )


def test_the_third_alert_within_the_window_blocks_its_client():
    blocks = Blocklist()
    assert not blocks.report([alert(1, at=100), alert(2, at=105)], POLICY, now=105).decisions

    (decision,) = blocks.report([alert(3, at=110)], POLICY, now=110).decisions

    assert decision.outcome is Outcome.BLOCKED
    assert decision.entry == Entry(
        address=CLIENT,
        reason='3 alerts within 10 s (rule 9000001 "evil")',
        since=110,
        until=170,
        alert_ids=("a1", "a2", "a3"),
        trace_id=f"{3:032x}",
    )


def test_alerts_further_apart_than_the_window_block_nobody():
    blocks = Blocklist()
    for number in range(20):
        at = 100 + number * 5.1
        assert not blocks.report([alert(number, at=at)], POLICY, now=at).decisions


def test_an_alert_that_is_reported_again_counts_once():
    blocks = Blocklist()
    for _ in range(5):
        verdict = blocks.report([alert(1, at=100), alert(2, at=100)], POLICY, now=100)
    assert verdict.duplicates == 2
    assert not blocks.entries


def test_a_client_that_goes_on_is_blocked_for_longer_and_one_stray_alert_changes_nothing():
    blocks = Blocklist()
    blocks.report([alert(number, at=100) for number in range(3)], POLICY, now=100)
    (decision,) = blocks.report([alert(7, at=105)], POLICY, now=105).decisions
    assert (decision.outcome, decision.entry.since, decision.entry.until) == (Outcome.EXTENDED, 100, 165)

    assert not blocks.report([alert(8, at=150)], POLICY, now=150).decisions
    assert blocks.entries[CLIENT].until == 165


def test_a_client_that_was_unblocked_begins_anew():
    blocks = Blocklist()
    blocks.report([alert(number, at=100) for number in range(3)], POLICY, now=100)
    assert blocks.unblock(CLIENT)
    assert not blocks.report([alert(8, at=101), alert(9, at=101)], POLICY, now=101).decisions
    assert blocks.report([alert(10, at=101)], POLICY, now=101).decisions


def test_a_dry_run_says_once_who_would_be_blocked_and_blocks_nobody():
    blocks, policy = Blocklist(), POLICY.model_copy(update={"dry_run": True})
    verdict = blocks.report([alert(number, at=100) for number in range(6)], policy, now=100)
    assert [decision.outcome for decision in verdict.decisions] == [Outcome.WOULD_BLOCK]
    assert not blocks.report([alert(7, at=101)], policy, now=101).decisions
    assert not blocks.entries


def test_without_a_policy_nobody_is_blocked():
    blocks = Blocklist()
    assert not blocks.report([alert(number, at=100) for number in range(100)], None, now=100).decisions


@pytest.mark.parametrize(
    "client", ["", "127.0.0.6", "::ffff:127.0.0.6", "10.1.2.3", "::ffff:10.1.2.3", "x", "10.0.0.0/8"]
)
def test_the_sidecar_the_allowed_and_the_nameless_are_never_blocked(client):
    blocks, policy = Blocklist(), BlockPolicy(threshold=1, allow=("10.0.0.0/8",))
    assert not blocks.report([alert(1, at=100, client=client)], policy, now=100).decisions
    assert not blocks.entries


def test_a_client_is_one_client_however_its_address_is_written():
    blocks = Blocklist()
    names = ["2001:DB8::7", "2001:db8:0:0:0:0:0:7", "2001:db8::0007"]
    verdict = blocks.report([alert(n, at=100, client=name) for n, name in enumerate(names)], POLICY, now=100)
    assert [decision.entry.address for decision in verdict.decisions] == ["2001:db8::7"]


def test_late_alerts_count_when_they_were_raised_and_old_ones_not_at_all():
    blocks = Blocklist()
    spread = [alert(number, at=100 + number * 9) for number in range(3)]
    assert not blocks.report(spread, POLICY, now=130).decisions
    old = [alert(10 + number, at=100) for number in range(3)]
    verdict = blocks.report(old, POLICY, now=161)
    assert (verdict.late, verdict.decisions) == (3, [])


def test_an_order_makes_a_block_longer_and_never_shorter():
    blocks = Blocklist()
    blocks.block(Entry(address=CLIENT, reason="a", since=100, until=200))
    assert blocks.block(Entry(address=CLIENT, reason="b", since=110, until=150)) == Entry(
        address=CLIENT, reason="b", since=100, until=200
    )


def test_no_more_than_the_most_are_blocked(monkeypatch):
    monkeypatch.setattr(block_policy, "MOST_BLOCKS", 5)
    blocks, policy = Blocklist(), BlockPolicy(threshold=1)
    alerts = [alert(number, at=100, client=f"192.0.2.{number}") for number in range(7)]
    outcomes = [decision.outcome for decision in blocks.report(alerts, policy, now=100).decisions]
    assert outcomes == [Outcome.BLOCKED] * 5 + [Outcome.FULL] * 2
    assert len(blocks.entries) == 5
    assert blocks.block(Entry(address="192.0.2.99", reason="", since=100, until=200)) is None


def test_what_is_remembered_has_an_end(monkeypatch):
    monkeypatch.setattr(block_policy, "MOST_CLIENTS", 10)
    monkeypatch.setattr(block_policy, "MOST_REMEMBERED", 15)
    monkeypatch.setattr(block_policy, "MOST_IDS", 20)
    blocks = Blocklist()
    for number in range(200):
        blocks.report([alert(number, at=100, client=f"192.0.2.{number // 2}")], POLICY, now=100)
        assert len(blocks._clients) <= 10
        assert blocks._remembered == sum(map(len, blocks._clients.values())) <= 15
        assert len(blocks._ids) <= 20


CLIENTS = st.sampled_from([CLIENT, "192.0.2.8", "10.0.0.1", "2001:db8::1", "127.0.0.6", "", "nonsense"])
STEPS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), CLIENTS), max_size=60)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=STEPS,
    threshold=st.integers(1, 5),
    window=st.integers(1, 20),
    duration=st.integers(1, 40),
    dry_run=st.booleans(),
)
def test_exactly_who_the_words_of_the_policy_say_is_blocked_exactly_as_long(
    steps, threshold, window, duration, dry_run
):
    """Against the policy in its simplest words, recounted from the beginning at every step."""
    policy = BlockPolicy(
        threshold=threshold,
        window=float(window),
        duration=float(duration),
        allow=("10.0.0.0/8",),
        dry_run=dry_run,
    )
    blocks, now, heard, until = Blocklist(), 1000.0, {}, {}
    for pause, number, client in steps:
        now += pause
        over = {entry.address for entry in blocks.expire(now=now)}
        assert over == {address for address, end in until.items() if end <= now}
        until = {address: end for address, end in until.items() if end > now}
        blocks.report([alert(number, at=now, client=client)], policy, now=now)
        if number not in heard:
            heard[number] = (now, client)
            close = [at for at, who in heard.values() if who == client and now - at <= window]
            may = client in (CLIENT, "192.0.2.8", "2001:db8::1") and not dry_run
            if may and len(close) >= threshold:
                until[client] = max(until.get(client, 0), now + duration)
        assert {address: entry.until for address, entry in blocks.entries.items()} == until


NETWORKS = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
    lambda pair: (
        str(ipaddress.ip_network((int(pair[0]), min(pair[1], pair[0].max_prefixlen)), strict=False))
        if pair[0].version == 6
        else str(ipaddress.ip_network(f"{pair[0]}/{min(pair[1], 32)}", strict=False))
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(address=st.ip_addresses(), networks=st.lists(NETWORKS, max_size=6))
def test_the_allow_list_means_what_its_networks_mean(address, networks):
    near = str(ipaddress.ip_network(f"{address}/{address.max_prefixlen - 3}", strict=False))
    for texts in (tuple(networks), (*networks, near)):
        inside = [text for text in texts if address in ipaddress.ip_network(text)]
        found = block_policy.exempting(address, BlockPolicy(allow=texts))
        assert found in inside if inside else found in ("", SIDECAR)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_whatever_is_taken_for_an_address_is_one_in_its_canonical_form(text):
    try:
        address = address_of(text)
    except ValueError:
        return
    assert address_of(str(address)) == address
    assert set(str(address)) <= set("0123456789abcdef.:")


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "192.0.2.7 ", "192.0.2.7\n", "1", "١٩٢.0.2.7", "192.0.2.07", "0x7f.1", "::ffff:1.2.3.4%a"]
)
def test_what_only_looks_like_an_address_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        address_of(text)
