"""
Why a proxy ended a request or a connection itself, in words: from the fields of an access record.

Envoy says it in flags (`%RESPONSE_FLAGS%`), details (`%RESPONSE_CODE_DETAILS%`), the reason why a connection ended, and
what went wrong below HTTP. What a function answered itself, however bad, is not an outcome of the mesh.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from clover.telemetry.query import tls_failures

_POLICY = re.compile(r"rbac_access_denied_matched_policy\[(.*)\]")
_RULE = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]")
"""Istio's name of an authorization policy's rule."""
_UNANSWERABLE = "-deny-due-to-bad-CUSTOM-action"
_TOKEN = re.compile(r"jwt_authn_access_denied\{(.*)\}")
NO_TLS = "TLS_error|"
"""How Envoy's inspector begins when a connection is no TLS, which is no failure where a filter chain takes it so.
Failures of a handshake begin with `TLS_error:`."""
_PASSED_ON = "PassthroughFilterChain"
"""Istio's name of the filter chain for what is nothing that the services behind a listener take."""
_OUTBOUND = re.compile(r"outbound\|(\d+)\|([^|]*)\|(.+)")
_Record = Mapping[str, str]


def why(record: _Record) -> str:
    """Return why the proxy itself ended what the record is about; '' when it did not."""
    return next(_reasons(record), "")


def _reasons(record: _Record) -> Iterator[str]:
    """Yield what may be said, the most telling first."""
    said = " ".join(record.get(name, "") for name in ("details", "terminal"))
    yield from _denials(said, record)
    if words := record.get("way_out", ""):  # the way out knows what the proxy cannot see: see `ways`
        yield words
    flags = [flag for flag in record.get("flags", "").split(",") if flag not in ("", "-")]
    for flag in sorted(flags, key=lambda flag: list(_FLAGS).index(flag) if flag in _FLAGS else len(_FLAGS)):
        reason = _FLAGS.get(flag)
        yield reason(record) if reason else f"Envoy's flag {flag}"
    for word, text in _DETAILS.items():
        if word in said:
            yield text
    failure = record.get("downstream_failure", "").strip("-")
    if failure and not (failure.startswith(NO_TLS) and record.get("filter_chain", "").strip("-")):
        yield f"TLS with the client failed: {tls_failures.in_words(failure)}"
    if record.get("route") == "block_all":
        yield f"{_to(record)} is no service of the mesh, and only those may be called (REGISTRY_ONLY)"


def remarks(record: _Record) -> Iterator[str]:
    """Yield what authorization policies did to what the record is about, beside passing or denying it."""
    if rule := _rule(record.get("dry_run_deny", "")):
        yield f"would be denied by {rule}, which is only tried"
    if record.get("dry_run_allow") == "denied":
        yield "no ALLOW policy that is only tried would allow it"
    if record.get("audited") == "true":
        yield "noted by an AUDIT policy"


def _denials(said: str, record: _Record) -> Iterator[str]:
    if match := _POLICY.search(said):
        if rule := _rule(match[1]):
            unanswerable = match[1].endswith(_UNANSWERABLE)
            yield f"denied by {rule}" + (", whose authorizer cannot be asked" if unanswerable else "")
        else:
            known = record.get("allow_policies", "").strip("-")
            yield f"denied: no AuthorizationPolicy of the workload allows it{_caller(record)}" + (
                f" (ALLOW policies: {known})" if known else ""
            )
    if match := _TOKEN.search(said):
        yield f"the token is refused: {match[1].replace('_', ' ').rstrip('.')}"
    for word, text in _AUTHORIZER.items():
        if word in said:
            rule = _rule(record.get("asked_for", ""))
            yield text + (f", asked for {rule}" if rule else "")


def _caller(record: _Record) -> str:
    """Return to whom a sidecar does not allow it, in the words of a policy; '' when that is not known."""
    if record.get("direction") != "inbound" or "peer" not in record:
        return ""
    principal = record["peer"].strip("-").removeprefix("spiffe://")
    return f" to {principal}" if principal else " to a caller without an identity (plaintext)"


def _rule(name: str) -> str:
    """Return `AuthorizationPolicy default/x (rule 1)` for a rule's name; '' when it is none."""
    if match := _RULE.search(name):
        namespace, policy, rule = match.groups()
        return f"AuthorizationPolicy {namespace}/{policy} (rule {int(rule) + 1})"
    return ""


def _unmatched(record: _Record) -> str:
    details = record.get("details", "") + record.get("terminal", "")
    failure = record.get("downstream_failure", "")
    if "route_not_found" in details or record.get("method"):
        return f"no route for host {record.get('host') or '?'!r} and this path"
    if "HTTP_REQUEST" in failure or "WRONG_VERSION" in failure or not failure.strip("-"):
        if record.get("direction") == "gateway":
            return "no filter chain takes it: plaintext where TLS is taken, or a server name that no Gateway has there"
        return "no filter chain takes it: plaintext where only mutual TLS is taken, or an unknown server name"
    return f"no filter chain takes it ({_plain(failure)})"


def _failed(record: _Record) -> str:
    failure = record.get("upstream_failure", "")
    if "CERTIFICATE_VERIFY_FAILED" in failure:
        why_not = tls_failures.in_words(failure.partition("CERTIFICATE_VERIFY_FAILED")[2])
        return f"the certificate of {_to(record)} is not the one expected ({why_not})"
    if "WRONG_VERSION_NUMBER" in failure:
        return f"{_to(record)} takes plaintext, and was called with TLS"
    if "TLS" in failure:
        return f"TLS with {_to(record)} failed: {tls_failures.in_words(failure)}"
    if record.get("filter_chain") == _PASSED_ON and record.get("upstream_cluster") == "PassthroughCluster":
        return f"{_not_understood(record)}; so it was passed on to {_to(record)} itself, where nobody listens"
    if "refused" in failure:
        return f"nobody listens at {_to(record)}"
    return f"no connection to {_to(record)}" + (f" ({_plain(failure)})" if failure.strip("-") else "")


def _without_host(record: _Record) -> str:
    if record.get("upstream_cluster") == "BlackHoleCluster":
        if record.get("filter_chain") == _PASSED_ON:
            return f"{_not_understood(record)}; nothing else may be sent (REGISTRY_ONLY)"
        return f"{record.get('downstream_local') or 'the address'} is no service of the mesh (REGISTRY_ONLY)"
    return f"{_to(record)} has no workload that takes traffic"


def _not_understood(record: _Record) -> str:
    """
    Return that bytes are none of what the services of a port take: the address may well be that of one of them.

    Services of HTTP share a listener for all addresses of a port; the address alone leads to nobody.
    """
    port = record.get("downstream_local", "").rpartition(":")[2] or "?"
    return (
        f"what came for port {port} is neither HTTP/1.1 nor HTTP/2 in plain text, "
        "nor TLS to a name that a service has there"
    )


def _malformed(record: _Record) -> str:
    details = record.get("details", "")
    if "low_version" in details:
        return "HTTP/1.0 is not taken here"
    if "missing_host" in details:
        return "a request without Host"
    return f"what came is not the HTTP that is spoken here ({_plain(details) or 'protocol error'})"


def _broken(record: _Record) -> str:
    failure = record.get("upstream_failure", "")
    if "TLS" in failure or "CERTIFICATE" in failure:
        return _failed(record)
    if record.get("upstream_host", "").startswith("/"):  # a socket of the way out: the node dials for it
        return f"{_to(record)} cannot be reached from this machine, or closed the connection without an answer"
    if record.get("direction") == "outbound":
        return f"{_to(record)} closed the connection without an answer (plaintext towards mutual TLS looks like this)"
    return f"{_to(record)} closed the connection without an answer"


def _to(record: _Record) -> str:
    """Return whom the proxy was sending to: a service, or the address that was dialled."""
    cluster = record.get("upstream_cluster", "")
    if cluster.startswith("inbound|"):
        return "the function"
    if match := _OUTBOUND.fullmatch(cluster):
        port, subset, host = match.groups()
        return f"{host.removesuffix('.svc.cluster.local')}:{port}" + (f" ({subset})" if subset else "")
    return next(
        (value for name in ("host", "downstream_local") if (value := record.get(name, "").strip("-"))), "the address"
    )


def _plain(text: str) -> str:
    return text.replace("_", " ").strip(" -|")


_AUTHORIZER = {
    "ext_authz_denied": "denied by the external authorizer",
    "ext_authz_error": "the external authorizer did not answer",
}
_FLAGS: Mapping[str, Callable[[_Record], str]] = {
    "UAEX": lambda _: "denied by the external authorizer",
    "NR": _unmatched,
    "NC": lambda record: f"the route leads to {_to(record)}, which this proxy does not know",
    "UH": _without_host,
    "UF": _failed,
    "UO": lambda record: f"too much at once for {_to(record)}: the limits of its connection pool",
    "UT": lambda record: f"{_to(record)} did not answer within the time that the route allows",
    "UC": _broken,
    "UR": lambda record: f"{_to(record)} reset the request",
    "URX": lambda record: f"every attempt to reach {_to(record)} failed",
    "UMSDR": lambda _: "the request took longer than it may",
    "UPE": lambda record: f"what {_to(record)} answered is not the HTTP that was expected",
    "DPE": _malformed,
    "DC": lambda _: "the client gave up",
    "DT": lambda _: "the request or connection lasted longer than it may",
    "DF": lambda record: f"the name of {_to(record)} cannot be resolved",
    "DR": lambda _: "the client reset the request",
    "LR": lambda _: "the proxy reset the request",
    "RL": lambda _: "refused by a rate limit",
    "FI": lambda _: "a fault rule of the VirtualService answered",
    "DI": lambda _: "a fault rule of the VirtualService made it wait",
    "SI": lambda _: "the client was silent for too long",
    "IH": lambda _: "a header has a value that is not allowed",
    "OM": lambda _: "the proxy is overloaded",
    "NFCF": lambda _: "the listener has no configuration for it yet",
    "LH": lambda _: "the local health check failed",
}
"""Envoy's flags, the most telling first."""
_DETAILS: Mapping[str, str] = {
    "low_version": "HTTP/1.0 is not taken here",
    "missing_host": "a request without Host",
    "codec_error": "what came is not HTTP",
    "request_headers_too_large": "the headers are too large",
    "request_payload_too_large": "the body is too large",
    "upgrade_failed": "the protocol upgrade is not allowed here",
    "path_normalization_failed": "the path cannot be understood",
    "no_healthy_upstream": "nobody takes traffic there",
    "closed_before_protocol_was_known": "the client was gone before it had said what it speaks: perhaps it waits for "
    "the server to speak first, and the port should be named for TCP",
    "downstream_pre_cx_timeout": "the client was silent while its protocol was being recognised",
    "idle_timeout": "nothing was sent for too long",
    "max_duration_timeout": "it lasted longer than it may",
    "overload": "the proxy is overloaded",
}
