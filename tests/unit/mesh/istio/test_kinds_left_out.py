"""Kinds that Clover leaves out are refused with a reason and with what to write instead."""

from pathlib import Path

import pytest
import yaml

from clover.errors import DocumentError
from clover.kit import documents
from clover.mesh.istio import left_out, parse, resources

CRDS = Path(__file__).parents[5] / "shared" / "conformance" / "istio" / "customresourcedefinitions.yaml"


def refused(kind, version="v1"):
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n"
    with pytest.raises(DocumentError) as caught:
        parse.parse(documents.parse(text, "policy.yaml"))
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("kind", left_out.ON_PURPOSE)
def test_a_kind_that_is_left_out_on_purpose_says_why_and_what_to_write(kind):
    problem = refused(kind, "networking.istio.io/v1")

    assert (problem.code, problem.where) == ("CLV4280", "policy.yaml:2:7")
    assert left_out.ON_PURPOSE[kind].why in problem.what
    assert problem.hint == left_out.ON_PURPOSE[kind].instead


def test_a_deployment_is_not_asked_for():
    problem = refused("Deployment", "apps/v1")

    assert problem.code == "CLV4101"
    assert problem.hint == "what runs is said by the chain file; leave this document out"


def test_a_misspelt_kind_gets_the_nearest_one():
    assert refused("VirtualServices").hint == "did you mean 'VirtualService'?"


@pytest.mark.skipif(not CRDS.exists(), reason="shared/conformance/istio/customresourcedefinitions.yaml is not there")
def test_every_kind_of_istio_is_read_or_left_out_on_purpose():
    kinds = {
        crd["spec"]["names"]["kind"]
        for crd in yaml.load_all(CRDS.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        if crd
    }

    assert kinds - {resources.full_kind(model) for model in resources.KINDS.values()} <= left_out.ON_PURPOSE.keys()


def test_no_kind_is_both_read_and_left_out():
    assert (
        left_out.ON_PURPOSE.keys() & {model.model_fields["kind"].default for model in resources.KINDS.values()} == set()
    )
    assert left_out.ON_PURPOSE.keys() & left_out.HINTS.keys() == set()
