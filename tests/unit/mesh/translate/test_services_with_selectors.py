"""Services that choose their workloads by labels, as those of ambassadors do."""

from clover.mesh import ir
from clover.mesh.istio.registry import Registry, Service, ServicePort, Workload
from clover.mesh.translate import proxies_from

CONTROL = ServicePort(number=50054, name="grpc-control")


def _workload(version: str, address: str) -> Workload:
    labels = {"app": "lb", "version": version}
    return Workload(name=f"lb-{version}", service="lb", namespace="default", address=address, labels=labels)


REGISTRY = Registry(
    chain="sdc",
    services=(
        Service(
            name="lb", namespace="default", address="10.96.0.2", ports=(ServicePort(number=9180, name="data"), CONTROL)
        ),
        Service(
            name="lb-v2",
            namespace="default",
            address="10.96.0.3",
            ports=(CONTROL,),
            selector={"app": "lb", "version": "v2"},
        ),
    ),
    workloads=(
        _workload("v1", "10.244.0.2"),
        _workload("v2", "10.244.0.3"),
        Workload(name="agent", service="", namespace="default", address="10.244.0.4", labels={"app": "agent"}),
    ),
)


def test_a_selector_decides_which_workloads_are_behind_a_service():
    agent = proxies_from(REGISTRY, ())[2]

    members = {group.cluster: [member.workload for member in group.members] for group in agent.endpoints}
    assert members["outbound|50054||lb.default.svc.cluster.local"] == ["lb-v1", "lb-v2"]
    assert members["outbound|50054||lb-v2.default.svc.cluster.local"] == ["lb-v2"]


def test_a_port_on_which_two_services_lead_to_a_workload_is_taken_once():
    second = proxies_from(REGISTRY, ())[1]

    assert [(port.port, port.protocol) for port in second.inbound] == [
        (9180, ir.Protocol.AUTO),
        (50054, ir.Protocol.HTTP2),
    ]


def test_a_workload_without_a_service_dials_and_is_not_dialled():
    agent = proxies_from(REGISTRY, ())[2]

    assert agent.inbound == ()
    assert {port.port for port in agent.outbound} == {9180, 50054}
