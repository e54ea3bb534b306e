"""What `clover get` shows of the Gateway API's resources."""

from clover.cli import get

API = "gateway.networking.k8s.io/v1"


def item(kind, spec, name="web"):
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def shown(*items):
    return [line.plain.split(maxsplit=3) for line in get.lines(items)][1:]


def test_a_gateway_is_shown_with_its_group_its_hosts_and_its_ports():
    listeners = [{"port": 8090, "hostname": "a.com"}, {"port": 8090}, {"port": 8091}]

    assert shown(item("Gateway", {"listeners": listeners})) == [
        ["Gateway.gateway.networking.k8s.io", "web", "default", "a.com, *  ports 8090, 8091"]
    ]


def test_a_route_is_shown_with_its_parents_and_its_first_backends():
    rules = [{"backendRefs": [{"name": "a", "weight": 9}, {"name": "b"}]}, {}]
    spec = {"parentRefs": [{"name": "web"}, {"name": "lb"}], "hostnames": ["a.com"], "rules": rules}

    assert shown(item("HTTPRoute", spec, "r"), item("GRPCRoute", {}, "g")) == [
        ["HTTPRoute", "r", "default", "a.com  web, lb to a 9, b (and 1 more rule)"],
        ["GRPCRoute", "g", "default", "-      no parent to no backend"],
    ]
