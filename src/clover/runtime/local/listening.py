"""Who listens inside a process's network, read from /proc: evidence for "why is it not ready?"."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_LISTEN = "0A"


def listeners(pid: int) -> tuple[str, ...]:
    """Return the `address:port` pairs that accept TCP in the network of process `pid`; empty if it is gone."""
    found: list[str] = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        found += [parse(local, family) for local, state in (_columns(line) for line in lines) if state == _LISTEN]
    return tuple(dict.fromkeys(found))


def parse(local: str, family: int) -> str:
    """Turn the kernel's `0100007F:1F90` (32-bit words in host byte order) into `127.0.0.1:8080`."""
    address, port = local.split(":")
    raw = bytes.fromhex(address)
    words = struct.unpack(f">{len(raw) // 4}I", raw)
    packed = struct.pack(f"={len(words)}I", *words)
    text = socket.inet_ntop(family, packed)
    return f"[{text}]:{int(port, 16)}" if family == socket.AF_INET6 else f"{text}:{int(port, 16)}"


def _columns(line: str) -> tuple[str, str]:
    fields = line.split()
    return fields[1], fields[3]
