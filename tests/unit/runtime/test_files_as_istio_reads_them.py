"""Files of which Istio's own analysis has an opinion: what it finds is found, what it lets pass is let pass."""

from __future__ import annotations

import textwrap

import pytest

from clover.runtime import inspection
from clover.runtime.inspection import File

Found = tuple[str, str, str, str]
"""Code, Istio's code, severity, and the resource that it is about."""


def found(*documents: str) -> list[Found]:
    """Return what is wrong with documents that stand in one file, and with nothing else."""
    text = "\n---\n".join(map(textwrap.dedent, documents))
    (verdict,) = inspection.inspect([File(name="a.yaml", folder=".", text=text)])
    return [(one.code, one.istio, one.severity, one.what.partition(":")[0]) for one in verdict.problems]


def sidecar(name: str, spec: str = "{egress: [{hosts: ['*/*']}]}", *, namespace: str = "default") -> str:
    return f"""
    apiVersion: networking.istio.io/v1
    kind: Sidecar
    metadata: {{name: {name}, namespace: {namespace}}}
    spec: {spec}
    """


CHOOSING = "{workloadSelector: {labels: {app: %s}}, egress: [{hosts: ['*/*']}]}"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, labels: {app: %s}}
"""


def test_two_sidecars_for_a_whole_namespace_are_too_many_whoever_runs_there():
    assert found(sidecar("a"), sidecar("b")) == [("CLV4319", "IST0111", "error", "Sidecar default/b")]


def test_two_sidecars_that_choose_the_same_labels_are_too_many_whoever_has_them():
    assert found(sidecar("a", CHOOSING % "web"), sidecar("b", CHOOSING % "web")) == [
        ("CLV4319", "IST0110", "error", "Sidecar default/b")
    ]


@pytest.mark.parametrize(
    "second",
    [sidecar("b", namespace="shop"), sidecar("b", CHOOSING % "web")],
    ids=["of another namespace", "for some"],
)
def test_sidecars_of_another_rank_or_namespace_are_no_rivals(second):
    assert found(sidecar("a"), second) == []


def test_a_sidecar_that_chooses_none_of_the_pods_is_told_where_there_are_any():
    choosing = sidecar("a", CHOOSING % "wbe")

    assert found(choosing) == []
    assert found(choosing, POD % ("web", "web")) == [("CLV4318", "IST0101", "warning", "Sidecar default/a")]
