"""The HTTP connection manager: what all listeners that speak HTTP have in common, and what sets the gateway apart."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2 as early_pb2
from envoy.extensions.request_id.uuid.v3 import uuid_pb2

from clover.kit.memory import remembered
from clover.mesh import ir
from clover.mesh.xds import access, authentication, telemetry
from clover.mesh.xds.messages import over_ads
from clover.mesh.xds.resource import packed
from clover.mesh.xds.settings import Settings

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"

_ORDERS = "x-envoy-"
_KEPT = "x-clover-kept-traceparent"
_GIVEN = "request.headers['traceparent']"
_VALID_TRACEPARENT = " && ".join(
    (
        "'traceparent' in request.headers",
        f"size({_GIVEN}) == 55",
        # Two patterns that overlap by one dash, because Envoy limits the size of one.
        f"{_GIVEN}.matches('^[0-9a-f]{{2}}-[0-9a-f]{{32}}-')",
        f"{_GIVEN}.matches('-[0-9a-f]{{16}}-[0-9a-f]{{2}}$')",
        f"!{_GIVEN}.matches('^ff|^..-0+-|-0+-..$')",
    )
)


@lru_cache(maxsize=1)
def _router() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))


@lru_cache(maxsize=2)
def _policy_filters(*, always: bool = False) -> tuple[HttpFilter, ...]:
    """
    Return the filters that routes may configure: such a route switches them on, all others pay nothing for them.

    `always` is for where a token may lead a request to another route, which is too late to switch anything on.
    """
    return (
        HttpFilter(name=FAULT, typed_config=packed(fault_pb2.HTTPFault()), disabled=not always),
        HttpFilter(name=CORS, typed_config=packed(cors_pb2.Cors()), disabled=not always),
    )


def _guarding(guard: ir.Guard) -> tuple[HttpFilter, ...]:
    """Return the filters that decide whether a request may pass; tokens are read before policies ask about them."""
    custom, rest = access.http_filters(guard.access)
    return (*custom, *authentication.http_filters(guard.authentication), *rest)


@lru_cache(maxsize=2)
def _answer_with_trace(*, kept: bool) -> HttpFilter:
    """Tell the client the trace of its request, also when only the gateway answered; `kept`: it surely has spans."""
    mutations = header_mutation_pb2.HeaderMutation()
    flags = "01" if kept else "00"
    mutations.mutations.response_mutations.append(_set("traceresponse", f"00-%TRACE_ID%-%SPAN_ID%-{flags}"))
    return HttpFilter(name="envoy.filters.http.header_mutation", typed_config=packed(mutations))


@lru_cache(maxsize=1)
def _grpc_web() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.grpc_web", typed_config=packed(grpc_web_pb2.GrpcWeb()))


def _set(name: str, value: str) -> mutation_rules_pb2.HeaderMutation:
    mutation = mutation_rules_pb2.HeaderMutation()
    mutation.append.header.key = name
    mutation.append.header.value = value
    mutation.append.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return mutation


def _remove(name: str) -> mutation_rules_pb2.HeaderMutation:
    return mutation_rules_pb2.HeaderMutation(remove=name)


@lru_cache(maxsize=1)
def _keep_valid_trace_context() -> extension_pb2.TypedExtensionConfig:
    """
    Drop a `traceparent` that is not one, before the span is made.

    Envoy makes no span at all for a request whose `traceparent` it cannot read, and lets the header travel on. A
    mutation cannot be conditional, so what is valid is put aside, the header is removed, and what was put aside comes
    back: setting a header to nothing leaves it absent. `tracestate` needs no such care: Envoy writes its own.
    """
    steps = [
        _remove(_KEPT),
        _set(_KEPT, f"%CEL({_VALID_TRACEPARENT} ? {_GIVEN} : '')%"),
        _remove("traceparent"),
        _set("traceparent", f"%REQ({_KEPT})%"),
        _remove(_KEPT),
    ]
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=packed(early_pb2.HeaderMutation(mutations=steps)),
    )


@lru_cache(maxsize=1)
def _forget_orders() -> extension_pb2.TypedExtensionConfig:
    """
    Drop every header by which a client could tell a proxy what to do: how often to try, how long to wait, what to log.

    Envoy drops some of them itself, where it takes a client for one from outside; none of them has any business here.
    """
    orders = mutation_rules_pb2.HeaderMutation()
    orders.remove_on_match.key_matcher.prefix = _ORDERS
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=packed(early_pb2.HeaderMutation(mutations=[orders])),
    )


@lru_cache(maxsize=1)
def _append_client() -> extension_pb2.TypedExtensionConfig:
    """Append the client's address to `x-forwarded-for`: what stands before it came from outside, and proves nothing."""
    mutation = mutation_rules_pb2.HeaderMutation()
    mutation.append.header.key = "x-forwarded-for"
    mutation.append.header.value = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
    mutation.append.append_action = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=packed(early_pb2.HeaderMutation(mutations=[mutation])),
    )


def _manager(
    identity: ir.Identity, settings: Settings, *, direction: str, guard: ir.Guard, filters: tuple[HttpFilter, ...]
) -> HttpConnectionManager:
    noted = access.noted(guard.access, tcp=False)
    manager = HttpConnectionManager(
        codec_type=HttpConnectionManager.AUTO,
        # One prefix per direction: each distinct prefix costs a proxy a hundred counters.
        stat_prefix=direction,
        http_filters=[*filters, _router()],
        access_log=telemetry.access_log(identity, settings, direction=direction, http=True, noted=noted),
        tracing=telemetry.tracing(identity, settings, direction=direction),
    )
    manager.http_protocol_options.accept_http_10 = settings.http10
    manager.normalize_path.value = True
    manager.upgrade_configs.add(upgrade_type="websocket")
    # The request id is the user's word for a request: it is made once and never rewritten to carry a sampling
    # decision; the tracer's sampler decides that.
    request_id = uuid_pb2.UuidRequestIdConfig()
    request_id.pack_trace_reason.value = False
    request_id.use_request_id_for_trace_sampling.value = False
    manager.request_id_extension.typed_config.CopyFrom(packed(request_id))
    return manager


def sidecar_manager(
    identity: ir.Identity,
    settings: Settings,
    *,
    direction: str,
    guard: ir.Guard = ir.UNGUARDED,
    table: str = "",
    inline: route_pb2.RouteConfiguration | None = None,
    grpc_web: bool = False,
) -> HttpConnectionManager:
    """
    Return a manager that is invisible to both ends: it keeps Host, ids, `server` and idle streams as they are.

    Routes come from `table`, or stand `inline` where policy cannot change them. With `grpc_web`, browsers are
    understood, and the function hears gRPC.
    """
    manager = HttpConnectionManager()
    manager.CopyFrom(_invisible(identity, settings, direction, guard, grpc_web, inline is None))
    if inline is None:
        manager.rds.route_config_name = table
        manager.rds.config_source.CopyFrom(over_ads())
    else:
        manager.route_config.CopyFrom(inline)
    return manager


@remembered
def _invisible(
    identity: ir.Identity, settings: Settings, direction: str, guard: ir.Guard, grpc_web: bool, policy: bool
) -> HttpConnectionManager:
    """Return all of a sidecar's manager but its routes: a proxy's listeners have the same, which is to be copied."""
    translating = (_grpc_web(),) if grpc_web else ()
    filters = (*_guarding(guard), *translating, *(_policy_filters() if policy else ()))
    manager = _manager(identity, settings, direction=direction, guard=guard, filters=filters)
    manager.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    manager.use_remote_address.value = False
    # Keeps an id that is there; a request that starts inside the chain gets one too.
    manager.generate_request_id.value = True
    manager.stream_idle_timeout.FromSeconds(0)
    if direction == "inbound":
        # Towards other functions Envoy drops the header, so that what the next sidecar says of its caller stands alone.
        _tell_caller(manager, HttpConnectionManager.APPEND_FORWARD)
    return manager


def gateway_manager(identity: ir.Identity, settings: Settings, *, guard: ir.Guard, table: str) -> HttpConnectionManager:
    """Return a manager that trusts nothing from outside but a well-formed trace context, and names every request."""
    told = identity.reports.sent
    answering = (_answer_with_trace(kept=told.sampled_percent >= 100),) if settings.otlp_cluster and told.spans else ()
    policy = _policy_filters(always=guard.authentication.decides_routes)
    filters = (*answering, *_guarding(guard), *policy)
    manager = _manager(identity, settings, direction="gateway", guard=guard, filters=filters)
    manager.use_remote_address.value = True
    # A client without a certificate proves nothing: then the header is dropped.
    _tell_caller(manager, HttpConnectionManager.SANITIZE_SET)
    manager.xff_num_trusted_hops = 0
    # Envoy would write its own address in the place of a client on the loopback interface.
    manager.skip_xff_append = True
    manager.early_header_mutation_extensions.extend((_forget_orders(), _append_client()))
    manager.generate_request_id.value = True
    manager.always_set_request_id_in_response = True
    if settings.otlp_cluster:
        manager.early_header_mutation_extensions.append(_keep_valid_trace_context())
    manager.rds.route_config_name = table
    manager.rds.config_source.CopyFrom(over_ads())
    return manager


def _tell_caller(manager: HttpConnectionManager, how: HttpConnectionManager.ForwardClientCertDetails) -> None:
    """Let `x-forwarded-client-cert` say who called, as far as mutual TLS has proved it."""
    manager.forward_client_cert_details = how
    manager.set_current_client_cert_details.subject.value = True
    manager.set_current_client_cert_details.uri = True
    manager.set_current_client_cert_details.dns = True
