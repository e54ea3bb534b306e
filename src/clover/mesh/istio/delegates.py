"""Delegation: rules of one VirtualService that stand in the place of a rule of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from clover.mesh.istio.kinds.virtual_service import Headers, HTTPMatchRequest, HTTPRoute, OptionalMatch
from clover.mesh.istio.resources import VirtualService

_Value = TypeVar("_Value")
_INHERITED = ("rewrite", "timeout", "retries", "fault", "cors_policy")
_MIRRORS = ("mirror", "mirror_percent", "mirror_percentage", "mirrors")


def delegate_name(rule: HTTPRoute, root: VirtualService) -> str:
    """Return `namespace/name` of what a rule delegates to; '': it does not."""
    if rule.delegate is None:
        return ""
    return f"{rule.delegate.namespace or root.metadata.namespace}/{rule.delegate.name}"


def merged(root: VirtualService, rule: HTTPRoute, delegate: VirtualService) -> Iterator[HTTPRoute]:
    """Yield the rules that stand in the place of `rule`: those of the delegate that it leaves something to do."""
    for inner in delegate.spec.http:
        matches = merged_matches(root, rule, delegate, inner)
        if matches is None:
            continue
        changes: dict[str, object] = {"match": matches, "name": "-".join(filter(None, (rule.name, inner.name)))}
        changes |= {name: getattr(rule, name) for name in _INHERITED if getattr(inner, name) is None}
        if inner.headers == Headers():
            changes["headers"] = rule.headers
        if not inner.mirrored():
            changes |= {name: getattr(rule, name) for name in _MIRRORS}
        yield inner.model_copy(update=changes)


def merged_matches(
    root: VirtualService, rule: HTTPRoute, delegate: VirtualService, inner: HTTPRoute
) -> tuple[HTTPMatchRequest, ...] | None:
    """
    Return the conditions of a rule of a delegate below a rule that delegates; None: one of them is no part of these.

    As in Istio, each condition of the delegate lies within one of the rule's, and both then hold.
    """
    outer = tuple(_with_full_names(match, root.metadata.namespace) for match in rule.match)
    own = tuple(_with_full_names(match, delegate.metadata.namespace) for match in inner.match)
    if not outer or not own:
        return outer or own
    result: list[HTTPMatchRequest] = []
    for narrow in own:
        within = [_both(wide, narrow) for wide in outer if not _conflict(wide, narrow)]
        if not within:
            return None
        result += within
    return tuple(result)


def _with_full_names(match: HTTPMatchRequest, namespace: str) -> HTTPMatchRequest:
    """Return a match whose gateways mean the same in every namespace."""
    full = (name if name == "mesh" or "/" in name else f"{namespace}/{name}" for name in match.gateways)
    return match.model_copy(update={"gateways": tuple(full)}) if match.gateways else match


def _both(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> HTTPMatchRequest:
    return narrow.model_copy(
        update={
            "name": "-".join(filter(None, (wide.name, narrow.name))),
            "uri": narrow.uri or wide.uri,
            "scheme": narrow.scheme or wide.scheme,
            "method": narrow.method or wide.method,
            "authority": narrow.authority or wide.authority,
            "headers": {**wide.headers, **narrow.headers},
            "without_headers": {**wide.without_headers, **narrow.without_headers},
            "query_params": {**wide.query_params, **narrow.query_params},
            "port": narrow.port or wide.port,
            "source_labels": {**wide.source_labels, **narrow.source_labels},
            "source_namespace": narrow.source_namespace or wide.source_namespace,
            "gateways": narrow.gateways or wide.gateways,
            "stat_prefix": narrow.stat_prefix or wide.stat_prefix,
        }
    )


def _conflict(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Tell whether requests of `narrow` may be none of `wide`, by Istio's rules."""
    pairs = (
        (wide.uri, narrow.uri),
        (wide.scheme, narrow.scheme),
        (wide.method, narrow.method),
        (wide.authority, narrow.authority),
        *_shared(wide.headers, narrow.headers),
        *_shared(wide.without_headers, narrow.without_headers),
        *_shared(wide.query_params, narrow.query_params),
    )
    return (
        any(_texts_conflict(outer, inner) for outer, inner in pairs if outer and inner)
        or wide.ignore_uri_case != narrow.ignore_uri_case
        or (None not in (wide.port, narrow.port) and wide.port != narrow.port)
        or wide.source_namespace not in ("", narrow.source_namespace)
        or any(outer != inner for outer, inner in _shared(wide.source_labels, narrow.source_labels))
        or (bool(wide.gateways) and not set(narrow.gateways) <= set(wide.gateways))
    )


def _shared(wide: Mapping[str, _Value], narrow: Mapping[str, _Value]) -> Iterator[tuple[_Value, _Value]]:
    for name in wide.keys() & narrow.keys():
        yield wide[name], narrow[name]


def _texts_conflict(wide: OptionalMatch, narrow: OptionalMatch) -> bool:
    """Nothing can be said of expressions, so that one of them beside another test is a conflict."""
    if wide.exact is not None:
        return narrow.exact != wide.exact
    if wide.prefix is not None:
        start = narrow.exact if narrow.exact is not None else narrow.prefix
        return start is None or not start.startswith(wide.prefix)
    return True
