"""What to run, as data only: the one thing that backends see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SIDECAR_MARK = 1337
"""Socket mark of the sidecars' own connections, which interception leaves alone (for Istio it is a user id)."""
SIDECAR_ADDRESS = "127.0.0.6"
"""Where sidecars dial their own functions from, as on Istio: who has it in X-Forwarded-For is no client."""

OUTBOUND_PORT, INBOUND_PORT = 15001, 15006
"""Where interception sends what leaves a workload, and what arrives there (Istio's numbers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """A program to keep running inside a workload's network."""

    name: str
    """`engine`, `sidecar`, `ambassador`, or the name of another companion; unique in its workload."""
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    """'' : the workload's folder."""
    stop_signal: str = "SIGTERM"
    stop_timeout_s: float = 5.0
    check: tuple[str, ...] = ()
    """Command that must exit with 0 before the first start; empty: none."""
    ready_tcp: int | None = None
    """Ready when this port accepts a connection in the workload's network; None: see `ready_unix`."""
    ready_unix: str | None = None
    """Ready when this Unix socket accepts a connection."""
    warm: bool = False
    """True: `argv` is a command line of `clover` itself, run by a copy of a process that has everything imported."""
    log: bool = True
    """True: what it prints belongs to the function's log lines."""
    input: str = ""
    """What it finds on its standard input: the same at each start, and nobody can change it; '' : nothing."""
    confined: bool = False
    """True: it may neither look into other processes nor change what they see, even where it is root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interception:
    """Which of a workload's connections go through its sidecar; the names are those of Istio's annotations."""

    include_inbound_ports: tuple[int, ...] | None = None
    """None: all."""
    exclude_inbound_ports: tuple[int, ...] = ()
    include_outbound_ranges: tuple[str, ...] | None = None
    """IPv4 networks (`10.0.0.0/8`); None: all addresses."""
    exclude_outbound_ranges: tuple[str, ...] = ()
    include_outbound_ports: tuple[int, ...] = ()
    """Beside the ranges: whatever their address is."""
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    """Network interfaces whose connections are left alone, in and out."""
    loopback: str = "127.0.0.1"
    """Address or network that a function dials without its sidecar."""
    drop_invalid: bool = False
    """True: packets that belong to no connection which the kernel knows are thrown away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPlan:
    """One instance of a function, its sidecar, and the network that they share."""

    name: str
    function: str
    version: str
    engine: str
    """`envoy` for the gateway."""
    address: str
    """IPv4 address on the chain's bridge."""
    port: int
    directory: str
    """Absolute folder of its files."""
    files: Mapping[str, str]
    """Path relative to `directory` → content; written with mode 0600 (0644 below a folder `site`)."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path relative to `directory` → where a symbolic link there leads."""
    directories: tuple[str, ...] = ()
    """Folders below `directory` that its engine's workers write to."""
    owner: str = ""
    """User that the engine's workers run as; '' : the current user."""
    sidecar: ProcessPlan
    engine_process: ProcessPlan | None = None
    """None for the gateway, whose only other process is the relay of its port."""
    companions: tuple[ProcessPlan, ...] = ()
    """What runs beside the engine: its ambassador, a reader of its log."""
    interception: Interception = Interception()
    gateway: bool = False
    """True: its sidecar takes what is published on the host, and nothing is redirected to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole chain, ready for a backend."""

    chain: str
    directory: str
    """Absolute folder of the chain's run-time files."""
    network: str
    """IPv4 network of the workloads, e.g. `10.244.0.0/24`."""
    services_network: str
    """IPv4 network of the virtual service addresses; each workload routes it to its sidecar."""
    hosts: Mapping[str, str]
    """Host name → virtual address: the workloads' /etc/hosts."""
    workloads: tuple[WorkloadPlan, ...]
    mark: int = SIDECAR_MARK
    outbound_port: int = OUTBOUND_PORT
    inbound_port: int = INBOUND_PORT
