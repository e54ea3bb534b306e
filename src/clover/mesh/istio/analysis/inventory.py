"""From Kubernetes' documents to what exists in a mesh. Files may leave things out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.istio.analysis import kubernetes
from clover.mesh.istio.analysis.headings import group_and_kind
from clover.mesh.istio.policies import GATEWAY_LABELS
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.istio.resources import Gateway, Resource

INSTALLED = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage", "istio-system")
"""Namespaces of what comes with an installation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A Kubernetes object, and the document that it was read from."""

    kind: str
    namespace: str
    value: kubernetes.Service | kubernetes.Pod | kubernetes.Workload | kubernetes.Named
    document: Document

    @property
    def name(self) -> str:
        """Return its name within kind and namespace."""
        return self.value.metadata.name

    @property
    def pod(self) -> kubernetes.Pod | None:
        """Return the pod that it is or makes."""
        if isinstance(self.value, kubernetes.Workload):
            return self.value.spec.template
        return self.value if isinstance(self.value, kubernetes.Pod) else None

    @property
    def is_outside(self) -> bool:
        """Tell whether its pods say that they have no sidecar."""
        metadata = self.pod.metadata if self.pod else None
        said = (metadata.labels, metadata.annotations) if metadata else ()
        return any(words is not None and words.get("sidecar.istio.io/inject") == "false" for words in said)


def objects_from(documents: Iterable[Document], *, namespace: str) -> tuple[tuple[Object, ...], tuple[Problem, ...]]:
    """Return the objects that say what exists, and what is wrong with those that could not be read."""
    found: list[Object] = []
    problems: list[Problem] = []
    for document in documents:
        group, kind = group_and_kind(document) or ("", "")
        value, wrong = kubernetes.read(document, kubernetes.MODELS[group, kind])
        problems += wrong
        if value is not None:
            own = "" if kind == "Namespace" else value.metadata.namespace or namespace
            found.append(Object(kind=kind, namespace=own, value=value, document=document))
    return tuple(found), tuple(problems)


def registry_from(objects: Iterable[Object], resources: Iterable[Resource]) -> Registry:
    """
    Return the services and workloads that the objects tell of.

    A Gateway's own pods are usually installed with Istio and in no file: each Gateway is given what it chooses,
    which is Istio's own where it could be.
    """
    found = tuple(objects)
    services = tuple(
        Service(
            name=one.name,
            namespace=one.namespace,
            address=_address(240, number),
            ports=tuple(map(_port, one.value.spec.ports or ())),
            selector=one.value.spec.selector or {},
        )
        for number, one in enumerate(found)
        if isinstance(one.value, kubernetes.Service)
    )
    gateways = [one.spec.selector for one in resources if isinstance(one, Gateway)]
    workloads = tuple(_workloads(found, gateways))
    entrances = tuple(_entrances(gateways, workloads))
    return Registry(
        chain="",
        services=services,
        workloads=(*workloads, *entrances),
        complete=False,
        tells_workloads=bool(workloads),
        declared=tuple(_declared(found)),
    )


def _declared(found: tuple[Object, ...]) -> Iterator[str]:
    """Yield the namespaces that there are, as far as files tell; without any Namespace they do not."""
    declared = [one.name for one in found if one.kind == "Namespace"]
    if declared:
        yield from dict.fromkeys((*INSTALLED, "default", *declared, *(one.namespace for one in found)))


def _port(port: kubernetes.Port) -> ServicePort:
    """Return a port; where its target is a name, which only the pods know, it is taken to be the same."""
    target = port.target_port if isinstance(port.target_port, int) else None
    return ServicePort(number=port.port, name=port.name, app_protocol=port.app_protocol or "", target_port=target)


def _workloads(found: tuple[Object, ...], gateways: list[dict[str, str]]) -> Iterator[Workload]:
    for number, one in enumerate(found):
        if one.pod is None:
            continue
        labels = one.pod.metadata.labels or {}
        yield Workload(
            name=one.name,
            service="",
            namespace=one.namespace,
            address=_address(10, number),
            labels=labels,
            service_account=one.pod.spec.service_account_name or "default",
            gateway=any(selector and selector.items() <= labels.items() for selector in gateways),
        )


def _entrances(gateways: list[dict[str, str]], workloads: tuple[Workload, ...]) -> Iterator[Workload]:
    for number, selector in enumerate(gateways):
        if not any(selector.items() <= workload.labels.items() for workload in workloads):
            yield Workload(
                name=f"gateway-{number}",
                service="",
                namespace="istio-system",
                address=_address(11, number),
                labels=GATEWAY_LABELS if selector.items() <= GATEWAY_LABELS.items() else selector,
                gateway=True,
            )


def _address(first: int, number: int) -> str:
    """Return an address that no other object has; nobody dials it."""
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
