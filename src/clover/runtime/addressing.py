"""Addresses of a chain: one for each workload on its bridge, and a virtual one for each service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from clover.spec.chain import Chain, workload_name

GATEWAY = "gateway"
"""Name of the gateway's workload; reserved, so no function has it."""
AGENT = "control-agent"
"""Name of the control agent's workload; reserved, too."""

WORKLOADS = IPv4Network("10.244.0.0/24")
"""Inside the chain's own namespaces: no host route is touched, and two chains may use the same numbers."""
SERVICES = IPv4Network("10.96.0.0/24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Who has which address."""

    workloads: Mapping[str, str]
    """Workload name, `gateway` and `control-agent` included → IPv4 address."""
    services: Mapping[str, str]
    """
    Name that is dialled → virtual IPv4 address: every function, and every workload of a function with several versions,
    where its ambassador is.
    """


def addresses_from(chain: Chain) -> Addresses:
    """Give addresses in the order of the document, so that the same chain always gets the same ones."""
    names = [workload_name(function, version) for function, version in chain.workloads()]
    services = dict.fromkeys((*chain.functions, *names))
    return Addresses(
        workloads={name: str(WORKLOADS[number]) for number, name in enumerate((GATEWAY, *names, AGENT), start=2)},
        services={name: str(SERVICES[number]) for number, name in enumerate(services, start=2)},
    )


def hosts_from(chain: Chain, addresses: Addresses) -> dict[str, str]:
    """Return every name under which a service is dialled, with its virtual address (Kubernetes' search order)."""
    return {
        name: address
        for service, address in addresses.services.items()
        for name in (
            service,
            f"{service}.{chain.namespace}",
            f"{service}.{chain.namespace}.svc",
            f"{service}.{chain.namespace}.svc.cluster.local",
        )
    }
