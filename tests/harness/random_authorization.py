"""Hypothesis strategies for AuthorizationPolicies: every field, sound values and odd ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

_WORDS = ["a", "a*", "*a", "*", "a.b", "[x]", "é", "**", "a b", "x/y"]
_ODD = ["", "{*}", "\x00", "a\nb", "(", "0", "-", "%", "/", "*a*"]


def _lists(*values: str, odd: bool) -> Strategy:
    one = st.sampled_from([*values, *(_ODD if odd else ())])
    return st.lists(one | st.text(max_size=8) if odd else one, min_size=1, max_size=3)


def _fields(odd: bool, **lists: list[str]) -> Strategy:
    choices = {name: _lists(*values, odd=odd) for name, values in lists.items()}
    return st.fixed_dictionaries({}, optional=choices).filter(bool)


def _both(**lists: list[str]) -> dict[str, list[str]]:
    return lists | {f"not{name[0].upper()}{name[1:]}": values for name, values in lists.items()}


_ADDRESSES = ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0"]
_PORTS = ["0", "80", "9180", "65535"]
_PATHS = ["/", "/a", "/a/*", "*/b", "*", "/x/{*}", "/x/{**}", "/{*}/y/{**}", "a", "/a b", "/é"]
_KEYS = {
    "request.headers[x-a]": _WORDS,
    "request.headers[:path]": _PATHS[:5],
    "request.auth.principal": ["*", "i/s", "https://i/s*", "*s", "i/*"],
    "request.auth.audiences": _WORDS,
    "request.auth.claims[a][b]": _WORDS,
    "source.ip": _ADDRESSES,
    "remote.ip": _ADDRESSES,
    "source.namespace": _WORDS,
    "source.principal": _WORDS,
    "source.serviceAccount": ["a", "ns/a"],
    "source.trustDomain": ["a", "a*", "*"],
    "destination.ip": _ADDRESSES,
    "destination.port": _PORTS,
    "connection.sni": _WORDS,
    "experimental.envoy.filters.a.b[c]": _WORDS,
}


def _rules(odd: bool) -> Strategy:
    source = _fields(
        odd,
        **_both(principals=_WORDS, requestPrincipals=["*", "i/s", "i/*", "*/s"], namespaces=_WORDS),
        **_both(ipBlocks=_ADDRESSES, remoteIpBlocks=_ADDRESSES, trustDomains=["a", "*b", "*"]),
    )
    accounts = _fields(odd, **_both(serviceAccounts=["a", "ns/a"]))
    operation = _fields(odd, **_both(hosts=_WORDS, ports=_PORTS, methods=["GET", "P*", "*"], paths=_PATHS))
    keys = st.sampled_from([*_KEYS, *(["request.headers[", "source", "request.auth.claims[]"] if odd else ())])
    condition = keys.flatmap(lambda key: _condition(key, odd))
    return st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "from": st.lists((source | accounts).map(lambda one: {"source": one}), min_size=1, max_size=2),
                "to": st.lists(operation.map(lambda one: {"operation": one}), min_size=1, max_size=2),
                "when": st.lists(condition, max_size=2),
            },
        ),
        min_size=0 if odd else 1,
        max_size=3,
    )


def _condition(key: str, odd: bool) -> Strategy:
    values = _lists(*_KEYS.get(key, _WORDS), odd=odd)
    pair = st.fixed_dictionaries({"values": values}, optional={"notValues": values})
    return pair.map(lambda lists: {"key": key, **lists})


def policies(*, odd: bool) -> Strategy:
    """Return a strategy for lists of documents."""
    plain = st.fixed_dictionaries({"action": st.sampled_from(["ALLOW", "DENY", "AUDIT"]), "rules": _rules(odd)})
    tried = st.sampled_from(["", "true", "false", *(["maybe"] if odd else ())])
    one = st.tuples(plain, tried)
    return st.lists(one, min_size=1, max_size=4).map(
        lambda found: [_document(n, *item) for n, item in enumerate(found)]
    )


def _document(number: int, spec: dict[str, Any], tried: str) -> dict[str, Any]:
    annotations = {"istio.io/dry-run": tried} if tried else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"p{number}", "namespace": "default", "annotations": annotations},
        "spec": spec,
    }
