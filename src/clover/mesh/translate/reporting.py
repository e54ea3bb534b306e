"""Telemetries into what proxies report: that of the mesh first, then the namespace's, then those of the workload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clover.mesh.istio.kinds.telemetry import AccessLogging, CustomTag, ModeSelector, Tracing
from clover.mesh.istio.policies import Policies
from clover.mesh.istio.registry import Registry, Workload
from clover.mesh.istio.resources import Telemetry
from clover.mesh.istio.selection import is_for
from clover.mesh.reporting import Reporting, Reports, Tag, TagKind

_SENT, _TAKEN = "CLIENT", "SERVER"


def reports_of(workload: Workload, registry: Registry, policies: Policies) -> Reports:
    """Return what a workload's proxy reports."""
    chosen = sorted(
        (policy for policy in policies.telemetries if _is_for(policy, workload, registry, policies)),
        key=lambda policy: (
            policy.metadata.namespace != registry.config.root_namespace,
            not policy.spec.is_for_a_namespace,
        ),
    )
    tracing = [entry for policy in chosen for entry in policy.spec.tracing]
    logging = [entry for policy in chosen for entry in policy.spec.access_logging]
    return Reports(sent=_reporting(_SENT, tracing, logging), taken=_reporting(_TAKEN, tracing, logging))


def _is_for(policy: Telemetry, workload: Workload, registry: Registry, policies: Policies) -> bool:
    spec = policy.spec
    if not spec.is_for_a_namespace and policy.metadata.namespace != workload.namespace:
        return False  # As on Istio, unlike other policies: workloads are chosen in the own namespace only.
    return is_for(policy, workload, registry, policies, selector=spec.selector, targets=spec.targets())


def _reporting(side: str, tracing: Iterable[Tracing], logging: Iterable[AccessLogging]) -> Reporting:
    found = Reporting()
    for trace in tracing:
        if _speaks_of(trace.match, side):
            found = _with_tracing(found, trace)
    for log in logging:
        if _speaks_of(log.match, side):
            condition = log.filter.expression if log.filter and not log.disabled else ""
            found = replace(found, logs=not log.disabled, log_condition=condition)
    return found


def _speaks_of(match: ModeSelector, side: str) -> bool:
    return match.mode in ("CLIENT_AND_SERVER", side)


def _with_tracing(found: Reporting, entry: Tracing) -> Reporting:
    if entry.random_sampling_percentage is not None:
        found = replace(found, sampled_percent=entry.random_sampling_percentage)
    if entry.disable_span_reporting is not None:
        found = replace(found, spans=not entry.disable_span_reporting)
    if entry.custom_tags is not None:
        found = replace(found, tags=tuple(_tag(name, tag) for name, tag in sorted(entry.custom_tags.items())))
    return found


def _tag(name: str, tag: CustomTag) -> Tag:
    if tag.literal:
        return Tag(name=name, kind=TagKind.LITERAL, value=tag.literal.value)
    if tag.environment:
        variable = tag.environment
        return Tag(name=name, kind=TagKind.ENVIRONMENT, value=variable.name, default=variable.default_value)
    if tag.header:
        return Tag(name=name, kind=TagKind.HEADER, value=tag.header.name, default=tag.header.default_value)
    return Tag(name=name, kind=TagKind.FORMAT, value=tag.formatter.value if tag.formatter else "")
