"""What a proxy is started with."""

import json
import subprocess
import sys

import pytest

from clover.errors import HostError
from clover.mesh.xds import bootstrap
from harness.proxies import SIDECAR


def document(**more):
    sockets = {"xds_socket": "/run/x.sock", "otlp_socket": "/run/o.sock", "admin_socket": "/run/a.sock"}
    return json.loads(bootstrap.bootstrap(SIDECAR, node="http-lb-v1", **sockets, **more))


def test_importing_it_needs_no_protobuf():
    script = "import sys, clover.mesh.xds.bootstrap; print([m for m in sys.modules if 'protobuf' in m or m == 'grpc'])"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


def test_it_says_who_the_proxy_is():
    node = document()["node"]

    assert (node["id"], node["cluster"]) == ("http-lb-v1", "http-lb")
    assert node["metadata"] == {
        "chain": "sdc",
        "namespace": "default",
        "workload": "http-lb-v1",
        "version": "v1",
    }


def test_its_own_connections_are_marked_unless_the_mark_is_0():
    (option,) = document(mark=7)["cluster_manager"]["upstream_bind_config"]["socket_options"]

    assert (option["level"], option["name"], option["int_value"]) == (1, 36, 7)
    assert document(mark=0)["cluster_manager"] == {}


def test_the_command_line_is_a_list_that_names_the_bootstrap():
    line = bootstrap.argv("/opt/envoy", "/run/envoy.json", log_level="info")

    assert line[0] == "/opt/envoy"
    assert line[line.index("--config-path") + 1] == "/run/envoy.json"
    assert line[line.index("--log-level") + 1] == "info"


def test_the_binary_is_found_in_the_environment():
    assert bootstrap.envoy_binary().name == "envoy"


def test_a_missing_binary_is_a_problem_with_its_remedy(monkeypatch):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(HostError) as failure:
        bootstrap.envoy_binary()

    assert failure.value.problems[0].code == "CLV2431"
