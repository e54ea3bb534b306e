"""What is said about files before anything runs: whatever they hold, it is said and not fallen over."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from clover.mesh.istio.analysis import kubernetes
from clover.mesh.istio.resources import KINDS
from clover.runtime import inspection
from clover.runtime.inspection import File
from harness import random_policies

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | st.text(max_size=5) | st.sampled_from(["a", "app", "web"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "namespace", "labels", "selector", "ports", "port", "spec", "template", "metadata"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
VERSIONS = st.sampled_from(["v1", "apps/v1", "networking.istio.io/v1", "security.istio.io/v1", "clover/v1alpha1", ""])
NAMES = st.sampled_from([*(kind for _, kind in kubernetes.MODELS), *KINDS, "Chain", "List", "ConfigMap", ""])
OBJECTS = st.fixed_dictionaries(
    {"apiVersion": VERSIONS, "kind": NAMES}, optional={"metadata": VALUES, "spec": VALUES, "items": VALUES}
)


def file(*found: object, name: str = "a.yaml", named: bool = False) -> File:
    return File(name=name, folder=".", text="\n---\n".join(map(json.dumps, found)), named=named)


@given(st.lists(OBJECTS, max_size=4), st.lists(OBJECTS, max_size=2), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_objects_give_a_verdict_for_each_file(some, others, named):
    files = [file(*some, named=named), file(*others, name="b.yaml")]

    verdicts = inspection.inspect(files)

    assert [verdict.path for verdict in verdicts] == ["a.yaml", "b.yaml"]
    assert all(
        problem.where.startswith((verdict.path, "Gateway", "VirtualService"))
        for verdict in verdicts
        for problem in verdict.problems
    )


@given(st.one_of(random_policies.SOUND, random_policies.ODD), st.lists(OBJECTS, max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_policies_among_any_objects_give_a_verdict(policies, objects):
    (verdict,) = inspection.inspect([file(*policies, *objects)])

    assert verdict.path == "a.yaml"


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_verdict(text):
    (verdict,) = inspection.inspect([File(name="a.yaml", folder=".", text=text)])

    assert verdict.path == "a.yaml"
