"""Kubernetes' documents, as far as they say what exists: the fields that a mesh looks at, and no others."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from clover.errors import Problem
from clover.kit.documents import Document
from clover.mesh.istio.finding import cut, dotted


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class Metadata(_Part):
    """What an object is called."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Port(_Part):
    """A port of a Service."""

    port: int = Field(ge=1, le=65535)
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None


class ServiceSpec(_Part):
    """Which pods a Service sends to."""

    type: str = "ClusterIP"
    selector: dict[str, str] | None = None
    ports: tuple[Port, ...] | None = None


class Service(_Part):
    """A name that pods dial."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


class PodSpec(_Part):
    """Who a pod is."""

    service_account_name: str = ""


class Pod(_Part):
    """A pod, or the template of one."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class _Template(_Part):
    template: Pod


class Workload(_Part):
    """What makes pods of a template."""

    metadata: Metadata
    spec: _Template


class Named(_Part):
    """An object of which only the name matters."""

    metadata: Metadata


MODELS: dict[tuple[str, str], type[_Part]] = {
    ("", "Service"): Service,
    ("", "Pod"): Pod,
    ("", "Namespace"): Named,
    ("", "ServiceAccount"): Named,
    **{("apps", kind): Workload for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
}
"""By API group and kind."""


def read(document: Document, model: type[_Part]) -> tuple[Any, tuple[Problem, ...]]:
    """Return the object, None when Kubernetes would not take it, and why."""
    try:
        return model.model_validate(document.data), ()
    except ValidationError as error:
        return None, tuple(_problem(document, detail["loc"], detail["msg"]) for detail in error.errors())


def _problem(document: Document, path: tuple[int | str, ...], message: str) -> Problem:
    metadata = document.data.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    return Problem(
        code="CLV4110",
        where=str(document.mark(path)),
        what=f"{document.data['kind']} {cut(str(name))}: field {dotted(path)!r}: {message}",
    )
