"""What is asked of a firewall about clients, and what it answers: messages to values and back, and what is wrong."""

from __future__ import annotations

from clover.control import block_policy, convert
from clover.control._proto import control_pb2
from clover.control.block_policy import Entry, quoted
from clover.control.handlers import CallError, Code, Violation, call_error
from clover.errors import Problem
from clover.functions import request_identity
from clover.functions.alerts import Alert
from clover.spec.configuration import BlockPolicy

LONGEST_S = 7 * 86400.0
DEFAULT_S = 60.0
"""How long somebody's order lasts when neither it nor a policy says so."""
REASON_LENGTH = 200
ID_LENGTH = 128
"""So much of an alert's id is remembered: those of Clover's ambassadors have 32 characters."""


def order_from(request: control_pb2.BlockRequest, policy: BlockPolicy | None, *, where: str) -> tuple[str, float]:
    """Return the address and the duration that are asked for; says everything that is wrong at once."""
    wrong: list[tuple[str, Violation]] = []
    address, duration_s = "", policy.duration if policy else DEFAULT_S
    try:
        address = str(block_policy.address_of(request.address))
    except ValueError:
        wrong.append(("CLV3340", _no_address(request.address)))
    if request.HasField("duration"):
        duration_s = request.duration.seconds + request.duration.nanos / 1e9
        if not 0 < duration_s <= LONGEST_S:
            what = f"duration is {duration_s:g} s, expected more than 0 and at most {LONGEST_S:g} s (7 days)"
            wrong.append(("CLV3345", Violation(field="duration", what=what)))
    if len(request.reason) > REASON_LENGTH or not request.reason.isprintable():
        what = f"reason is {quoted(request.reason, most=40)}, expected one line of at most {REASON_LENGTH} characters"
        wrong.append(("CLV3345", Violation(field="reason", what=what)))
    if wrong:
        raise _invalid(wrong, where=where)
    return address, duration_s


def address_from(text: str, *, where: str) -> str:
    """Return the address that is meant."""
    try:
        return str(block_policy.address_of(text))
    except ValueError:
        raise _invalid([("CLV3340", _no_address(text))], where=where) from None


def _no_address(text: str) -> Violation:
    found = f"address is {quoted(text, most=60)}" if text else "address is empty"
    return Violation(field="address", what=f"{found}, expected an IPv4 or IPv6 address such as '192.0.2.7'")


def _invalid(wrong: list[tuple[str, Violation]], *, where: str) -> CallError:
    return CallError(
        code=Code.INVALID_ARGUMENT,
        problems=tuple(Problem(code=code, where=where, what=violation.what) for code, violation in wrong),
        violations=tuple(violation for _, violation in wrong),
    )


def exempt(address: str, network: str, *, where: str) -> CallError:
    """Return that this client is never blocked."""
    if network == request_identity.SIDECAR:
        what, hint = f"{address} is the function's own sidecar: blocking it would block everybody", ""
    else:
        what = f"{address} is never blocked: the block policy allows {network}"
        hint = "take the network out of blockPolicy.allow first"
    return call_error(
        Code.FAILED_PRECONDITION, "CLV3341", what, where=where, hint=hint, preconditions={"ALLOWED": what}
    )


def full(address: str, *, where: str) -> CallError:
    """Return that as many are blocked as can be."""
    return call_error(
        Code.RESOURCE_EXHAUSTED,
        "CLV3342",
        f"{address} is not blocked: {block_policy.MOST_BLOCKS} clients are blocked already",
        where=where,
        hint="unblock some, or deny their network in the firewall's configuration (deniedNetworks)",
    )


def alert_from(message: control_pb2.Alert) -> Alert:
    """Return what the policy needs of an alert; anything in the mesh may have sent it."""
    about = request_identity.trace_context(f"00-{message.trace_id}-{message.span_id}-01")
    return Alert(
        id=message.id[:ID_LENGTH],
        time=message.time.seconds + message.time.nanos / 1e9,
        rule_id=message.rule_id,
        message=message.message,
        severity=message.severity,
        client=message.client,
        trace_id=about.trace_id if about else "",
        span_id=about.span_id if about else "",
    )


def message_from(entry: Entry) -> control_pb2.BlockEntry:
    """Return a block as callers see it."""
    return control_pb2.BlockEntry(
        address=entry.address,
        reason=entry.reason,
        since=convert.timestamp(entry.since),
        until=convert.timestamp(entry.until),
        alert_ids=entry.alert_ids,
        trace_id=entry.trace_id,
    )
