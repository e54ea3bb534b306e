"""Several VirtualServices for one host of a gateway: their rules are put together."""

from harness import policies
from harness.policies import routes


def service(name, http, host="shop.example"):
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ['{host}']
  gateways: [sdc-gateway]
  http: {http}
---
"""


TO_LB = "route: [{destination: {host: lb, port: {number: 9180}}}]"
TO_CACHE = "route: [{destination: {host: cache, port: {number: 9180}}}]"
SECOND = service("b", f"[{{match: [{{uri: {{prefix: /b}}}}], {TO_CACHE}}}]")
FIRST = service("a", f"[{{match: [{{uri: {{prefix: /a}}}}], {TO_LB}}}, {{{TO_LB}}}]")


def shop(text):
    (table,) = policies.proxies(text)["gateway"].tables
    (host,) = (one for one in table.virtual_hosts if one.domains == ("shop.example",))
    return host.routes


def test_rules_that_take_everything_come_last_whoever_has_them():
    for text in (FIRST + SECOND, SECOND + FIRST):
        assert [route.name for route in shop(text)] == ["a.0", "b.0", "a.1"]
        assert policies.problems(text) == ()


def test_of_two_that_take_everything_the_first_by_name_decides_and_a_warning_says_so():
    text = FIRST + service("b", f"[{{{TO_CACHE}}}]")

    assert [route.name for route in shop(text)] == ["a.0", "a.1"]
    (problem,) = policies.problems(text)
    assert (problem.code, problem.severity) == ("CLV4335", "warning")
    assert "VirtualService 'default/a' serves 'shop.example' on the gateway's port 8080 too" in problem.what


def test_neighbours_that_do_not_overlap_are_not_talked_about():
    assert policies.problems(service("a", f"[{{match: [{{uri: {{prefix: /a}}}}], {TO_LB}}}]") + SECOND) == ()


def test_a_virtual_service_with_rules_for_tcp_alone_opens_no_virtual_host():
    text = service("a", "[]").replace("http: []", f"tcp: [{{{TO_LB}}}]")
    proxy = policies.proxies(text)["gateway"]

    assert len(routes(proxy, "http.8080")) == 1
