"""What is made once for many proxies is what each would have been given alone."""

import dataclasses
from pathlib import Path

import pytest

from clover.mesh.translate import proxies
from harness import policies
from harness.policies import REGISTRY, workload

GOLDEN = Path(__file__).parents[3] / "golden" / "istio"
CASES = sorted(
    path.parent.name
    for path in GOLDEN.glob("*/policy.yaml")
    if not path.parent.name.endswith(("-refused", "-mistakes"))
)
OTHERS = tuple(
    dataclasses.replace(workload(f"{name}-{space}", name, f"10.244.{number}.{place}"), namespace=space)
    for number, space in enumerate(("istio-system", "other"), start=1)
    for place, name in enumerate(("waf", "lb", "server"), start=1)
)
"""Workloads that look at the mesh from elsewhere; services of their own they have none."""
FROM_THREE_NAMESPACES = dataclasses.replace(REGISTRY, workloads=(*REGISTRY.workloads, *OTHERS))
TOLD_APART = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server}
spec:
  hosts: [server]
  http:
  - match: [{sourceNamespace: other}]
    timeout: 1s
    route: [{destination: {host: server}}]
  - match: [{sourceLabels: {app: waf}}]
    timeout: 2s
    route: [{destination: {host: server}}]
  - route: [{destination: {host: server, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec: {host: server, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server, namespace: istio-system}
spec:
  host: server.default.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}]
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cache-for-waf}
spec:
  host: cache
  workloadSelector: {matchLabels: {app: waf}}
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: other}
spec:
  workloadSelector: {labels: {app: lb}}
  egress: [{hosts: ["default/server.default.svc.cluster.local"]}]
"""


def differences(text: str) -> list[str]:
    """Return the proxies that are told something else when others are told beside them."""
    found = policies.applied(text)
    together = proxies.proxies_from(FROM_THREE_NAMESPACES, found)
    alone = {}
    for known in FROM_THREE_NAMESPACES.workloads:
        # The proxy that is asked for comes first: nothing has been made for another by then.
        first = (known, *(other for other in FROM_THREE_NAMESPACES.workloads if other is not known))
        alone[known.name] = proxies.proxies_from(dataclasses.replace(FROM_THREE_NAMESPACES, workloads=first), found)[0]
    # In which order the members of a service come depends on the order of the workloads, and says nothing.
    return [proxy.node for proxy in together if _sorted(proxy) != _sorted(alone[proxy.node])]


def _sorted(proxy):
    groups = tuple(
        dataclasses.replace(group, members=tuple(sorted(group.members, key=lambda member: member.address)))
        for group in proxy.endpoints
    )
    return dataclasses.replace(proxy, endpoints=groups)


@pytest.mark.parametrize("case", CASES)
def test_a_policy_of_the_golden_files_tells_each_proxy_the_same_in_company_and_alone(case):
    assert differences((GOLDEN / case / "policy.yaml").read_text(encoding="utf-8")) == []


def test_namespaces_labels_and_rules_tell_proxies_apart():
    together = {
        proxy.node: proxy for proxy in proxies.proxies_from(FROM_THREE_NAMESPACES, policies.applied(TOLD_APART))
    }
    first = {
        node: [route.timeout_s for route in _routes(together[node])]
        for node in ("waf", "lb-v1", "server-other", "waf-other", "server-istio-system")
    }

    assert differences(TOLD_APART) == []
    assert first == {
        "waf": [2.0],
        "lb-v1": [0.0],
        "server-other": [1.0],
        "waf-other": [1.0],
        "server-istio-system": [0.0],
    }
    assert _routes(together["server-istio-system"])[0].action.hash_policies
    assert not _routes(together["lb-v1"])[0].action.hash_policies


def _routes(proxy):
    return policies.routes(proxy, "server.default.svc.cluster.local:9180")
