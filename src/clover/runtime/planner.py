"""From a chain to a plan: which programs run where, with which files. Pure; nothing is started or written here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from clover.functions import registry as drivers
from clover.functions.driver import Program, Settings, Upstream
from clover.mesh import ir
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.xds import bootstrap
from clover.runtime import addressing
from clover.runtime.addressing import GATEWAY, Addresses
from clover.runtime.plan import SIDECAR_MARK, Plan, ProcessPlan, WorkloadPlan
from clover.spec.chain import Chain, Function, Version, workload_name

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
        services=tuple(
            Service(
                name=function.name,
                namespace=chain.namespace,
                address=addresses.services[function.name],
                ports=(ServicePort(number=function.port),),
            )
            for function in chain.functions.values()
        ),
        workloads=(
            Workload(
                name=GATEWAY,
                service="",
                namespace=chain.namespace,
                address=addresses.workloads[GATEWAY],
                labels={"istio": "ingressgateway", "app": GATEWAY},
                gateway=True,
            ),
            *(
                Workload(
                    name=workload_name(function, version),
                    service=function.name,
                    namespace=chain.namespace,
                    address=addresses.workloads[workload_name(function, version)],
                    labels={"app": function.name, "version": version.name},
                )
                for function, version in chain.workloads()
            ),
        ),
    )


def plan_from(chain: Chain, addresses: Addresses, site: Site) -> Plan:
    """Return everything that a backend needs to run the chain."""
    return Plan(
        chain=chain.name,
        directory=site.directory,
        network=str(addressing.WORKLOADS),
        services_network=str(addressing.SERVICES),
        hosts=addressing.hosts_from(chain, addresses),
        workloads=(
            _gateway(chain, addresses, site),
            *(_workload(chain, function, version, addresses, site) for function, version in chain.workloads()),
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


def _workload(chain: Chain, function: Function, version: Version, addresses: Addresses, site: Site) -> WorkloadPlan:
    name = workload_name(function, version)
    directory = workload_directory(site, name)
    user = "" if site.rootless else WORKER_USER
    driver = drivers.driver(function.type, version.engine)
    program = driver.render(
        Settings(
            workload=name,
            function=function.name,
            version=version.name,
            port=function.port,
            upstreams=tuple(Upstream(host=target, port=chain.functions[target].port) for target in version.to),
            directory=str(directory),
            user=user,
            command=version.command,
            working_directory=chain.directory,
        )
    )
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
        directory=str(directory),
        files={**program.files, "envoy.json": text},
        directories=program.directories,
        owner=user,
        sidecar=sidecar,
        engine_process=_engine(program),
    )


def _engine(program: Program) -> ProcessPlan:
    return ProcessPlan(
        name="engine",
        argv=program.process.argv,
        environment=program.process.environment,
        working_directory=program.process.working_directory,
        stop_signal=program.process.stop_signal,
        stop_timeout_s=program.process.stop_timeout_s,
        check=program.check,
        ready_tcp=program.ready_port,
    )


def _sidecar(identity: ir.Identity, site: Site) -> tuple[ProcessPlan, str]:
    directory = workload_directory(site, identity.workload)
    admin = str(directory / "envoy.sock")
    text = bootstrap.bootstrap(
        identity,
        node=identity.workload,
        xds_socket=str(PurePosixPath(site.directory, "xds.sock")),
        otlp_socket=str(PurePosixPath(site.directory, "otlp.sock")),
        admin_socket=admin,
        mark=SIDECAR_MARK,
    )
    process = ProcessPlan(
        name="sidecar",
        argv=bootstrap.argv(site.envoy, str(directory / "envoy.json")),
        ready_unix=admin,
    )
    return process, text
