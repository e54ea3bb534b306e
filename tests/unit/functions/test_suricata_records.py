import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.functions.alerts import Join
from clover.functions.suricata import eve

PROXY = "10.244.0.2"
"""Makes the copies, and appends its address."""
SPAN = "b7ad6b7169203331"
AT = "2026-11-23T05:38:46.044731+0000"


def trace(number):
    return f"{number:032x}"


def request(
    number,
    *,
    flow=1,
    transaction=None,
    forwarded_for="203.0.113.9, 198.51.100.7",
    host="shop.example-shadow:8080",
    headers=None,
    **http,
):
    """A record of a request as Suricata 7.0 writes it; its trace id is its number."""
    if headers is None:
        headers = [("Host", host), ("traceparent", f"00-{trace(number)}-{SPAN}-01")]
        headers += [("X-Forwarded-For", f"{forwarded_for},{PROXY}")] if forwarded_for else []
    record = {
        "timestamp": AT,
        "flow_id": flow,
        "event_type": "http",
        "tx_id": number if transaction is None else transaction,
        "http": {
            "hostname": "shop.example-shadow",
            "http_port": 8080,
            "url": "/a?b=c",
            "http_method": "GET",
            "request_headers": [{"name": name, "value": value} for name, value in headers],
            **http,
        },
    }
    return line(record)


OWN = {
    "hostname": "shop.example-shadow",
    "http_port": 8080,
    "url": "/a?b=c",
    "xff": f"203.0.113.9, 198.51.100.7,{PROXY}",
    "http_method": "GET",
}


def alert(transaction=1, *, flow=1, rule=7, http=None, **more):
    record = {
        "timestamp": AT,
        "flow_id": flow,
        "event_type": "alert",
        "src_port": 47945,
        "tx_id": transaction,
        "alert": {"gid": 1, "signature_id": rule, "rev": 0, "signature": "found", "severity": 2, "xff": PROXY},
        "http": OWN if http is None else http,
        **more,
    }
    return line({name: value for name, value in record.items() if value is not None})


def line(record):
    return json.dumps(record, separators=(",", ":")).encode()


def read(*lines, now=0.0):
    reader = eve.Reader()
    return [found for one in lines for found in reader.read(one, now=now)]


@pytest.mark.parametrize("order", [(alert(1), request(1)), (request(1), alert(1))])
def test_an_alert_is_joined_to_the_request_of_its_flow_and_transaction_whichever_comes_first(order):
    (found,) = read(request(2), *order, request(3))

    assert (found.trace_id, found.span_id, found.join) == (trace(1), SPAN, Join.FLOW_TRANSACTION)
    assert (found.rule_id, found.message, found.severity) == (7, "found", 2)
    assert (found.method, found.host, found.url) == ("GET", "shop.example:8080", "/a?b=c")
    assert found.client == "198.51.100.7"
    assert found.time == 1795412326.044731


def test_several_alerts_about_one_request_are_all_joined():
    found = read(alert(1, rule=1), alert(1, rule=2), request(1), alert(1, rule=3))

    assert [(one.rule_id, one.trace_id) for one in found] == [(1, trace(1)), (2, trace(1)), (3, trace(1))]
    assert len({one.id for one in found}) == 3


def test_the_same_transaction_of_another_flow_is_another_request():
    assert read(alert(1, flow=1), request(1, flow=2)) == []


def test_an_alert_whose_request_never_comes_is_told_after_two_seconds_with_what_it_knows_itself():
    reader = eve.Reader()
    assert list(reader.read(alert(1), now=100.0)) == []
    assert list(reader.overdue(now=101.9)) == []

    (found,) = reader.overdue(now=102.0)
    assert (found.join, found.trace_id, found.client) == (Join.NONE, "", "198.51.100.7")
    assert list(reader.overdue(now=110.0)) == []
    assert list(reader.read(request(1), now=110.0)) == []


def test_the_same_record_gives_the_same_id_and_another_one_another():
    first, again, other = (read(one, request(1))[0].id for one in (alert(1), alert(1), alert(1, rule=8)))

    assert first == again != other


def test_what_the_engine_only_believes_is_joined_less_surely():
    (found,) = read(alert(1, tx_guessed=True), request(1))

    assert (found.join, found.trace_id) == (Join.ADDRESS_TIME, trace(1))


def test_an_alert_without_a_transaction_is_about_the_only_request_of_its_flow():
    reader = eve.Reader()
    list(reader.read(request(1), now=0.0))
    assert list(reader.read(alert(None, http={}), now=1.0)) == []

    (found,) = reader.overdue(now=3.0)
    assert (found.join, found.trace_id, found.client) == (Join.ADDRESS_TIME, trace(1), "198.51.100.7")


def test_among_several_requests_only_what_they_have_in_common_is_taken():
    def told(*requests):
        reader = eve.Reader()
        for one in (*requests, alert(None, http={})):
            list(reader.read(one, now=0.0))
        (found,) = reader.overdue(now=2.0)
        return found.join, found.trace_id, found.client

    assert told(request(1), request(2)) == (Join.NONE, "", "198.51.100.7")
    assert told(request(1), request(2, forwarded_for="192.0.2.1")) == (Join.NONE, "", "")
    assert told() == (Join.NONE, "", "")


def test_a_captured_trace_context_needs_no_request():
    captured = {"flowvars": [{"other": "x"}, {"traceparent": f"00-{trace(5)}-{SPAN}-01"}]}
    (found,) = read(alert(1, metadata=captured))

    assert (found.join, found.trace_id, found.client) == (Join.TRACE_ID, trace(5), "198.51.100.7")


def test_an_alert_of_http_2_has_its_headers_with_it():
    headers = [("traceparent", f"00-{trace(5)}-{SPAN}-01"), ("x-forwarded-for", "192.0.2.1,127.0.0.6")]  # no copy
    http = {"request_headers": [{"name": name, "value": value} for name, value in headers]}
    (found,) = read(alert(1, http=http))

    assert (found.join, found.trace_id, found.client) == (Join.TRACE_ID, trace(5), "192.0.2.1")


def test_sidecars_are_not_clients_and_what_a_client_writes_itself_is_not_believed():
    def client(forwarded_for):
        (found,) = read(alert(1, http={}), request(1, forwarded_for=forwarded_for))
        return found.client

    assert client("203.0.113.9, 198.51.100.7, 127.0.0.6, 127.0.0.6") == "198.51.100.7"
    assert client("203.0.113.9, nonsense, 127.0.0.6") == ""
    assert client("") == ""


def test_what_suricata_cuts_off_a_header_does_not_let_a_client_name_another():
    """A dumped header ends after 2047 bytes; what is left ends with an address of the client's choice."""
    written = f"{'192.0.2.66, ' * 300}198.51.100.7,{PROXY}"
    headers = [("Host", "shop.example-shadow"), ("X-Forwarded-For", written[:2047])]

    (found,) = read(alert(1, http={}), request(1, headers=headers, xff=written))
    (of_a_record_without_it,) = read(alert(1, http={}), request(1, headers=headers))

    assert found.client == "198.51.100.7"
    assert of_a_record_without_it.client == ""


@pytest.mark.parametrize(
    ("name", "written", "host"),
    [
        ("a.example-shadow", "a.example-shadow:", "a.example:"),
        ("a.example-shadow", "a.example-shadow:b", "a.example:b"),
        ("[::1]-shadow", "[::1]-shadow:80", "[::1]:80"),
        ("[::1]-shadow", "[::1]-shadow", "[::1]"),
        ("a-shadow-shadow", "a-shadow-shadow:80", "a-shadow:80"),
        ("a" * 3000 + "-shadow", "a" * 2047, "a" * 300),
    ],
)
def test_no_host_hides_that_a_request_is_a_copy(name, written, host):
    headers = [("Host", written), ("X-Forwarded-For", f"203.0.113.9, 198.51.100.7,{PROXY}")]
    (found,) = read(alert(1, http={}), request(1, headers=headers, hostname=name))

    assert (found.client, found.host) == ("198.51.100.7", host)


def test_an_alert_that_comes_before_the_host_names_none():
    (found,) = read(alert(1, http={"http_port": 0}), request(1))

    assert found.host == "shop.example:8080"


def test_a_long_host_does_not_hide_that_a_request_is_a_copy():
    (found,) = read(alert(1, http={}), request(1, host="a" * 5000 + "-shadow:8080"))

    assert found.client == "198.51.100.7"
    assert found.host == "a" * 300


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "00-0-0-01")],
        [("traceparent", f"00-{trace(1)}-{SPAN}-01"), ("Traceparent", f"00-{trace(2)}-{SPAN}-01")],
    ],
)
def test_a_request_without_one_valid_traceparent_belongs_to_no_trace(headers):
    (found,) = read(alert(1), request(1, headers=headers))

    assert (found.join, found.trace_id) == (Join.NONE, "")


def test_what_waits_and_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(eve, "MOST_WAITING", 10)
    monkeypatch.setattr(eve, "MOST_REQUESTS", 10)

    early = read(*(alert(number) for number in range(25)))
    assert len(early) == 15
    assert len(read(*(request(number) for number in range(25)), *(alert(number) for number in range(25)))) == 10 + 5


def test_a_clock_that_goes_back_neither_holds_back_alerts_nor_keeps_requests_for_ever():
    reader = eve.Reader()
    list(reader.read(alert(1), now=1000.0))
    list(reader.read(request(2), now=1000.0))

    assert len(list(reader.overdue(now=10.0))) == 1
    list(reader.read(alert(2), now=10.0))
    assert [found.join for found in reader.overdue(now=13.0)] == [Join.NONE]


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
HTTP = st.fixed_dictionaries({}, optional={name: SCRAPS for name in (
    "hostname", "http_port", "url", "http_method", "xff", "request_headers")})  # fmt: skip
RECORDS = st.fixed_dictionaries(
    {"event_type": st.sampled_from(("alert", "http"))},
    optional={
        "timestamp": SCRAPS | st.just(AT),
        "flow_id": SCRAPS | st.integers(1, 2),
        "tx_id": SCRAPS | st.integers(1, 2),
        "tx_guessed": SCRAPS,
        "metadata": SCRAPS | st.builds(lambda value: {"flowvars": value}, SCRAPS),
        "alert": SCRAPS | st.builds(lambda value: {"signature_id": 1, "signature": value, "severity": value}, SCRAPS),
        "http": SCRAPS | HTTP,
    },
)  # fmt: skip


@given(st.lists(RECORDS.map(line) | st.binary(max_size=80) | st.just(alert(1)) | st.just(request(1)), max_size=12))
def test_no_record_is_too_strange(lines):
    reader = eve.Reader()
    found = [one for number, text in enumerate(lines) for one in reader.read(text, now=float(number))]
    found += reader.overdue(now=1e9)

    for one in found:
        for text in (one.id, one.message, one.client, one.trace_id, one.method, one.host, one.url):
            text.encode()
        assert bool(one.trace_id) == (one.join is not Join.NONE)
    assert list(reader.overdue(now=2e9)) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"event_type":"alert"}',
        b'["event_type":"alert"]',
        b'"event_type":"alert"' + b"[" * 100_000,
        b'{"event_type":"http","flow_id":' + b"9" * 5000 + b"}",
        b'{"event_type":"alert","alert":{"signature_id":1},"x":"' + b"a" * eve.MOST_RECORD_BYTES + b'"}',
    ],
)
def test_nonsense_gives_no_alert(text):
    assert read(text) == []


def test_a_thousand_alerts_a_second_are_no_burden():
    lines = [one for number in range(5000) for one in (alert(number), request(number))]
    reader = eve.Reader()
    began = time.process_time()
    found = [one for number, text in enumerate(lines) for one in reader.read(text, now=number / 10_000)]
    took_s = time.process_time() - began

    print(f"{len(lines) / took_s:,.0f} records a second")
    assert len(found) == 5000
    # A tenth of the time that a thousand alerts a second, with their requests, would leave.
    assert took_s < 5.0
