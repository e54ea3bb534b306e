"""What nftables rules do with a packet: an evaluator of the few expressions that interception is written in."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


class UnknownRuleError(Exception):
    """A rule says something that this evaluator does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first packet of a connection, as it enters (`prerouting`) or leaves (`output`) a network."""

    hook: str
    interface: str
    source: str
    destination: str
    port: int
    sidecar: bool = False
    """True: the sidecar sent it (for Istio by its user and group 1337, here by its socket mark)."""
    valid: bool = True


@dataclass(slots=True)
class Chain:
    """The rules of a chain, each as its words."""

    hook: str = ""
    """'': only others jump to it."""
    priority: int = 0
    rules: list[list[str]] = field(default_factory=list)


Chains = Mapping[tuple[str, str], Chain]
"""By table and name."""


def from_commands(text: str) -> Chains:
    """Read `add chain`, `add rule` and `insert rule` lines."""
    chains: dict[tuple[str, str], Chain] = {}
    for line in text.splitlines():
        verb, what, family, table, *rest = line.split(maxsplit=5)
        if what == "chain":
            chains[table, rest[0]] = _chain(rest[1] if len(rest) > 1 else "")
        elif what == "rule" and (verb, family) == ("add", "inet"):
            chains[table, rest[0]].rules.append(shlex.split(rest[1]))
        elif what == "rule":
            raise UnknownRuleError(line)
    return chains


def from_file(text: str) -> Chains:
    """Read `table ... { chain ... { ... } }`."""
    chains: dict[tuple[str, str], Chain] = {}
    table, chain = "", Chain()
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := re.fullmatch(r"table ip (\w+) \{", line):
            table = found[1]
        elif found := re.fullmatch(r"chain (\w+) \{", line):
            chain = chains[table, found[1]] = Chain()
        elif line.startswith("type "):
            opened = _chain(line)
            chain.hook, chain.priority = opened.hook, opened.priority
        elif line != "}":
            chain.rules.append(shlex.split(line))
    return chains


def _chain(text: str) -> Chain:
    found = re.search(r"hook (\w+) priority (-?\d+)", text)
    return Chain(hook=found[1], priority=int(found[2])) if found else Chain()


def fate(chains: Chains, packet: Packet) -> str:
    """Return `drop`, the port that a packet is redirected to (`:15001`), or `` if it goes on as it is."""
    hooked = [(chain.priority, table, chain) for (table, _), chain in chains.items() if chain.hook == packet.hook]
    for _, table, chain in sorted(hooked, key=lambda entry: entry[0]):
        verdict = _walk(chains, table, chain, packet)
        if verdict not in ("", "return"):
            return verdict
    return ""


def _walk(chains: Chains, table: str, chain: Chain, packet: Packet) -> str:
    for rule in chain.rules:
        match _verdict(rule, packet):
            case ["jump", name]:
                if verdict := _walk(chains, table, chains[table, name], packet).removeprefix("return"):
                    return verdict
            case ["redirect", "to", port]:
                return port
            case ["drop" | "return" as verdict]:
                return verdict
            case []:
                continue
            case words:
                raise UnknownRuleError(" ".join(words))
    return ""


def _verdict(rule: list[str], packet: Packet) -> list[str]:
    """Return what a rule does with a packet; nothing if it is not for it."""
    words = iter(rule)
    for word in words:
        match word:
            case "counter":
                done = list(words)
                return done[: done.index("comment")] if "comment" in done else done
            case "meta" | "ip" | "tcp":
                word = f"{word} {next(words)}"
            case "ct":
                word = f"ct {next(words)}"
        value = next(words)
        negated = value == "!="
        if negated:
            value = next(words)
        if value == "{":
            value = "".join(iter(lambda: next(words), "}"))
        if _holds(word, value, packet) is negated:
            return []
    raise UnknownRuleError(" ".join(rule))


def _holds(subject: str, value: str, packet: Packet) -> bool:
    match subject:
        case "iifname" | "oifname":
            return packet.interface == value
        case "meta l4proto":
            return value == "tcp"
        case "tcp dport":
            return str(packet.port) in value.split(",")
        case "ip saddr":
            return _within(packet.source, value)
        case "ip daddr":
            return _within(packet.destination, value)
        case "skuid" | "skgid" | "meta mark":
            if value != "1337":
                raise UnknownRuleError(f"{subject} {value}")
            return packet.sidecar
        case "ct state":
            return not packet.valid
        case _:
            raise UnknownRuleError(f"{subject} {value}")


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)


def packets(ports: Iterable[int], addresses: Iterable[str], interfaces: Iterable[str]) -> Iterator[Packet]:
    """Yield every kind of packet that rules about these may tell apart."""
    ports, addresses = sorted(ports), sorted(addresses)
    for interface in interfaces:
        for port in ports:
            for address in addresses:
                for source in ("127.0.0.1", "127.0.0.6", "10.244.0.7"):
                    common = {"interface": interface, "source": source, "destination": address, "port": port}
                    yield Packet(hook="prerouting", **common)
                    yield Packet(hook="prerouting", valid=False, **common)
                    for sidecar in (True, False):
                        yield Packet(hook="output", sidecar=sidecar, **common)
