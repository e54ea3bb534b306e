"""Authorization: Envoy's filters in the order of Istio's, CUSTOM, AUDIT, DENY, ALLOW; `rbac` says what they match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as tcp_rbac_pb2

from clover.kit.memory import remembered
from clover.mesh.access import Access, Action, Authorizer, Policy
from clover.mesh.xds import ext_authz
from clover.mesh.xds.rbac import rules_of
from clover.mesh.xds.resource import packed

HTTP_RBAC = "envoy.filters.http.rbac"
TCP_RBAC = "envoy.filters.network.rbac"
_TCP_STATS = "tcp."
"""Istio's prefix of the counters."""
_BAD = "-deny-due-to-bad-CUSTOM-action"

_NAMED = 8
"""How many policies a record names."""

_IN_ORDER = (Action.AUDIT, Action.DENY, Action.ALLOW)
_TRIED = {Action.ALLOW: "istio_dry_run_allow_", Action.DENY: "istio_dry_run_deny_", Action.AUDIT: ""}
"""Where Envoy notes what a policy that is only tried would have done."""


@remembered
def http_filters(access: Access) -> tuple[tuple[HttpFilter, ...], tuple[HttpFilter, ...]]:
    """Return the filters in front of a workload's HTTP: CUSTOM, before tokens are read; and AUDIT, DENY, ALLOW."""
    rest = tuple(_http(http_rbac_pb2.RBAC(**found)) for found in _plain(access, tcp=False))
    return tuple(_custom_http(access)), rest


@remembered
def tcp_filters(access: Access) -> tuple[Filter, ...]:
    """Return the filters in front of a workload's TCP, in the same order."""
    rest = (_tcp(tcp_rbac_pb2.RBAC(stat_prefix=_TCP_STATS, **found)) for found in _plain(access, tcp=True))
    return (*_custom_tcp(access), *rest)


def noted(access: Access, *, tcp: bool) -> tuple[tuple[str, str], ...]:
    """
    Return fields of the access record, by name, that say what policies did beside passing or denying.

    Each costs every record a little, so there are only those that some policy of the workload can fill.
    """
    notes = TCP_RBAC if tcp else HTTP_RBAC
    found = {}
    if allowing := [policy.source.partition("/")[2] for policy in access.of(Action.ALLOW)]:
        found["allow_policies"] = _unless_allowed(allowing, tcp=tcp)
    if access.of(Action.DENY, dry_run=True):
        found["dry_run_deny"] = f"%DYNAMIC_METADATA({notes}:{_TRIED[Action.DENY]}shadow_effective_policy_id)%"
    if access.of(Action.ALLOW, dry_run=True):
        found["dry_run_allow"] = f"%DYNAMIC_METADATA({notes}:{_TRIED[Action.ALLOW]}shadow_engine_result)%"
    if access.of(Action.AUDIT):
        found["audited"] = "%DYNAMIC_METADATA(envoy.common:access_log_hint)%"
    if access.of(Action.CUSTOM):
        found["asked_for"] = f"%DYNAMIC_METADATA({notes}:{ext_authz.MATCHED})%"
    return tuple(found.items())


def _unless_allowed(policies: Sequence[str], *, tcp: bool) -> str:
    """Return a format that names ALLOW policies if none of them matched."""
    said = "connection.termination_details" if tcp else "response.code_details"
    names = ", ".join(policies[:_NAMED]) + (", ..." if len(policies) > _NAMED else "")
    return f"%CEL(has({said}) && {said}.endsWith('[none]') ? '{names}' : '-')%"


def clusters_of(access: Access) -> tuple[str, ...]:
    """Return the clusters that the filters ask."""
    return tuple(authorizer.cluster for authorizer in access.authorizers)


def _plain(access: Access, *, tcp: bool) -> Iterator[dict[str, RBAC | str | None]]:
    """Yield the fields of a filter for each action that some policy has: what is carried out, and what is tried."""
    for action in _IN_ORDER:
        enforced, tried = access.of(action), access.of(action, dry_run=True)
        if enforced or tried:
            yield {
                "rules": rules_of(action, enforced, tcp=tcp) if enforced else None,
                "shadow_rules": rules_of(action, tried, tcp=tcp) if tried else None,
                # As Istio, which names it after ALLOW when nothing is tried.
                "shadow_rules_stat_prefix": _TRIED[action if tried else Action.ALLOW],
            }


# ---- CUSTOM: the first filter only notes which policy matches, the second asks if there is such a note


def _custom_http(access: Access) -> Iterator[HttpFilter]:
    for name, policies, authorizer in _asked(access):
        rules = rules_of(Action.CUSTOM, policies, tcp=False, prefix=f"{ext_authz.PREFIX}-{name}-")
        if authorizer is None:
            yield _http(http_rbac_pb2.RBAC(rules=_refusing(rules)))
            continue
        yield _http(http_rbac_pb2.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=ext_authz.NOTES))
        yield HttpFilter(
            name="envoy.filters.http.ext_authz", typed_config=packed(ext_authz.http(authorizer, notes_of=HTTP_RBAC))
        )


def _custom_tcp(access: Access) -> Iterator[Filter]:
    for name, policies, authorizer in _asked(access):
        rules = rules_of(Action.CUSTOM, policies, tcp=True, prefix=f"{ext_authz.PREFIX}-{name}-")
        if authorizer is None:
            yield _tcp(tcp_rbac_pb2.RBAC(rules=_refusing(rules), stat_prefix=_TCP_STATS))
        elif authorizer.http is None:
            # Who is asked over HTTP cannot be asked about anything else.
            yield _tcp(
                tcp_rbac_pb2.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=ext_authz.NOTES, stat_prefix=_TCP_STATS)
            )
            config = ext_authz.tcp(authorizer, notes_of=TCP_RBAC, stat_prefix=_TCP_STATS)
            yield Filter(name="envoy.filters.network.ext_authz", typed_config=packed(config))


def _asked(access: Access) -> Iterator[tuple[str, tuple[Policy, ...], Authorizer | None]]:
    """Yield each authorizer that is asked, with the policies that ask it; None: it must be refused what they match."""
    policies = access.of(Action.CUSTOM)
    names = sorted({policy.authorizer for policy in policies})
    known = {authorizer.name: authorizer for authorizer in access.authorizers}
    for name in names:
        asking = tuple(policy for policy in policies if policy.authorizer == name)
        # As on Istio, one workload has one authorizer: of several it is not known who is right.
        yield name, asking, known.get(name) if len(names) == 1 else None


def _refusing(rules: RBAC) -> RBAC:
    refusing = RBAC(action=RBAC.DENY)
    for name, policy in rules.policies.items():
        refusing.policies[name + _BAD].CopyFrom(policy)
    return refusing


def _http(config: http_rbac_pb2.RBAC) -> HttpFilter:
    return HttpFilter(name=HTTP_RBAC, typed_config=packed(config))


def _tcp(config: tcp_rbac_pb2.RBAC) -> Filter:
    return Filter(name=TCP_RBAC, typed_config=packed(config))
