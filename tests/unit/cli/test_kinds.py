import pytest

from clover.cli import kinds


@pytest.mark.parametrize(
    "word", ["vs", "VS", "virtualservice", "VirtualServices", "virtualservice.networking.istio.io"]
)
def test_a_kind_is_known_by_every_name_that_kubectl_knows(word):
    assert kinds.kind_named(word) == "VirtualService"


def test_a_kind_that_the_client_does_not_know_is_left_to_the_node():
    assert kinds.resource_named("EnvoyFilter/x") == ("EnvoyFilter", "x")
