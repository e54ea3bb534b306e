"""Istio's inputs for its benchmarks, as a mesh: a proxy at 1.1.1.1, whatever it stands beside, and the resources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from clover.kit import documents
from clover.kit.documents import Document
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from harness import go_templates

_PROXY = "1.1.1.1"
"""Where Istio's benchmark has its proxy."""


def rendered(path: Path, *, services: int, instances: int) -> tuple[Registry, list[Document]]:
    """Return the mesh of one file, and the documents that are applied to it."""
    text = go_templates.render(path.read_text(encoding="utf-8"), Services=services, Instances=instances)
    # As Go's reader, PyYAML takes the last of several equal keys, which one of the files needs.
    found = [document for document in yaml.safe_load_all(text) if document]
    own = [document for document in found if _PROXY in _addresses(document)]
    gateway = any(document["kind"] == "Gateway" for document in found)
    registry = Registry(
        chain="benchmark",
        services=tuple(map(_service, own)),
        workloads=(
            Workload(
                name="proxy",
                service="",
                namespace="default",
                address=_PROXY,
                labels={"app": "proxy", **dict(_labels(own))},
                gateway=gateway,
            ),
        ),
    )
    others = (_policy(document) for document in found if document not in own)
    # One by one: a whole file may be larger than people write them.
    return registry, [read for one in others for read in documents.parse(yaml.safe_dump(one), path.name)]


def _addresses(document: dict[str, Any]) -> list[str]:
    return [endpoint.get("address", "") for endpoint in document.get("spec", {}).get("endpoints") or ()]


def _labels(own: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for document in own:
        for endpoint in document["spec"]["endpoints"]:
            yield from endpoint.get("labels", {}).items()


def _service(document: dict[str, Any]) -> Service:
    """Return the service that the proxy itself stands for: here that is no ServiceEntry, but the chain's."""
    ports = document["spec"]["ports"]
    return Service(
        name=document["metadata"]["name"],
        namespace=document["metadata"].get("namespace", "default"),
        address="10.96.0.1",
        ports=tuple(
            ServicePort(
                number=port["number"],
                name=port["name"],
                protocol=port.get("protocol", ""),
                target_port=port.get("targetPort"),
            )
            for port in ports
        ),
        selector={"app": "proxy"},
    )


def _policy(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as it is applied; a Kubernetes Service without members stands for a name outside the mesh."""
    if document["kind"] != "Service" or document["spec"].get("type") != "ExternalName":
        return document
    metadata, spec = document["metadata"], document["spec"]
    ports = [{"number": port["port"], "name": port["name"], "protocol": port["name"].upper()} for port in spec["ports"]]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": metadata,
        "spec": {
            "hosts": [f"{metadata['name']}.{metadata.get('namespace', 'default')}.svc.cluster.local"],
            "ports": ports,
            "resolution": "DNS",
            "endpoints": [{"address": spec["externalName"]}],
        },
    }
