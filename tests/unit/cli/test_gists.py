"""What a resource says, in a few words."""

import pytest

from clover.cli import gists

CASES = [
    ("PeerAuthentication", {"mtls": {"mode": "STRICT"}}, "STRICT for every workload"),
    (
        "PeerAuthentication",
        {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"80": {"mode": "DISABLE"}}},
        "UNSET for app=web, 80 DISABLE",
    ),
    ("AuthorizationPolicy", {"selector": {"matchLabels": {"app": "a"}}, "rules": [{}, {}]}, "ALLOW 2 rules for app=a"),
    ("AuthorizationPolicy", {}, "ALLOW nothing for every workload"),
    (
        "AuthorizationPolicy",
        {"action": "DENY", "rules": [{}], "targetRefs": [{"kind": "Gateway", "name": "edge"}]},
        "DENY 1 rule for Gateway edge",
    ),
    ("RequestAuthentication", {"jwtRules": [{"issuer": "me"}]}, "tokens of me for every workload"),
    (
        "ServiceEntry",
        {"resolution": "STATIC", "endpoints": [{}], "ports": [{"number": 80, "protocol": "HTTP"}]},
        "STATIC, 1 endpoint, ports 80 HTTP",
    ),
    ("DestinationRule", {"trafficPolicy": {"tls": {"mode": "SIMPLE"}}}, "TLS SIMPLE"),
    ("VirtualService", {"tcp": [{"route": [{"destination": {"host": "db"}}]}]}, "db"),
    ("VirtualService", {"http": [{"delegate": {"name": "x"}}, {}]}, "as x says (and 1 more rule)"),
    ("Sidecar", {}, ""),
]


@pytest.mark.parametrize(("kind", "spec", "text"), CASES)
def test_a_resource_says_what_it_does(kind, spec, text):
    assert gists.gist(kind, spec) == text


@pytest.mark.parametrize("kind", gists._GISTS)
def test_a_resource_that_says_nothing_is_no_trouble(kind):
    assert isinstance(gists.gist(kind, {}), str)
