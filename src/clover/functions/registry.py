"""Every driver there is; a new engine is one folder and one line here."""

from __future__ import annotations

from clover.errors import DocumentError, Problem
from clover.functions.command import driver as command
from clover.functions.driver import Driver
from clover.functions.haproxy import driver as haproxy
from clover.functions.modsecurity import driver as modsecurity
from clover.functions.nginx import driver as nginx
from clover.functions.snort import driver as snort
from clover.functions.suricata import driver as suricata
from clover.functions.varnish import driver as varnish
from clover.kit.requirements import Requirement
from clover.spec.chain import Chain, FunctionType
from clover.spec.nearest import did_you_mean

DRIVERS: tuple[Driver, ...] = (
    modsecurity.Firewall(),
    haproxy.LoadBalancer(),
    nginx.LoadBalancer(),
    nginx.Cache(),
    varnish.Cache(),
    suricata.Ids(),
    snort.Ids(),
    nginx.Server(),
    command.Server(),
)
"""Of each type, the default engine first."""


def engines(type_: FunctionType) -> tuple[str, ...]:
    """Return the engines that can do the work of a type, the default one first."""
    return tuple(driver.engine for driver in DRIVERS if driver.type == type_)


def driver(type_: FunctionType, engine: str) -> Driver:
    """Return the driver of an engine in a role."""
    for candidate in DRIVERS:
        if (candidate.type, candidate.engine) == (type_, engine):
            return candidate
    known = engines(type_)
    raise DocumentError(
        Problem(
            code="CLV3001",
            where=f"engine {engine!r}",
            what=f"there is no driver for the engine {engine!r} as a {type_}",
            hint=did_you_mean(engine, known, otherwise=f"engines for {type_}: {', '.join(known)}"),
        )
    )


def requirements(chain: Chain) -> tuple[Requirement, ...]:
    """Return what the chain's engines need on this machine, each once."""
    return tuple(
        dict.fromkeys(
            requirement
            for function, version in chain.workloads()
            for requirement in driver(function.type, version.engine).requirements
        )
    )
