"""Documents from Istio's own tests: whatever Clover says about them, it never falls over."""

from pathlib import Path

import pytest

from clover.errors import DocumentError
from clover.kit import documents
from clover.mesh.istio import parse, resources, validate
from harness import policies

FOLDER = Path(__file__).parents[5] / "shared" / "conformance" / "istio" / "validation"
FILES = sorted(file for kind in resources.KINDS for file in FOLDER.glob(f"{kind.lower()}-*.yaml"))


@pytest.mark.skipif(not FILES, reason="the folder shared/conformance/istio/validation is not beside the repository")
def test_every_document_is_read_or_refused_with_a_problem():
    for file in FILES:
        for document in documents.parse(file.read_text(encoding="utf-8"), file.name):
            assert_read_or_refused(document)


def assert_read_or_refused(document):
    try:
        parsed = parse.parse_with_origins([document])
    except DocumentError as error:
        found = error.problems
    else:
        found = validate.check(policies.REGISTRY, parsed.resources, origins=parsed.origins)
    assert all(problem.where.startswith(document.source) for problem in found)
