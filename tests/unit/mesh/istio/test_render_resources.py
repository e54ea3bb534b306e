import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from clover.errors import DocumentError
from clover.kit import documents
from clover.mesh.istio import parse, render
from harness import policies, random_policies
from harness.policies import destination_rule, virtual_service


def test_a_resource_is_rendered_as_it_was_written():
    text = virtual_service("[{timeout: 1m30s, route: [{destination: {host: lb, port: {number: 9180}}, weight: 0}]}]")
    (resource,) = policies.read(text)

    assert render.render(resource) == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "lb", "namespace": "default"},
        "spec": {
            "hosts": ["lb"],
            "http": [
                {
                    "timeout": "90s",
                    "route": [{"destination": {"host": "lb", "port": {"number": 9180}}, "weight": 0}],
                }
            ],
        },
    }


def test_names_that_python_cannot_have_are_rendered_as_istio_has_them():
    body = virtual_service("[{directResponse: {status: 200, body: {bytes: aGk=}}}]")
    errors = destination_rule("trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}")

    rendered = [render.render(resource)["spec"] for resource in policies.read(f"{body}---\n{errors}")]

    assert rendered[0]["http"][0]["directResponse"]["body"] == {"bytes": "aGk="}
    assert rendered[1]["trafficPolicy"]["outlierDetection"] == {"consecutive5xxErrors": 3}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(random_policies.SOUND | random_policies.ODD)
def test_whatever_is_read_is_read_again_from_what_is_rendered(written):
    try:
        found = policies.read(yaml.safe_dump_all(written))
    except DocumentError:
        assume(False)

    text = render.render_yaml(render.render(resource) for resource in found)

    assert parse.parse(documents.parse(text, "rendered.yaml")) == found


@pytest.mark.parametrize(
    "value", ["yes", "007", "1e3", "null", "a: b", "# a", "\x85", "é", "\u2028", "{", "", " a ", "1:30"]
)
def test_text_that_yaml_could_misread_is_read_back_as_it_is(value):
    text = render.render_yaml([{"value": value}])

    assert [document.data for document in documents.parse(text, "rendered.yaml")] == [{"value": value}]
