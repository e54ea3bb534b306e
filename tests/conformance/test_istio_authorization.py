"""
Istio's own cases of authorization: the same policies become the same Envoy filters, field by field.

`authorization.txt` lists the cases that do. One that is in the list and fails is a regression; one that is not and
passes belongs into it.
"""

from pathlib import Path

import pytest
import yaml
from envoy.config.listener.v3.listener_components_pb2 import Filter
from google.protobuf import json_format

from clover.kit import documents
from clover.mesh.istio import parse
from clover.mesh.istio.policies import policies_from
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.translate.access import AccessTable
from clover.mesh.xds import access
from clover.spec.mesh_config import MeshConfig

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "conformance" / "istio" / "authorization"
PASSING = frozenset(
    line.split("#")[0].strip()
    for line in (Path(__file__).parent / "authorization.txt").read_text(encoding="utf-8").splitlines()
    if line.split("#")[0].strip()
)

_HOST = "my-custom-ext-authz.foo.svc.cluster.local"
_GRPC = {
    "name": "default",
    "envoyExtAuthzGrpc": {"service": _HOST, "port": 9000, "failOpen": True, "statusOnError": "403"},
}
_GRPC_FOO = {
    "name": "default",
    "envoyExtAuthzGrpc": {
        **_GRPC["envoyExtAuthzGrpc"],
        "service": f"foo/{_HOST}",
        "timeout": 0.002,
        "includeRequestBodyInCheck": {"maxRequestBytes": 4096, "allowPartialMessage": True},
    },
}
_HTTP = {
    "name": "default",
    "envoyExtAuthzHttp": {
        "service": f"foo/{_HOST}",
        "port": 9000,
        "timeout": 10.0,
        "failOpen": True,
        "statusOnError": "403",
        "pathPrefix": "/check",
        "includeRequestHeadersInCheck": ["x-custom-id", "x-prefix-*", "*-suffix"],
        "includeAdditionalHeadersInCheck": {"x-header-1": "value-1", "x-header-2": "value-2"},
        "includeRequestBodyInCheck": {"maxRequestBytes": 2048, "allowPartialMessage": True, "packAsBytes": True},
        "headersToUpstreamOnAllow": ["Authorization", "x-prefix-*", "*-suffix"],
        "headersToDownstreamOnDeny": ["Set-cookie", "x-prefix-*", "*-suffix"],
        "headersToDownstreamOnAllow": ["Set-cookie", "x-prefix-*", "*-suffix"],
    },
}
_NOBODY = {"name": "default", "envoyExtAuthzHttp": {"service": "foo/nobody", "port": 9000}}
"""Istio's broken provider has a port and a status that our models refuse: a service that is not there is as good."""

SETTINGS = {
    "http/custom-grpc-provider-no-namespace": ("custom-simple-http", {"extensionProviders": [_GRPC]}),
    "http/custom-grpc-provider": ("custom-simple-http", {"extensionProviders": [_GRPC_FOO]}),
    "http/custom-http-provider": ("custom-simple-http", {"extensionProviders": [_HTTP]}),
    "http/custom-bad": ("custom-simple-http", {"extensionProviders": [_NOBODY]}),
    "http/custom-bad-multiple-providers": ("custom-bad-multiple-providers", {"extensionProviders": [_HTTP]}),
    "http/simple-policy-td-aliases": (None, {"trustDomain": "td1", "trustDomainAliases": ["cluster.local"]}),
    "http/simple-policy-multiple-td-aliases": (
        None,
        {"trustDomain": "td1", "trustDomainAliases": ["cluster.local", "some-td"]},
    ),
    "http/simple-policy-principal-with-wildcard": (None, {"trustDomain": "td1", "trustDomainAliases": ["foobar"]}),
    "http/td-aliases-source-principal": (
        None,
        {"trustDomain": "new-td", "trustDomainAliases": ["old-td", "some-trustdomain"]},
    ),
    "tcp/custom-both-http-tcp": (None, {"extensionProviders": [_GRPC_FOO]}),
    "tcp/custom-only-http": (None, {"extensionProviders": [_HTTP]}),
}
"""By case, as in Istio's test: the policies' file where it has another name, and the mesh's configuration."""

WORKLOAD = Workload(
    name="test-node",
    service="httpbin",
    namespace="foo",
    address="10.0.0.1",
    labels={"app": "httpbin", "version": "v1"},
)


def _cases():
    found = (path.relative_to(DATA).as_posix() for path in DATA.glob("*/*.yaml"))
    wanted = {name.rpartition("-out")[0] for name in found if "-out" in name}
    return sorted({*wanted, "tcp/custom-only-http"}) if DATA.exists() else []


def _expected(case):
    paths = sorted(DATA.glob(f"{case}-out.yaml")) + sorted(DATA.glob(f"{case}-out[0-9].yaml"))
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]


def _got(case):
    """Return the filters of a case as plain data."""
    kind, name = case.split("/")
    source, config = SETTINGS.get(case, (None, {}))
    registry = Registry(
        chain="test",
        services=(
            Service(name="my-custom-ext-authz", namespace="foo", address="10.1.0.1", ports=(ServicePort(number=9000),)),
        ),
        workloads=(WORKLOAD,),
        config=MeshConfig.model_validate(config),
    )
    text = (DATA / kind / f"{source or name}-in.yaml").read_text(encoding="utf-8")
    policies = policies_from(parse.parse(documents.parse(text, f"{case}.yaml")))
    found = AccessTable(registry, policies).of(WORKLOAD)
    if kind == "tcp":
        return [json_format.MessageToDict(one) for one in access.tcp_filters(found)]
    custom, rest = access.http_filters(found)
    return [json_format.MessageToDict(one) for one in (*custom, *rest)]


def _same(got, expected):
    """Compare after the expected text has been read as what it is, so that numbers and spellings are alike."""
    if len(got) != len(expected):
        return False
    return all(_normal(one) == _normal(other) for one, other in zip(got, expected, strict=True))


def _normal(filter_):
    return json_format.MessageToDict(json_format.ParseDict(filter_, Filter()))


@pytest.mark.skipif(not DATA.exists(), reason="shared/conformance/istio/authorization is not there")
@pytest.mark.parametrize("case", _cases())
def test_istios_policies_become_istios_filters(case):
    got, expected = _got(case), _expected(case)

    if case in PASSING:
        assert [_normal(one) for one in got] == [_normal(one) for one in expected]
    else:
        assert not _same(got, expected), f"{case} passes: add it to authorization.txt"


@pytest.mark.skipif(not DATA.exists(), reason="shared/conformance/istio/authorization is not there")
def test_every_case_of_the_list_exists():
    assert set(_cases()) >= PASSING
