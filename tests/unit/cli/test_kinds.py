import pytest

from clover.cli import kinds
from clover.mesh.istio import resources

GATEWAY = "Gateway.gateway.networking.k8s.io"


@pytest.mark.parametrize(
    "word", ["vs", "VS", "virtualservice", "VirtualServices", "virtualservice.networking.istio.io"]
)
def test_a_kind_is_known_by_every_name_that_kubectl_knows(word):
    assert kinds.kind_named(word) == "VirtualService"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("dr", "DestinationRule"),
        ("gw", "Gateway"),
        ("gateway", "Gateway"),
        ("gateways.networking.istio.io", "Gateway"),
        ("gateways.v1.networking.istio.io", "Gateway"),
        ("gtw", GATEWAY),
        ("gateway.gateway.networking.k8s.io", GATEWAY),
        ("gateways.gateway.networking.k8s.io", GATEWAY),
        ("Gateways.v1.gateway.networking.k8s.io", GATEWAY),
        ("se", "ServiceEntry"),
        ("serviceentries", "ServiceEntry"),
        ("we", "WorkloadEntry"),
        ("sidecars", "Sidecar"),
        ("pa", "PeerAuthentication"),
        ("ap", "AuthorizationPolicy"),
        ("authorizationpolicies.security.istio.io", "AuthorizationPolicy"),
        ("ra", "RequestAuthentication"),
        ("telemetries", "Telemetry"),
        ("httproute", "HTTPRoute"),
        ("HTTPRoutes", "HTTPRoute"),
        ("grpcroutes", "GRPCRoute"),
        ("refgrant", "ReferenceGrant"),
    ],
)
def test_short_names_plurals_and_groups_mean_the_kind_that_they_mean_to_kubectl(word, kind):
    assert kinds.kind_named(word) == kind


@pytest.mark.parametrize("kind", resources.KINDS)
def test_every_kind_is_known_by_its_own_name_and_by_that_with_its_group(kind):
    model = resources.KINDS[kind]
    group, plural, short = kinds.KINDS[kind]

    assert group == model.api_versions[0].partition("/")[0]
    assert kinds.kind_named(kind) == kinds.kind_named(f"{plural}.{group}") == kinds.kind_named(short) == kind


def test_a_kind_that_the_client_does_not_know_is_left_to_the_node():
    assert kinds.resource_named("EnvoyFilter/x") == ("EnvoyFilter", "x")
    assert kinds.kind_named("gateways.example.com") == "gateways.example.com"


def test_a_kind_is_shown_with_its_group_where_another_has_its_name():
    assert kinds.shown("Gateway", "gateway.networking.k8s.io/v1") == GATEWAY
    assert kinds.shown("Gateway", "networking.istio.io/v1") == "Gateway"
    assert kinds.shown("HTTPRoute", "gateway.networking.k8s.io/v1") == "HTTPRoute"
