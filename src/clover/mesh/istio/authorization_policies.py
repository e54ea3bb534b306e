"""
What an AuthorizationPolicy must satisfy: each rule here is a question, its docstring the answer that is wanted.

`authorization_values` asks about single values, this module about the policy, its workloads and other policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from clover.mesh.istio import authorization_values, peer_modes, protocols, resources, selection
from clover.mesh.istio.extension_providers import asked_by, service_of
from clover.mesh.istio.finding import Finding, Path, nearest
from clover.mesh.istio.kinds.authorization_policy import DRY_RUN, FALSE, TRUE, Rule
from clover.mesh.istio.mesh import Mesh
from clover.mesh.istio.registry import Service, Workload
from clover.mesh.istio.resources import AuthorizationPolicy

_OPPOSITE = {"ALLOW": "DENY", "DENY": "ALLOW"}
_NAMED = 3
"""How many policies a message names."""


def chosen(policy: AuthorizationPolicy, mesh: Mesh) -> Mapping[str, Workload]:
    """Return the workloads that a policy is for, by name."""
    name, spec = resources.key(policy), policy.spec
    if name not in mesh.guarded:
        mesh.guarded[name] = {
            workload.name: workload
            for workload in mesh.registry.workloads
            if selection.is_for(
                policy, workload, mesh.registry, mesh.policies, selector=spec.selector, targets=spec.targets()
            )
        }
    return mesh.guarded[name]


def is_for_somebody(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """A policy protects the workloads that it chooses, and no others."""
    spec = resource.spec
    yield from selection.chooses_somebody(
        resource, mesh, selector=spec.selector, targets=spec.targets(), code="CLV4250"
    )


def authorizer_can_be_asked(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """A CUSTOM policy names an extension provider of the mesh, whose service is there."""
    if resource.spec.provider is None:
        return
    name, path = resource.spec.provider.name, ("spec", "provider", "name")
    providers = {provider.name: provider for provider in mesh.registry.config.extension_providers}
    if name not in providers:
        what = f"the mesh has no extension provider {name!r}; it has {', '.join(sorted(providers)) or 'none'}"
        hint = nearest(name, providers) or "add it to spec.mesh.config.extensionProviders of the chain"
        yield Finding(code="CLV4251", path=path, what=what, hint=hint)
        return
    asked = asked_by(providers[name])
    service = service_of(asked, mesh.registry)
    if service is None:
        where = f"{asked.service}:{asked.port}"
        what = f"the extension provider {name!r} asks {where}, which is no service and port of the mesh"
        hint = nearest(asked.service, (known.host for known in mesh.registry.services))
        yield Finding(code="CLV4251", path=path, what=what, hint=hint)
        return
    (port,) = (port for port in service.ports if port.number == asked.port)
    spoken, grpc = protocols.declared(port), providers[name].envoy_ext_authz_grpc is not None
    if grpc and spoken not in ("GRPC", "HTTP2"):
        yield Finding(
            code="CLV4251",
            path=path,
            what=f"the extension provider {name!r} is asked by gRPC, and its port {port.number} is not named for it",
            hint="call the port 'grpc' or 'http2', so that proxies speak HTTP/2 to it",
            severity="warning",
        )


def one_authorizer_decides(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """A workload has one authorizer; with several, as on Istio, everything that they are asked about is denied."""
    mine = resource.spec.provider
    own = chosen(resource, mesh).keys() if mine else set()
    for other in mesh.policies.authorization_policies:
        theirs = other.spec.provider
        if not mine or not theirs or theirs.name == mine.name:
            continue
        if mesh.order[resources.key(other)] > mesh.order[resources.key(resource)]:
            continue
        if both := sorted(own & chosen(other, mesh).keys()):
            yield Finding(
                code="CLV4252",
                path=("spec", "provider", "name"),
                what=f"{_name(other)!r} has {theirs.name!r} asked for {', '.join(both)}; a workload has one provider",
                hint="name the same provider in both, or choose other workloads",
            )
            return


def dry_run_is_understood(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """A policy is tried, or carried out; an authorizer cannot be asked for a try."""
    said = resource.metadata.annotations.get(DRY_RUN)
    path: Path = ("metadata", "annotations", DRY_RUN)
    if said is None:
        return
    if said not in TRUE | FALSE:
        yield Finding(code="CLV4253", path=path, what=f"{said[:80]!r} is neither 'true' nor 'false'")
    elif said in TRUE and resource.spec.action not in ("ALLOW", "DENY"):
        what = f"a policy with the action {resource.spec.action} cannot be tried; ALLOW and DENY can"
        yield Finding(code="CLV4253", path=path, what=what)


def rules_can_hold(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """Every value of a rule is one that a request to the chosen workloads can have."""
    yield from authorization_values.findings(resource, tuple(chosen(resource, mesh).values()), mesh)


def http_is_asked_of_http(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """What only HTTP has says nothing about a port of TCP: an ALLOW rule allows nothing there, others match more."""
    carrying = [(service, ports) for service in mesh.registry.services if (ports := tuple(_tcp_ports(service)))]
    workloads = chosen(resource, mesh).values() if carrying else ()
    found = {
        port for service, ports in carrying if any(workload.serves(service) for workload in workloads) for port in ports
    }
    shown = ", ".join(map(str, sorted(found)))
    for index, rule in enumerate(resource.spec.rules if found else ()):
        asked = authorization_values.http_fields(rule)
        if not asked or _names_a_port(rule):
            continue
        does = {
            "ALLOW": "this rule allows nothing there",
            "CUSTOM": "the authorizer is asked about every connection there",
        }.get(resource.spec.action, "this rule matches every connection there")
        yield Finding(
            code="CLV4256",
            path=("spec", "rules", index),
            what=f"{', '.join(asked)} ask about HTTP, and the ports {shown} carry TCP: {does}",
            hint="say with 'ports' which ports the rule is for",
            severity="warning",
        )


def allowed_is_not_denied(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """DENY is asked before ALLOW: what one policy denies, no other can allow. The later of two is told."""
    mine = resource.spec.action
    if mine not in _OPPOSITE or resource.dry_run:
        return
    earlier = [
        policy
        for policy in mesh.policies.authorization_policies
        if policy.spec.action == _OPPOSITE[mine]
        and not policy.dry_run
        and mesh.order[resources.key(policy)] < mesh.order[resources.key(resource)]
    ]
    for index, rule in enumerate(resource.spec.rules):
        if mine == "ALLOW":
            found = (policy for policy in earlier if _denied(rule, policy) and _is_within(resource, policy, mesh))
            what = "all of it is denied already, by {}"
        else:
            found = (
                policy
                for policy in earlier
                if any(_covers(rule, other) for other in policy.spec.rules) and _is_within(policy, resource, mesh)
            )
            what = "it denies all that a rule of {} allows"
        if some := list(islice(found, _NAMED + 1)):
            names = _few([_name(policy) for policy in some])
            yield Finding(code="CLV4257", path=("spec", "rules", index), what=what.format(names), severity="warning")


def _denied(rule: Rule, policy: AuthorizationPolicy) -> bool:
    return any(_covers(other, rule) for other in policy.spec.rules)


def _is_within(one: AuthorizationPolicy, other: AuthorizationPolicy, mesh: Mesh) -> bool:
    """Tell whether there are workloads that `one` is for, and `other` is for all of them."""
    workloads = chosen(one, mesh)
    return bool(workloads) and workloads.keys() <= chosen(other, mesh).keys()


def tokens_are_read(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """Who asks about tokens has a RequestAuthentication that reads them."""
    asking = tuple(authorization_values.token_fields(resource))
    without = (
        [workload.name for workload in chosen(resource, mesh).values() if not _reads_tokens(workload, mesh)]
        if asking
        else []
    )
    for path in asking if without else ():
        yield Finding(
            code="CLV4258",
            path=path,
            what=f"no RequestAuthentication reads tokens at {_few(without)}; there, no request has this",
            hint="apply a RequestAuthentication for these workloads",
            severity="warning",
        )


def identities_are_proven(resource: AuthorizationPolicy, mesh: Mesh) -> Iterator[Finding]:
    """Who calls is known by its certificate, which only mutual TLS shows."""
    asking = tuple(authorization_values.identity_fields(resource))
    plain = (
        [workload.name for workload in chosen(resource, mesh).values() if _is_plain(workload, mesh)] if asking else []
    )
    if plain:  # once for a policy: of a chain every rule asks
        yield Finding(
            code="CLV4261",
            path=asking[0],
            what=f"a PeerAuthentication switches mutual TLS off at {_few(plain)}; there, nobody has an identity",
            hint="let the PeerAuthentication say 'STRICT' or 'PERMISSIVE' there",
            severity="warning",
        )


RULES = (
    is_for_somebody,
    authorizer_can_be_asked,
    one_authorizer_decides,
    dry_run_is_understood,
    rules_can_hold,
    http_is_asked_of_http,
    allowed_is_not_denied,
    tokens_are_read,
    identities_are_proven,
)


def _name(policy: AuthorizationPolicy) -> str:
    return resources.key(policy).partition("/")[2]


def _few(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:_NAMED]) + (" ..." if len(names) > _NAMED else "")


def _reads_tokens(workload: Workload, mesh: Mesh) -> bool:
    return any(
        selection.is_for(
            other,
            workload,
            mesh.registry,
            mesh.policies,
            selector=other.spec.selector,
            targets=other.spec.targets(),
        )
        for other in mesh.policies.request_authentications
    )


def _is_plain(workload: Workload, mesh: Mesh) -> bool:
    """Tell whether a workload takes no mutual TLS at any of its ports."""
    modes = peer_modes.modes_of(workload, mesh.registry, mesh.policies)
    if workload.gateway or "DISABLE" not in (modes.mode, *modes.ports.values()):
        return False
    ports = [port.target for service in mesh.registry.services if workload.serves(service) for port in service.ports]
    return bool(ports) and all(modes.at(port) == "DISABLE" for port in ports)


def _tcp_ports(service: Service) -> Iterator[int]:
    for port in service.ports:
        declared = protocols.declared(port)
        if (declared and declared not in protocols.HTTP) or (
            not declared and port.number in protocols.SERVER_SPEAKS_FIRST
        ):
            yield port.number


def _names_a_port(rule: Rule) -> bool:
    """Tell whether a rule says itself which ports it is for."""
    return all(to.operation.ports for to in rule.to) if rule.to else False


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Tell whether `wide` surely matches whatever `narrow` does: it asks for nothing that `narrow` does not."""
    return (
        (not wide.from_ or (bool(narrow.from_) and set(narrow.from_) <= set(wide.from_)))
        and (not wide.to or (bool(narrow.to) and set(narrow.to) <= set(wide.to)))
        and set(wide.when) <= set(narrow.when)
    )
