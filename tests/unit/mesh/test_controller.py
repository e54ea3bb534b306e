"""What the controller says about resources that are not there."""

import pytest

from clover.errors import DocumentError
from clover.mesh.controller import Controller
from clover.mesh.server import Server
from clover.mesh.xds.settings import Settings
from harness import policies


def controller() -> Controller:
    async def publish(_):
        pass

    return Controller(
        registry=policies.REGISTRY,
        resources=policies.chain_resources(),
        server=Server(),
        settings=Settings(),
        publish=publish,
    )


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "hint"),
    [
        ("VirtualService", "default", "sdcc", "did you mean virtualservice/sdc?"),
        ("VirtualService", "other", "sdc", "did you mean virtualservice/sdc -n default?"),
        ("Gateway", "default", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "clover get lists what there is"),
        ("VirtualServise", "default", "sdc", "did you mean 'VirtualService'?"),
    ],
)
def test_a_resource_that_is_not_there_is_answered_with_the_nearest_in_words_that_can_be_typed(
    kind, namespace, name, hint
):
    assert controller().unknown(kind, namespace, name).hint == hint


async def test_a_kind_that_the_mesh_does_not_have_is_called_so():
    with pytest.raises(DocumentError, match="the kind 'Foo' is not supported by Clover, which has VirtualService"):
        await controller().delete("Foo", "default", "x")
