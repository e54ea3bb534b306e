"""Host names: short and full, wildcards, and which of two says more."""

from __future__ import annotations

from collections.abc import Collection

DOMAIN = "svc.cluster.local"


def full_host(host: str, namespace: str) -> str:
    """Return the full name of a host without dots, as Istio: a service of the resource's own namespace."""
    host = host.lower()
    return host if "." in host or "*" in host or not host else f"{host}.{namespace}.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Tell whether every name that `host` stands for is one that `pattern` stands for."""
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return host.removeprefix("*").endswith(pattern[1:]) and host != pattern[1:]
    return pattern == host


def common(one: str, other: str) -> str | None:
    """Return the names that both stand for; None: no name is in both."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def specificity(pattern: str) -> tuple[bool, int]:
    """Return a key that sorts the pattern that says most last."""
    return (not pattern.startswith("*"), len(pattern))


def best(patterns: Collection[str], host: str) -> str | None:
    """Return the most specific of the patterns that cover `host`."""
    if host in patterns:
        return host
    return max((pattern for pattern in patterns if covers(pattern, host)), key=specificity, default=None)
