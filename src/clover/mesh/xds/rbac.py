"""What authorization policies match, as Envoy's role-based access control says it: operations are its permissions."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Principal
from envoy.config.rbac.v3.rbac_pb2 import Policy as Matched
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from clover.mesh import access
from clover.mesh.access import Action, Text, TextKind, on_tcp
from clover.mesh.authentication import FILTER, PAYLOAD
from clover.mesh.xds.resource import packed

_ACTIONS = {
    Action.ALLOW: RBAC.ALLOW,
    Action.DENY: RBAC.DENY,
    Action.AUDIT: RBAC.LOG,
    # Only noted, never carried out: the authorizer is asked about what it matches.
    Action.CUSTOM: RBAC.DENY,
}


def rules_of(action: Action, policies: Iterable[access.Policy], *, tcp: bool, prefix: str = "") -> RBAC:
    """Return the rules of policies with one action, their names begun with `prefix`."""
    result = RBAC(action=_ACTIONS[action])
    for policy in policies:
        for written in policy.rules:
            if rule := on_tcp(written, action) if tcp else written:
                result.policies[prefix + rule.name].CopyFrom(_matched(rule))
    return result


def _matched(rule: access.Rule) -> Matched:
    """A rule without alternatives never holds, which Envoy is told in so many words."""
    nothing = not (rule.operations and rule.sources)
    return Matched(
        permissions=[Permission(not_rule=Permission(any=True))]
        if nothing
        else [_permissions(conditions) for conditions in rule.operations],
        principals=[Principal(not_id=Principal(any=True))]
        if nothing
        else [_principals(conditions) for conditions in rule.sources],
    )


def _permissions(conditions: Iterable[access.Condition]) -> Permission:
    found = [
        Permission(not_rule=permission) if condition.negated else permission
        for condition in conditions
        for permission in (_permission(condition.test),)
    ]
    return Permission(and_rules=Permission.Set(rules=found or [Permission(any=True)]))


def _principals(conditions: Iterable[access.Condition]) -> Principal:
    found = [
        Principal(not_id=principal) if condition.negated else principal
        for condition in conditions
        for principal in (_principal(condition.test),)
    ]
    return Principal(and_ids=Principal.Set(ids=found or [Principal(any=True)]))


def _permission(test: access.Test) -> Permission:
    match test:
        case access.Metadata():
            return Permission(metadata=_noted(test.filter, (test.key,), _any_of(map(_item, test.values))))
        case access.Port():
            found = [Permission(destination_port=port) for port in test.ports]
        case access.Address():
            found = [Permission(destination_ip=_range(network)) for network in test.networks]
        case access.ServerName():
            found = [Permission(requested_server_name=string(name)) for name in test.names]
        case access.Header():
            found = [Permission(header=_header(test.name, value)) for value in test.values]
        case access.Path():
            found = [_path(path) for path in test.paths]
        case _:
            raise ValueError(f"{type(test).__name__} says who calls, not what is called")
    return Permission(or_rules=Permission.Set(rules=found))


def _principal(test: access.Test) -> Principal:
    match test:
        case access.Token():
            found = [_token(issuer, subject) for issuer, subject in test.principals]
            return found[0] if len(found) == 1 else Principal(or_ids=Principal.Set(ids=found))
        case access.Claim():
            return Principal(metadata=_claim(test))
        case access.Caller():
            authenticated = Principal.Authenticated
            found = [Principal(authenticated=authenticated(principal_name=string(name))) for name in test.ids]
        case access.Address(place=access.Place.PEER):
            found = [Principal(direct_remote_ip=_range(network)) for network in test.networks]
        case access.Address():
            found = [Principal(remote_ip=_range(network)) for network in test.networks]
        case access.Header():
            found = [Principal(header=_header(test.name, value)) for value in test.values]
        case _:
            raise ValueError(f"{type(test).__name__} says what is called, not who calls")
    return Principal(or_ids=Principal.Set(ids=found))


# ---- values


def string(text: Text) -> StringMatcher:
    """Return a test of a text that is there anyway, so that 'present' is 'not empty'."""
    match text.kind:
        case TextKind.PREFIX:
            return StringMatcher(prefix=text.value, ignore_case=text.ignore_case)
        case TextKind.SUFFIX:
            return StringMatcher(suffix=text.value, ignore_case=text.ignore_case)
        case TextKind.REGEX | TextKind.PRESENT:
            return StringMatcher(safe_regex=RegexMatcher(regex=text.value or ".+"))
        case _:
            return StringMatcher(exact=text.value, ignore_case=text.ignore_case)


def _header(name: str, text: Text) -> HeaderMatcher:
    if text.kind is TextKind.PRESENT:
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string(text))


def _path(path: Text) -> Permission:
    if path.kind is not TextKind.TEMPLATE:
        return Permission(url_path=PathMatcher(path=string(path)))
    template = packed(UriTemplateMatchConfig(path_template=path.value))
    return Permission(uri_template=TypedExtensionConfig(name="uri-template", typed_config=template))


def _range(network: IPv4Network | IPv6Network) -> CidrRange:
    result = CidrRange(address_prefix=str(network.network_address))
    result.prefix_len.value = network.prefixlen
    return result


def _token(issuer: Text, subject: Text) -> Principal:
    claims = (("iss", issuer), ("sub", subject))
    found = [
        Principal(metadata=_noted(FILTER, (PAYLOAD, name), ValueMatcher(string_match=string(text))))
        for name, text in claims
    ]
    return Principal(and_ids=Principal.Set(ids=found))


def _claim(test: access.Claim) -> MetadataMatcher:
    """A claim is one text, or a list of texts of which one is meant."""
    either = _any_of(ValueMatcher(string_match=string(text)) for text in test.values)
    listed = ValueMatcher(list_match=ListMatcher(one_of=either))
    return _noted(FILTER, (PAYLOAD, *test.path), _any_of((listed, either)))


def _item(value: tuple[Text, bool]) -> ValueMatcher:
    text, in_list = value
    found = ValueMatcher(string_match=string(text))
    return ValueMatcher(list_match=ListMatcher(one_of=found)) if in_list else found


def _any_of(found: Iterable[ValueMatcher]) -> ValueMatcher:
    several = list(found)
    return several[0] if len(several) == 1 else ValueMatcher(or_match=OrMatcher(value_matchers=several))


def _noted(filter_name: str, path: Iterable[str], value: ValueMatcher) -> MetadataMatcher:
    segments = [MetadataMatcher.PathSegment(key=key) for key in path]
    return MetadataMatcher(filter=filter_name, path=segments, value=value)
