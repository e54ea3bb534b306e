"""A small mesh for tests of policies: what it consists of, and short ways to ask about a policy in it."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

import yaml

from clover.errors import Problem
from clover.kit import documents
from clover.mesh import ir
from clover.mesh.istio import from_chain, parse, resources, validate
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.istio.resources import Resource
from clover.mesh.translate import proxies_from
from clover.mesh.translate.routes import DEFAULT_RETRIES
from clover.spec import load
from clover.spec.chain import Chain

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: sdc}
spec:
  gateway: {port: 8080, to: waf}
  mesh: {authorization: none}
  functions:
    waf: {type: firewall, to: lb, mirrorTo: shadow}
    lb:
      type: load-balancer
      versions:
        v1: {engine: haproxy, to: [cache]}
        v2: {engine: nginx, to: [server]}
    cache: {type: cache, to: server}
    server: {type: server}
    shadow: {type: server}
"""


def sample_chain() -> Chain:
    return load.parse(CHAIN, "chain.yaml")


def workload(name: str, service: str, address: str, *, version: str = "v1", **more) -> Workload:
    labels = {"app": service, "version": version}
    return Workload(name=name, service=service, namespace="default", address=address, labels=labels, **more)


REGISTRY = Registry(
    chain="sdc",
    services=tuple(
        Service(name=name, namespace="default", address=f"10.96.0.{number}", ports=(ServicePort(number=9180),))
        for number, name in enumerate(("waf", "lb", "cache", "server", "shadow"), start=1)
    ),
    workloads=(
        Workload(name="gateway", service="", namespace="default", address="10.244.0.1", gateway=True),
        workload("waf", "waf", "10.244.0.2"),
        workload("lb-v1", "lb", "10.244.0.3"),
        workload("lb-v2", "lb", "10.244.0.4", version="v2"),
        workload("cache", "cache", "10.244.0.5"),
        workload("server", "server", "10.244.0.6"),
        workload("shadow", "shadow", "10.244.0.7"),
    ),
)
"""The mesh of `CHAIN`."""


def with_ports(*ports: ServicePort, service: str = "server", registry: Registry = REGISTRY) -> Registry:
    """Return the mesh with other ports at one service."""
    services = tuple(
        dataclasses.replace(known, ports=ports) if known.name == service else known for known in registry.services
    )
    return dataclasses.replace(registry, services=services)


def chain_resources() -> tuple[Resource, ...]:
    return from_chain.resources_from(sample_chain())


def read(text: str) -> tuple[Resource, ...]:
    return parse.parse(documents.parse(text, "policy.yaml"))


def applied(text: str) -> tuple[Resource, ...]:
    """Return the resources in force after `text` is applied to the running chain."""
    known = {resources.key(resource): resource for resource in chain_resources()}
    return tuple((known | {resources.key(resource): resource for resource in read(text)}).values())


def problems(text: str, *, registry: Registry = REGISTRY) -> tuple[Problem, ...]:
    """Return what is said about `text` when it is applied to the running chain."""
    origins = parse.parse_with_origins(documents.parse(text, "policy.yaml")).origins
    return validate.check(registry, applied(text), origins=origins)


def proxies(text: str = "", *, registry: Registry = REGISTRY) -> dict[str, ir.Proxy]:
    """Return what the proxies are told after `text` is applied to the running chain."""
    return {proxy.node: proxy for proxy in proxies_from(registry, applied(text))}


def routes(proxy: ir.Proxy, table: str) -> tuple[ir.Route, ...]:
    """Return the routes of a table with one virtual host."""
    (found,) = (one for one in proxy.tables if one.name == table)
    (host,) = found.virtual_hosts
    return host.routes


def cluster(proxy: ir.Proxy, name: str) -> ir.Cluster:
    (found,) = (one for one in proxy.clusters if one.name == name)
    return found


def virtual_service(http: str, *, host: str = "lb", name: str = "lb", more: str = "") -> str:
    """Return a VirtualService whose rules are the YAML list `http`, in flow style."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  http: {http}
  {more}
"""


def destination_rule(spec: str, *, host: str = "server", name: str = "server") -> str:
    """Return a DestinationRule with further fields of the spec as YAML, in flow style."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec: {{host: {host}, {spec}}}
"""


def plain(value):
    """Return a value of the intermediate form as plain data, without what is as it always is."""
    if value == DEFAULT_RETRIES:
        return "as always"
    if dataclasses.is_dataclass(value):
        shown = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.default is dataclasses.MISSING or item != field.default:
                shown[field.name] = plain(item)
        return shown
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def as_text(value) -> str:
    """Show plain data as YAML that a person can read."""
    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, width=110)
