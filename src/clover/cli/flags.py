"""Envoy's response flags in words: why a request went as it did, and where to look."""

from __future__ import annotations

WORDS = {
    "DC": "the client went away before the answer was complete",
    "DF": "the name of the destination could not be resolved",
    "DI": "a fault rule of a VirtualService delayed the request",
    "DPE": "the client sent bytes that are not HTTP",
    "FI": "a fault rule of a VirtualService answered instead",
    "IH": "a header was refused",
    "LH": "the function failed its health check",
    "LR": "the sidecar reset the connection",
    "NC": "the route leads to a cluster that does not exist: a subset without a DestinationRule?",
    "NFCF": "a filter's configuration is missing",
    "NR": "no route matched: see the hosts and matches of the VirtualService",
    "OM": "the sidecar is out of memory",
    "RL": "a rate limit was reached",
    "SI": "nothing was heard for too long",
    "UAEX": "an authorization service said no",
    "UC": "the other side closed the connection in the middle",
    "UF": "the connection could not be made: does the function run, and listen on its port?",
    "UH": "no workload there is ready: clover status",
    "UO": "a connection pool's limit was reached: see connectionPool of the DestinationRule",
    "UPE": "the other side answered with bytes that are not HTTP",
    "UR": "the other side reset the request",
    "URX": "all retries were used up",
    "UT": "no answer within the timeout",
}
"""Flag → what it means in a chain (Envoy: access log, `%RESPONSE_FLAGS%`)."""


def explained(flags: str) -> list[str]:
    """Return a line for each known flag of `UF,URX`, each once."""
    return [f"{flag}: {WORDS[flag]}" for flag in dict.fromkeys(flags.split(",")) if flag in WORDS]
