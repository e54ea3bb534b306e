"""`clover check` on files and folders of Istio's and Kubernetes' documents."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from clover.cli.main import main

CHAIN = """\
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: edge}
spec:
  gateway: {to: web}
  functions:
    web: {type: server}
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: %s}}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, name: http}]}
"""
SUBSETS = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {labels: {app: web, version: v2}}}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> None:
        for name, text in texts.items():
            path = Path(name.replace("__", "/") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def checked(capsys, *arguments: str) -> tuple[int, list[tuple[str, str, str]]]:
    """Return the exit code, and code, severity and place of each problem."""
    code = main(["check", "--json", *arguments])
    answer = json.loads(capsys.readouterr().out)
    problems = [problem for file in answer["files"] for problem in file["problems"]]
    return code, [(problem["code"], problem["severity"], problem["where"]) for problem in problems]


def test_a_folder_is_checked_with_all_that_is_below_it(capsys, write):
    write(a=SERVICE, b__c=ROUTE % "wbe", b__d=ROUTE.replace("name: web", "name: other") % "web")

    assert main(["check", "."]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == (
        "b/c.yaml:7:34: error: VirtualService default/web: field 'spec.http[0].route[0].destination.host': "
        "there is no service 'wbe' in the mesh [CLV4201, IST0101]"
    )
    assert err.splitlines()[-1] == "3 files: 2 resources, 1 object of Kubernetes, 2 errors"


def test_what_is_sound_is_summed_up_on_one_line(capsys, write):
    write(a=f"{SERVICE}---\n{ROUTE % 'web'}", b="apiVersion: v1\nkind: ConfigMap\n", c="not: ours\n")

    assert main(["check", "."]) == 0

    assert capsys.readouterr() == (
        "ok: 3 files: 1 resource, 1 object of Kubernetes, 2 documents of other kinds skipped\n",
        "",
    )


def test_policies_beside_a_chain_are_checked_against_its_mesh(capsys, write):
    write(one__chain=CHAIN, one__policies__route=ROUTE % "api", two__chain=CHAIN.replace("web", "api"))

    assert checked(capsys, "one", "two") == (2, [("CLV4201", "error", "one/policies/route.yaml:7:34")])


@pytest.mark.parametrize("label", ["istio: ingressgateway", "app: istio-ingressgateway"])
def test_what_is_for_istios_own_gateway_may_choose_it_by_either_label(capsys, write, label):
    edge = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{selector: {{{label}}}, servers: [{{port: {{number: 80, name: a, protocol: HTTP}}, hosts: [a.com]}}]}}
"""
    guard = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard}
spec: {selector: {matchLabels: {app: istio-ingressgateway}}, rules: [{}]}
"""
    write(edge=edge, guard=guard)

    assert checked(capsys, ".") == (0, [])


def test_the_only_chain_is_the_mesh_of_everything(capsys, write):
    write(chains__edge=CHAIN, policies__route=ROUTE % "api")

    assert checked(capsys, "policies", "chains") == (2, [("CLV4201", "error", "policies/route.yaml:7:34")])


def test_what_a_policy_does_to_the_chains_own_resources_is_told_with_the_chain(capsys, write):
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge-gateway}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.com]}]}
"""
    write(chain=CHAIN.replace("gateway: {", "gateway: {port: 80, "), gateway=gateway)
    assert checked(capsys, ".") == (0, [])

    write(gateway=gateway.replace("hosts: [a.com]", "hosts: [elsewhere/a.com]"))
    assert checked(capsys, ".") == (0, [("CLV4208", "warning", "VirtualService/default/edge")])


def test_resources_beside_a_broken_chain_are_still_read(capsys, write):
    write(chain=CHAIN.replace("to: web", "to: nobody"), route=ROUTE.replace("hosts", "host") % "x")

    code, problems = checked(capsys, ".")

    assert code == 2
    assert [found[0] for found in problems] == ["CLV1204", "CLV4102"]


def test_without_services_unknown_hosts_are_one_warning(capsys, write):
    write(route=ROUTE % "api")

    assert checked(capsys, ".") == (0, [("CLV4111", "warning", "route.yaml:5:11")])


def test_a_namespace_without_services_may_have_some(capsys, write):
    write(web=SERVICE, route=ROUTE % "api.shop.svc.cluster.local")

    assert checked(capsys, ".") == (0, [("CLV4111", "warning", "route.yaml:7:34")])


def test_strictly_a_warning_fails(capsys, write):
    write(route=ROUTE % "api")

    assert checked(capsys, "--strict", ".")[0] == 2


def test_a_subset_is_compared_with_pods_when_there_are_any(capsys, write):
    write(web=SERVICE, subsets=SUBSETS)
    assert checked(capsys, ".") == (0, [])

    write(pods=DEPLOYMENT)
    assert checked(capsys, ".") == (0, [("CLV4204", "warning", "subsets.yaml:4:48")])


def test_a_list_is_read_as_its_items(capsys, write):
    items = "".join(f"- {line}\n" if line.startswith("api") else f"  {line}\n" for line in SUBSETS.splitlines())
    write(all=f"apiVersion: v1\nkind: List\nitems:\n{items.replace('host: web', 'hots: web')}")

    assert checked(capsys, ".") == (2, [("CLV4105", "error", "all.yaml:7:9"), ("CLV4102", "error", "all.yaml:7:10")])


def test_a_port_whose_name_says_no_protocol_is_a_warning(capsys, write):
    write(web=SERVICE.replace("name: http", "name: web"), udp=SERVICE.replace("80, name: http", "53, protocol: UDP"))

    assert checked(capsys, ".") == (0, [("CLV4112", "warning", "web.yaml:4:55")])


def test_services_of_one_pod_that_disagree_are_a_warning(capsys, write):
    other = SERVICE.replace("name: web}", "name: other}").replace("port: 80", "port: 8080, targetPort: 80")
    write(a=SERVICE, b=other, c=DEPLOYMENT)

    assert checked(capsys, ".") == (0, [("CLV4113", "warning", "c.yaml:3:18")])


def test_an_object_that_kubernetes_would_refuse_is_an_error(capsys, write):
    write(web=SERVICE.replace("port: 80", "port: http"))

    assert checked(capsys, ".") == (2, [("CLV4110", "error", "web.yaml:4:45")])


def test_standard_input_is_a_file(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{SERVICE}---\n{ROUTE % 'api'}".encode())))

    assert checked(capsys, "-") == (2, [("CLV4201", "error", "stdin:12:34")])


def test_links_in_a_circle_and_pipes_do_not_stop_it(capsys, write, tmp_path):
    write(a__web=SERVICE)
    (tmp_path / "a" / "back").symlink_to("..")
    (tmp_path / "a" / "lost.yaml").symlink_to("nowhere")
    (tmp_path / "a" / "self.yaml").symlink_to("self.yaml")
    (tmp_path / "a" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "a" / "pipe.yaml")

    assert checked(capsys, ".") == (2, [("CLV1001", "error", f"a/{link}.yaml") for link in ("lost", "self")])


def test_a_folder_without_yaml_is_told(capsys, write, tmp_path):
    assert checked(capsys, str(tmp_path)) == (2, [("CLV5207", "error", str(tmp_path))])


def test_a_kind_that_clover_refuses_is_an_error(capsys, write):
    write(a="apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\nspec: {}\n")

    assert checked(capsys, ".") == (2, [("CLV4280", "error", "a.yaml:2:7")])


def test_a_port_of_a_gateway_that_no_service_has_is_a_warning(capsys, write):
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {app: web}
  servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ["*"]},
            {port: {number: 81, name: b, protocol: HTTP}, hosts: ["*"]}]
"""
    write(a=f"{SERVICE}---\n{DEPLOYMENT}", b=gateway)

    assert checked(capsys, ".") == (0, [("CLV4119", "warning", "b.yaml:8:29")])


def test_what_selectors_choose_is_not_asked_where_no_pods_are_known(capsys, write):
    policy = """
apiVersion: security.istio.io/v1
kind: %s
metadata: {name: x}
spec: {selector: {matchLabels: {app: nobody}}}
"""
    write(**{kind.lower(): policy % kind for kind in ("AuthorizationPolicy", "PeerAuthentication")})

    assert checked(capsys, ".") == (0, [])
