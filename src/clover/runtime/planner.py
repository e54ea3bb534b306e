"""From a chain to a plan: which programs run where, with which files. Pure; nothing is started or written here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from clover.control import settings as control_settings
from clover.control.settings import (
    AGENT_FILE,
    AGENT_SOCKET,
    AMBASSADOR_FILE,
    AgentSettings,
    AmbassadorSettings,
    Controlled,
    settings_from,
)
from clover.errors import FunctionError, Problem
from clover.functions import registry as drivers
from clover.functions import state
from clover.functions.driver import CURRENT, Companion, Program
from clover.functions.state import State
from clover.mesh import ir
from clover.mesh.istio.from_chain import CONTROL_PORT_NAME, DATA_PORT_NAME
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.xds import bootstrap
from clover.mesh.xds.settings import CONTROL_PLANE
from clover.runtime import addressing
from clover.runtime.addressing import AGENT, GATEWAY, Addresses
from clover.runtime.plan import SIDECAR_MARK, Plan, ProcessPlan, WorkloadPlan
from clover.spec.chain import CONTROL_PORT, Chain, Function, FunctionType, Version, workload_name

WORKER_USER = "www-data"
"""Who the engines' workers run as when Clover runs as root; every Debian and Ubuntu has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where on this machine the chain is going to run."""

    directory: str
    """Absolute run-time folder of the chain."""
    rootless: bool
    envoy: str
    """Path of the Envoy program."""


def registry_from(chain: Chain, addresses: Addresses) -> Registry:
    """Return the services and workloads that the chain puts into the mesh."""
    return Registry(
        chain=chain.name,
        config=chain.mesh.config,
        services=(
            *(
                Service(
                    name=function.name,
                    namespace=chain.namespace,
                    address=addresses.services[function.name],
                    ports=_ports(function),
                )
                for function in chain.functions.values()
            ),
            *(
                Service(
                    name=workload_name(function, version),
                    namespace=chain.namespace,
                    address=addresses.services[workload_name(function, version)],
                    ports=_ports(function),
                    selector=_labels(function, version),
                )
                for function, version in chain.workloads()
                if len(function.versions) > 1
            ),
        ),
        workloads=(
            Workload(
                name=GATEWAY,
                service="",
                namespace=chain.namespace,
                address=addresses.workloads[GATEWAY],
                gateway=True,
            ),
            *(
                Workload(
                    name=workload_name(function, version),
                    service=function.name,
                    namespace=chain.namespace,
                    address=addresses.workloads[workload_name(function, version)],
                    labels=_labels(function, version),
                )
                for function, version in chain.workloads()
            ),
            Workload(
                name=AGENT,
                service="",
                namespace=chain.namespace,
                address=addresses.workloads[AGENT],
                labels={"app": AGENT},
            ),
        ),
    )


def _ports(function: Function) -> tuple[ServicePort, ...]:
    return (
        ServicePort(number=function.port, name=DATA_PORT_NAME),
        ServicePort(number=CONTROL_PORT, name=CONTROL_PORT_NAME),
    )


def _labels(function: Function, version: Version) -> dict[str, str]:
    return {"app": function.name, "version": version.name}


def plan_from(chain: Chain, addresses: Addresses, site: Site) -> Plan:
    """Return everything that a backend needs to run the chain. Raises FunctionError with all that engines cannot do."""
    programs = _programs(chain, site)
    return Plan(
        chain=chain.name,
        directory=site.directory,
        network=str(addressing.WORKLOADS),
        services_network=str(addressing.SERVICES),
        hosts=addressing.hosts_from(chain, addresses),
        workloads=(
            _gateway(chain, addresses, site),
            *(
                _workload(chain, function, version, addresses, site, programs[workload_name(function, version)])
                for function, version in chain.workloads()
            ),
            _agent(chain, addresses, site),
        ),
    )


def workload_directory(site: Site, workload: str) -> PurePosixPath:
    """Return the folder of one workload; `w` because a Unix socket below it may have 107 bytes at most."""
    return PurePosixPath(site.directory, "w", workload)


def _gateway(chain: Chain, addresses: Addresses, site: Site) -> WorkloadPlan:
    identity = ir.Identity(chain=chain.name, namespace=chain.namespace, function=GATEWAY, workload=GATEWAY)
    sidecar, text = _sidecar(identity, site)
    return WorkloadPlan(
        name=GATEWAY,
        function=GATEWAY,
        version="",
        engine="envoy",
        address=addresses.workloads[GATEWAY],
        port=chain.gateway.port,
        directory=str(workload_directory(site, GATEWAY)),
        files={"envoy.json": text},
        owner="" if site.rootless else WORKER_USER,
        sidecar=sidecar,
        gateway=True,
    )


def _agent(chain: Chain, addresses: Addresses, site: Site) -> WorkloadPlan:
    identity = ir.Identity(chain=chain.name, namespace=chain.namespace, function=AGENT, workload=AGENT)
    sidecar, text = _sidecar(identity, site)
    directory = str(workload_directory(site, AGENT))
    settings = AgentSettings(
        chain=chain.name,
        namespace=chain.namespace,
        workload=AGENT,
        socket=str(PurePosixPath(site.directory, AGENT_SOCKET)),
        functions=tuple(
            Controlled(
                function=function.name,
                version=version.name,
                workload=workload_name(function, version),
                type=function.type.value,
                engine=version.engine,
                host=workload_name(function, version),
                port=CONTROL_PORT,
            )
            for function, version in chain.workloads()
        ),
        otlp=_otlp(site),
    )
    return WorkloadPlan(
        name=AGENT,
        function=AGENT,
        version="",
        engine="clover",
        address=addresses.workloads[AGENT],
        port=0,
        directory=directory,
        files={"envoy.json": text, AGENT_FILE: control_settings.render(settings)},
        sidecar=sidecar,
        engine_process=ProcessPlan(name="engine", argv=("agent", directory), ready_unix=settings.socket, warm=True),
    )


def refusals(chain: Chain) -> tuple[Problem, ...]:
    """Return what the engines cannot do of what the chain tells them, each where its function is written."""
    try:
        _programs(chain, Site(directory="/run/clover/checked", rootless=False, envoy="envoy"))
    except FunctionError as failure:
        return failure.problems
    return ()


def _programs(chain: Chain, site: Site) -> dict[str, Program]:
    """Return what each workload runs. Raises FunctionError with everything that engines cannot do."""
    programs = {}
    problems: list[Problem] = []
    for function, version in chain.workloads():
        settings = settings_from(_ambassador(chain, function, version, site), _first(function, version))
        try:
            programs[settings.workload] = drivers.driver(function.type, version.engine).render(settings)
        except FunctionError as failure:
            problems += (replace(problem, where=str(version.mark)) for problem in failure.problems)
    if problems:
        raise FunctionError(*problems)
    return programs


def _first(function: Function, version: Version) -> State:
    return State(type=function.type.value, generation=1, configuration=version.configuration)


def _ambassador(chain: Chain, function: Function, version: Version, site: Site) -> AmbassadorSettings:
    name = workload_name(function, version)
    return AmbassadorSettings(
        chain=chain.name,
        namespace=chain.namespace,
        function=function.name,
        version=version.name,
        workload=name,
        type=function.type.value,
        engine=version.engine,
        directory=str(workload_directory(site, name)),
        user="" if site.rootless else WORKER_USER,
        port=function.port,
        control_port=CONTROL_PORT,
        command=version.command,
        working_directory=chain.directory,
        services=_services(chain, function),
        report_to=tuple(_reports_to(chain, function)),
        otlp=_otlp(site),
    )


def _workload(
    chain: Chain, function: Function, version: Version, addresses: Addresses, site: Site, program: Program
) -> WorkloadPlan:
    name = workload_name(function, version)
    ambassador, first = _ambassador(chain, function, version, site), _first(function, version)
    directory = ambassador.directory
    folder = str(PurePosixPath(settings_from(ambassador, first).folder).relative_to(directory))
    identity = ir.Identity(
        chain=chain.name,
        namespace=chain.namespace,
        function=function.name,
        version=version.name,
        workload=name,
    )
    sidecar, text = _sidecar(identity, site)
    return WorkloadPlan(
        name=name,
        function=function.name,
        version=version.name,
        engine=version.engine,
        address=addresses.workloads[name],
        port=function.port,
        directory=directory,
        files={
            **{f"{folder}/{path}": content for path, content in program.files.items()},
            f"{folder}/{state.FILE}": state.render(first),
            AMBASSADOR_FILE: control_settings.render(ambassador),
            "envoy.json": text,
        },
        links={CURRENT: PurePosixPath(folder).name},
        directories=program.directories,
        owner=ambassador.user,
        sidecar=sidecar,
        engine_process=_engine(program, directory),
        companions=(
            *map(_companion, program.companions),
            ProcessPlan(
                name="ambassador", argv=("ambassador", directory), ready_tcp=CONTROL_PORT, warm=True, log=False
            ),
        ),
    )


def _services(chain: Chain, function: Function) -> dict[str, int]:
    """
    Return what a function may be told to send to.

    It is what it may call: with policies that follow from the wiring, what the chain file names. Without them it is
    everything that its requests do not come through and that is nobody's mirror.
    """
    if chain.mesh.authorization == "chain":
        return {name: chain.functions[name].port for name in function.upstreams}
    before = {function.name}
    waiting = [function.name]
    while waiting:
        name = waiting.pop()
        sources = [known.name for known in chain.functions.values() if name in known.upstreams]
        waiting += (source for source in sources if source not in before)
        before.update(sources)
    return {
        known.name: known.port
        for known in chain.functions.values()
        if known.name not in before and known.type is not FunctionType.IDS
    }


def _reports_to(chain: Chain, ids: Function) -> Iterator[str]:
    """Yield the ambassadors of the firewalls that copy their requests to an intrusion detection system."""
    for function in chain.functions.values():
        if function.mirror_to == ids.name and function.type is FunctionType.FIREWALL:
            yield from (f"{workload_name(function, version)}:{CONTROL_PORT}" for version in function.versions)


def _engine(program: Program, directory: str) -> ProcessPlan:
    return ProcessPlan(
        name="engine",
        argv=program.process.argv,
        environment=program.process.environment,
        working_directory=program.process.working_directory,
        stop_signal=program.process.stop_signal,
        stop_timeout_s=program.process.stop_timeout_s,
        check=program.check,
        ready_tcp=program.ready_port,
        ready_unix=str(PurePosixPath(directory, program.ready_socket)) if program.ready_socket else None,
        confined=True,
    )


def _companion(companion: Companion) -> ProcessPlan:
    return ProcessPlan(
        name=companion.name,
        argv=companion.process.argv,
        environment=companion.process.environment,
        working_directory=companion.process.working_directory,
        stop_signal=companion.process.stop_signal,
        stop_timeout_s=companion.process.stop_timeout_s,
        ready_tcp=companion.ready_port,
        log=companion.log,
        confined=True,
    )


def _otlp(site: Site) -> str:
    return str(PurePosixPath(site.directory, "otlp.sock"))


def _sidecar(identity: ir.Identity, site: Site) -> tuple[ProcessPlan, str]:
    directory = workload_directory(site, identity.workload)
    admin = str(directory / "envoy.sock")
    text = bootstrap.bootstrap(
        identity,
        node=identity.workload,
        xds_socket=CONTROL_PLANE,
        otlp_socket=_otlp(site),
        admin_socket=admin,
        mark=SIDECAR_MARK,
    )
    process = ProcessPlan(
        name="sidecar",
        # Not from the file, which is there to be looked at: whoever can write it would be the sidecar.
        argv=bootstrap.argv(site.envoy, bootstrap.STANDARD_INPUT),
        ready_unix=admin,
        log=False,
        input=text,
    )
    return process, text
