"""Which of a workload's connections go through its sidecar, as text for `nft -f`: pure, so that it can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clover.runtime.plan import SIDECAR_ADDRESS, Interception, Plan


def rules(plan: Plan, wanted: Interception) -> str:
    """
    Return the nftables rules that send a workload's TCP through its sidecar, in and out.

    These are Istio's REDIRECT rules with the socket mark in the place of the sidecar's user id: in a rootless
    namespace there is only one user. Counters tell whether traffic reached the rules at all.
    """
    chains = [
        *([_chain("invalid", "filter hook prerouting priority -150", [_INVALID])] if wanted.drop_invalid else []),
        _chain("prerouting", "nat hook prerouting priority -100", _inbound(wanted, plan.inbound_port)),
        _chain("output", "nat hook output priority -100", _outbound(plan, wanted)),
    ]
    return f"table ip clover {{\n{''.join(chains)}}}\n"


def refusals(plan: Plan) -> str:
    """
    Return the nftables rules that refuse what no sidecar carries: UDP to addresses that nobody has.

    Whoever asks a name server there hears at once that there is none, instead of waiting for one.
    """
    refused = f'oifname "eth0" meta l4proto udp ip daddr != {plan.network} counter reject'
    return f"table ip clover_refusals {{\n{_chain('output', 'filter hook output priority 0', [refused])}}}\n"


_INVALID = "meta l4proto tcp ct state invalid counter drop"


def _chain(name: str, hook: str, lines: Iterable[str]) -> str:
    inside = "".join(f"        {line}\n" for line in lines)
    return f"    chain {name} {{\n        type {hook}; policy accept;\n{inside}    }}\n"


def _inbound(wanted: Interception, port: int) -> Iterator[str]:
    for name in wanted.exclude_interfaces:
        yield f'iifname "{name}" counter return'
    for number in wanted.exclude_inbound_ports:
        yield f"tcp dport {number} counter return"
    if wanted.include_inbound_ports is None:
        yield f"meta l4proto tcp counter redirect to :{port}"
    for number in wanted.include_inbound_ports or ():
        yield f"tcp dport {number} counter redirect to :{port}"


def _outbound(plan: Plan, wanted: Interception) -> Iterator[str]:
    mark, loopback = plan.mark, wanted.loopback
    for name in wanted.exclude_interfaces:
        yield f'oifname "{name}" counter return'
    for number in wanted.exclude_outbound_ports:
        yield f"tcp dport {number} counter return"
    yield f'oifname "lo" ip saddr {SIDECAR_ADDRESS} counter return comment "sidecar to its own function"'
    yield (
        f'oifname "lo" ip daddr != {loopback} meta l4proto tcp meta mark {mark} counter redirect to '
        f':{plan.inbound_port} comment "function to itself by its service name"'
    )
    yield f'oifname "lo" meta mark != {mark} counter return comment "function to localhost"'
    yield f'meta mark {mark} counter return comment "sidecar to other workloads"'
    yield f"ip daddr {loopback} counter return"
    for network in wanted.exclude_outbound_ranges:
        yield f"ip daddr {network} counter return"
    sent = f'counter redirect to :{plan.outbound_port} comment "function to the mesh"'
    for number in wanted.include_outbound_ports:
        yield f"tcp dport {number} {sent}"
    if wanted.include_outbound_ranges is None:
        yield f"meta l4proto tcp {sent}"
    for network in wanted.include_outbound_ranges or ():
        yield f"ip daddr {network} meta l4proto tcp {sent}"
