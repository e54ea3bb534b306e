from dataclasses import replace

from clover.kit import documents
from clover.mesh.istio import from_chain, parse, render, resources, validate
from clover.mesh.istio.registry import Workload
from clover.spec import load
from harness import policies

OPEN = "  mesh: {authorization: none}\n"
WIRED = policies.CHAIN.replace(OPEN, "")


def rendered(chain):
    return {resources.key(resource): render.render(resource)["spec"] for resource in from_chain.resources_from(chain)}


def test_a_chain_means_a_gateway_its_entrance_subsets_for_versions_and_mirrors():
    shadow = {"host": "shadow", "port": {"number": 9180}}
    to_waf = {"route": [{"destination": {"host": "waf", "port": {"number": 9180}}}], "mirror": shadow}

    found = {name: spec for name, spec in rendered(policies.sample_chain()).items() if "Auth" not in name}

    assert found == {
        "Gateway/default/sdc-gateway": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "hosts": ["*"]}],
        },
        "VirtualService/default/sdc": {"hosts": ["*"], "gateways": ["sdc-gateway"], "http": [to_waf]},
        "DestinationRule/default/lb": {
            "host": "lb",
            "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {"name": "v2", "labels": {"version": "v2"}},
            ],
        },
        # What is said to the ambassador is not copied: it comes in on another port.
        "VirtualService/default/waf": {
            "hosts": ["waf"],
            "http": [{"match": [{"port": 9180}], **to_waf}, {"route": [{"destination": {"host": "waf"}}]}],
        },
    }


def may_call(port, *functions, **more):
    principals = [f"cluster.local/ns/default/sa/{function}" for function in functions]
    return {
        "from": [{"source": {"principals": principals}}],
        "to": [{"operation": {"ports": [str(port)], **more}}],
    }


def test_a_function_may_be_called_by_those_before_it_and_its_ambassador_by_the_control_agent():
    found = rendered(load.parse(WIRED, "chain.yaml"))

    rules = {name: spec["rules"] for name, spec in found.items() if name.startswith("AuthorizationPolicy/")}
    agent = may_call(50054, "control-agent")
    assert rules == {
        "AuthorizationPolicy/default/waf": [may_call(9180, "gateway"), agent],
        "AuthorizationPolicy/default/lb": [may_call(9180, "waf"), agent],
        "AuthorizationPolicy/default/cache": [may_call(9180, "lb"), agent],
        "AuthorizationPolicy/default/server": [may_call(9180, "lb", "cache"), agent],
        # Copies of what the gateway sends to the firewall.
        "AuthorizationPolicy/default/shadow": [may_call(9180, "gateway"), agent],
    }
    assert found["AuthorizationPolicy/default/lb"]["selector"] == {"matchLabels": {"app": "lb"}}
    assert found["PeerAuthentication/default/default"] == {"mtls": {"mode": "STRICT"}}


def test_an_ids_may_report_to_the_firewall_that_it_watches_for_and_nothing_else():
    chain = load.parse(WIRED.replace("shadow: {type: server}", "shadow: {type: ids}"), "chain.yaml")

    assert rendered(chain)["AuthorizationPolicy/default/waf"]["rules"][-1] == may_call(
        50054, "shadow", paths=["/clover.control.v1.Ambassador/ReportAlerts"]
    )


def test_an_authorizer_of_the_mesh_may_be_asked_by_every_workload():
    provider = "{name: mine, envoyExtAuthzHttp: {service: %s, port: 9180}}"
    mesh = f"  mesh: {{config: {{extensionProviders: [{provider}]}}}}\n"
    for service in ("server", "server.default", "default/server.default.svc.cluster.local"):
        found = rendered(load.parse(policies.CHAIN.replace(OPEN, mesh % service), "chain.yaml"))

        assert found["AuthorizationPolicy/default/server"]["rules"][0] == may_call(9180, "*")
        assert found["AuthorizationPolicy/default/lb"]["rules"][0] == may_call(9180, "waf")


def test_a_chain_may_leave_open_who_calls_whom():
    mesh = "  mesh: {mtls: PERMISSIVE, authorization: none}\n"
    found = rendered(load.parse(policies.CHAIN.replace(OPEN, mesh), "chain.yaml"))

    assert not [name for name in found if name.startswith("AuthorizationPolicy/")]
    assert found["PeerAuthentication/default/default"] == {"mtls": {"mode": "PERMISSIVE"}}


def test_an_address_other_than_loopback_is_said_in_the_gateway():
    chain = load.parse(policies.CHAIN.replace("{port: 8080,", "{port: 8080, address: 0.0.0.0,"), "chain.yaml")

    (server,) = rendered(chain)["Gateway/default/sdc-gateway"]["servers"]

    assert server["bind"] == "0.0.0.0"


def test_a_mirrored_function_named_as_the_chain_does_not_lose_its_mirror():
    chain = load.parse(policies.CHAIN.replace("{name: sdc}", "{name: waf}"), "chain.yaml")

    assert {"VirtualService/default/waf", "VirtualService/default/waf-gateway"} <= set(rendered(chain))


def test_a_service_has_a_data_port_whose_protocol_is_recognised_and_a_control_port_for_grpc():
    service = from_chain.services_from(policies.sample_chain())[1]

    assert service == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "lb", "namespace": "default", "labels": {"app": "lb"}},
        "spec": {
            "selector": {"app": "lb"},
            "ports": [
                {"name": "data", "port": 9180, "protocol": "TCP"},
                {"name": "grpc-control", "port": 50054, "protocol": "TCP"},
            ],
        },
    }


def test_each_of_several_versions_has_a_service_of_its_own():
    services = {entry["metadata"]["name"]: entry["spec"] for entry in from_chain.services_from(policies.sample_chain())}

    assert services["lb-v2"] == {
        "selector": {"app": "lb", "version": "v2"},
        "ports": [
            {"name": "data", "port": 9180, "protocol": "TCP"},
            {"name": "grpc-control", "port": 50054, "protocol": "TCP"},
        ],
    }
    assert "waf-v1" not in services


def test_what_a_chain_means_is_sound_and_is_read_back_as_it_is():
    found = policies.chain_resources()
    agent = Workload(
        name="control-agent", service="", namespace="default", address="10.244.0.9", labels={"app": "control-agent"}
    )
    registry = replace(policies.REGISTRY, workloads=(*policies.REGISTRY.workloads, agent))
    text = render.render_yaml(map(render.render, found))

    assert validate.check(registry, found) == ()
    assert parse.parse(documents.parse(text, "rendered.yaml")) == found
