"""Addresses of a chain: one for each workload on its bridge, and a virtual one for each service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from clover.spec.chain import Chain, workload_name

GATEWAY = "gateway"
"""Name of the gateway's workload; reserved, so no function has it."""

WORKLOADS = IPv4Network("10.244.0.0/24")
"""Inside the chain's own namespaces: no host route is touched, and two chains may use the same numbers."""
SERVICES = IPv4Network("10.96.0.0/24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Who has which address."""

    workloads: Mapping[str, str]
    """Workload name, `gateway` included → IPv4 address."""
    services: Mapping[str, str]
    """Function name → virtual IPv4 address."""


def addresses_from(chain: Chain) -> Addresses:
    """Give addresses in the order of the document, so that the same chain always gets the same ones."""
    names = [GATEWAY, *(workload_name(function, version) for function, version in chain.workloads())]
    return Addresses(
        workloads={name: str(WORKLOADS[number]) for number, name in enumerate(names, start=2)},
        services={name: str(SERVICES[number]) for number, name in enumerate(chain.functions, start=2)},
    )


def hosts_from(chain: Chain, addresses: Addresses) -> dict[str, str]:
    """Return every name under which a service is dialled, with its virtual address (Kubernetes' search order)."""
    return {
        name: address
        for function, address in addresses.services.items()
        for name in (
            function,
            f"{function}.{chain.namespace}",
            f"{function}.{chain.namespace}.svc",
            f"{function}.{chain.namespace}.svc.cluster.local",
        )
    }
