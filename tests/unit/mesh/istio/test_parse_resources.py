import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import DocumentError
from clover.kit import documents
from clover.mesh.istio import parse, resources
from harness import policies, random_policies
from harness.policies import destination_rule, virtual_service


def refused(text):
    with pytest.raises(DocumentError) as caught:
        policies.read(text)
    return caught.value.problems


def problems(text):
    """Return why a document is refused, or nothing."""
    try:
        policies.read(text)
    except DocumentError as error:
        return error.problems
    return ()


def test_a_field_of_istio_that_clover_does_not_carry_out_is_refused_by_name():
    (problem,) = refused(virtual_service("[{retries: {retryRemoteLocalities: true}}]"))

    assert str(problem) == (
        "policy.yaml:7:21: error: VirtualService default/lb: "
        "field 'spec.http[0].retries.retryRemoteLocalities' is not supported by Clover [CLV4103]"
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (
            virtual_service(
                "[]", more="tcp: [{route: [{destination: {host: x}}], match: [{sourceSubnet: '1.2.3.4'}]}]"
            ),
            "spec.tcp[0].match[0].sourceSubnet",
        ),
        (virtual_service("[{retries: {retryRemoteLocalities: true}}]"), "spec.http[0].retries.retryRemoteLocalities"),
        (
            virtual_service("[{fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s}}}]"),
            "spec.http[0].fault.delay.exponentialDelay",
        ),
        (virtual_service("[{fault: {abort: {http2Error: x}}}]"), "spec.http[0].fault.abort.http2Error"),
        (destination_rule("trafficPolicy: {tunnel: {targetHost: a}}"), "spec.trafficPolicy.tunnel"),
        (
            destination_rule("trafficPolicy: {retryBudget: {budgetInterval: 1s}}"),
            "spec.trafficPolicy.retryBudget.budgetInterval",
        ),
        (
            destination_rule("trafficPolicy: {portLevelSettings: [{port: {number: 1}, tls: {caCrl: x}}]}"),
            "spec.trafficPolicy.portLevelSettings[0].tls.caCrl",
        ),
        (
            destination_rule("subsets: [{name: a, trafficPolicy: {loadBalancer: {localityLbSetting: {}}}}]"),
            "spec.subsets[0].trafficPolicy.loadBalancer.localityLbSetting",
        ),
    ],
)
def test_every_known_field_is_refused_wherever_it_stands(text, field):
    (problem,) = refused(text)

    assert (problem.code, f"field {field!r} is not supported by Clover" in problem.what) == ("CLV4103", True)


def test_a_misspelt_field_is_reported_with_the_nearest_name():
    (problem,) = refused(virtual_service("[{route: [{destination: {host: lb}, wieght: 5}]}]"))

    assert str(problem) == (
        "policy.yaml:7:45: error: VirtualService default/lb: "
        "field 'spec.http[0].route[0].wieght' is unknown [CLV4102, IST0106]\n"
        "    hint: did you mean 'weight'?"
    )


def test_python_names_of_fields_are_unknown_in_documents():
    (problem,) = refused(virtual_service("[{direct_response: {status: 200}}]"))

    assert problem.hint == "did you mean 'directResponse'?"


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("{timeout: 5}", "field 'spec.http[0].timeout': 5 has no unit, expected a duration such as '5s'"),
        ("{timeout: 0s}", "field 'spec.http[0].timeout': '0s' is shorter than '1ms', the shortest that Istio accepts"),
        ("{name: 5}", "field 'spec.http[0].name': 5 is a number, expected text"),
        ("{route: {}}", "field 'spec.http[0].route': there is a mapping, expected a list"),
        ("{match: [[]]}", "field 'spec.http[0].match[0]': there is a list, expected a mapping"),
        (
            "{route: [{destination: {host: lb}, weight: '50'}]}",
            "field 'spec.http[0].route[0].weight': '50' is text, expected a whole number",
        ),
        ("{route: [{destination: {host: lb}, weight: -1}]}", "field 'spec.http[0].route[0].weight': -1 is less than 0"),
        ("{mirrorPercentage: {value: 50}}", "field 'spec.http[0]': 'mirrorPercentage' is set without 'mirror'"),
        (
            "{mirror: {host: lb}, mirrorPercentage: {value: 100.5}}",
            "field 'spec.http[0].mirrorPercentage.value': 100.5 is more than 100",
        ),
        ("{directResponse: {status: 199}}", "field 'spec.http[0].directResponse.status': 199 is less than 200"),
        (
            "{directResponse: {status: 200, body: {bytes: '?'}}}",
            "field 'spec.http[0].directResponse.body.bytes': the value is not base64",
        ),
        (
            "{redirect: {redirectCode: 305}}",
            "field 'spec.http[0].redirect.redirectCode': 305 is not one of 301, 302, 303, 307 or 308",
        ),
        (
            "{match: [{uri: {}}]}",
            "field 'spec.http[0].match[0].uri': nothing is set, expected one of 'exact', 'prefix', 'regex'",
        ),
        (
            "{fault: {abort: {grpcStatus: '14'}}}",
            "field 'spec.http[0].fault.abort.grpcStatus': '14' is not the name of a gRPC status such as 'UNAVAILABLE'",
        ),
        ("{rewrite: {}}", "field 'spec.http[0].rewrite': nothing is rewritten"),
        ("{retries: {attempts: true}}", "field 'spec.http[0].retries.attempts': True is a boolean"),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(rule, what):
    (problem,) = refused(virtual_service(f"[{rule}]"))

    assert (problem.code, problem.what.removeprefix("VirtualService default/lb: ").startswith(what)) == (
        "CLV4104",
        True,
    ), problem.what


def test_a_list_that_is_too_long_is_told_with_how_long_it_may_be():
    rules = ", ".join(["{}"] * 600)
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\n"
    text = f"{head}spec: {{rules: [{rules}]}}"

    (problem,) = refused(text)

    assert problem.what.endswith("field 'spec.rules': it has 600 items, expected 512 at most")


def test_all_problems_of_all_documents_come_at_once_in_the_order_of_the_lines():
    text = virtual_service("[{timeout: 5, htp: 1}]", more="tpc: []") + "---\n" + destination_rule("hosts: x")

    assert [problem.where for problem in refused(text)] == [
        "policy.yaml:7:20",
        "policy.yaml:7:23",
        "policy.yaml:8:3",
        "policy.yaml:14:22",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("kind: Service\napiVersion: v1", "the kind 'Service' is not supported by Clover, which reads VirtualService"),
        ("kind: VirtualServices\napiVersion: v1", "the kind 'VirtualServices' is not supported by Clover"),
        ("kind: VirtualService\napiVersion: v1", "apiVersion is 'v1', expected 'networking.istio.io/v1'"),
        ("kind: VirtualService", "the document has no 'apiVersion'"),
        ("apiVersion: v1", "the document has no 'kind'"),
        ("kind: []\napiVersion: v1", "'kind' is a list, expected text"),
    ],
)
def test_what_is_no_resource_that_clover_reads_is_said_with_those_that_it_does(text, what):
    (problem,) = refused(text)

    assert (problem.code, what in problem.what) == ("CLV4101", True)


def test_a_gateway_of_kubernetes_is_told_from_one_of_istio():
    kinds = ("networking.istio.io/v1", "gateway.networking.k8s.io/v1")

    assert [resources.model_of("Gateway", version) for version in kinds] == [
        resources.Gateway,
        resources.KubernetesGateway,
    ]


@pytest.mark.parametrize("version", resources.DestinationRule.api_versions)
def test_all_versions_of_istios_api_are_read(version):
    (resource,) = policies.read(destination_rule("").replace("networking.istio.io/v1", version))

    assert resource.api_version == version


def test_a_resource_belongs_to_the_namespace_it_names_or_to_the_chains():
    text = (
        destination_rule("") + "---\n" + destination_rule("").replace("{name: server}", "{name: b, namespace: other}")
    )

    found = parse.parse(documents.parse(text, "policy.yaml"), namespace="edge")

    assert [resources.key(resource) for resource in found] == ["DestinationRule/edge/server", "DestinationRule/other/b"]


def test_a_resource_that_is_written_twice_is_reported_at_the_second():
    (problem,) = refused(destination_rule("") + "---\n" + destination_rule(""))

    assert str(problem) == (
        "policy.yaml:10:18: error: 'DestinationRule/default/server' is written twice; "
        "it is first written at policy.yaml:4:18 [CLV4106]"
    )


def test_what_can_be_read_is_read_beside_what_cannot():
    text = destination_rule("") + "---\n" + virtual_service("[{timeout: 5}]")

    parsed, found = parse.inspect(documents.parse(text, "policy.yaml"))

    assert [resources.key(resource) for resource in parsed.resources] == ["DestinationRule/default/server"]
    assert [problem.code for problem in found] == ["CLV4104"]


def test_what_the_api_server_adds_to_a_resource_is_read_over():
    text = destination_rule("").replace(
        "metadata: {name: server}",
        "metadata: {name: server, uid: a, resourceVersion: '7', generation: 2, creationTimestamp: x}",
    )

    assert policies.read(text + "status: {}\n") == policies.read(destination_rule(""))


@settings(max_examples=30, deadline=None)
@given(random_policies.ODD)
def test_random_policies_are_read_or_refused_with_a_place(written):
    found = problems(yaml.safe_dump_all(written))

    assert all(problem.where.startswith("policy.yaml:") and problem.what for problem in found)


FIELDS = st.sampled_from(
    [
        "hosts",
        "http",
        "match",
        "route",
        "destination",
        "host",
        "headers",
        "set",
        "subsets",
        "name",
        "[key]",
        "port",
        "bytes",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(resources.KINDS)), JSON, JSON)
def test_no_document_at_all_ends_in_a_traceback(kind, metadata, spec):
    written = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
    assert all(problem.what for problem in problems(yaml.safe_dump(written)))
