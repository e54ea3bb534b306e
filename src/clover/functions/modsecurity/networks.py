"""Addresses as nginx tells and compares them."""

from __future__ import annotations

import ipaddress
import re

from clover.functions.templates import Word

NETWORK = re.compile(r"[0-9a-f.:]{2,43}/\d{1,3}", re.ASCII)
_MAPPED_BITS = 96


def word_from(network: str) -> Word:
    """Return a network for nginx, which knows an IPv4 address in its IPv6 form as IPv4. Raises ValueError."""
    parsed = ipaddress.ip_network(network)
    if parsed.version == 6 and parsed.prefixlen >= _MAPPED_BITS:
        mapped = ipaddress.IPv6Address(parsed.network_address).ipv4_mapped
        if mapped is not None:
            return Word(f"{mapped}/{parsed.prefixlen - _MAPPED_BITS}", NETWORK)
    return Word(str(parsed), NETWORK)


def client_from(address: str) -> str:
    """
    Return a client's address as nginx writes it: the name of the file that blocks it. Raises ValueError.

    That is Python's canonical form, but for IPv6 addresses that begin with 96 zeros, and IPv4 in its IPv6 form is IPv4.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.scope_id is not None:
        raise ValueError(f"{address!r} names a link of this machine; a client has an address without `%`")
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    high, low = parsed.packed[:12], parsed.packed[12:]
    if not any(high) and (any(low[:2]) or (low[2] != 0 and low[3] != 1)):
        return f"::{ipaddress.IPv4Address(low)}"
    return str(parsed)
