"""
Documents from Istio's own tests of validation: what Istio takes, Clover takes; what Istio refuses, Clover refuses.

`validation.txt` lists the documents for which that is so. One that is in the list and is judged otherwise fails, and so
does one that is not and is judged as Istio does: `python tests/conformance/test_istio_validation.py` writes the list.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from clover.errors import Problem, errors_only
from clover.kit import documents
from clover.mesh.istio import parse, validate
from clover.mesh.istio.analysis import inventory

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "shared" / "conformance" / "istio" / "validation"
LISTED = HERE / "validation.txt"
EXPECTATION = re.compile(r"^_err: ?(.*)$", re.MULTILINE)
GAPS = {"CLV4101", "CLV4103", "CLV4280"}
"""Refused because Clover does not have it, whatever it says."""


def cases():
    """Return name, text and whether Istio refuses it, of every document."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        for number, text in enumerate(re.split(r"^---$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)):
            if parsed := documents.parse(text, file.name):
                name = parsed[0].data.get("metadata", {}).get("name", "unnamed")
                wrong = EXPECTATION.search(text) is not None
                found.append((f"{file.stem}/{number} {name}", EXPECTATION.sub("", text), wrong))
    return found


def errors_of(text: str) -> tuple[Problem, ...]:
    """Return why Clover would refuse a document, with nobody to say what else exists."""
    parsed, problems = parse.inspect(documents.parse(text, "case.yaml"))
    registry = inventory.registry_from((), parsed.resources)
    return errors_only((*problems, *validate.check(registry, parsed.resources, origins=parsed.origins)))


def is_judged_alike(text: str, *, wrong: bool) -> bool:
    found = errors_of(text)
    if wrong:
        return any(problem.code not in GAPS for problem in found)
    return not found


CASES = cases()


@pytest.mark.skipif(not CASES, reason="the folder shared/conformance/istio/validation is not beside the repository")
@pytest.mark.parametrize(("name", "text", "wrong"), CASES, ids=[name for name, _, _ in CASES])
def test_a_document_is_judged_as_istio_judges_it_or_is_a_known_gap(name, text, wrong):
    assert is_judged_alike(text, wrong=wrong) == (name in LISTED.read_text(encoding="utf-8").splitlines())


@pytest.mark.skipif(not CASES, reason="the folder shared/conformance/istio/validation is not beside the repository")
def test_the_list_names_only_documents_that_there_are():
    assert set(LISTED.read_text(encoding="utf-8").splitlines()) <= {name for name, _, _ in CASES}


if __name__ == "__main__":
    alike = [name for name, text, wrong in CASES if is_judged_alike(text, wrong=wrong)]
    LISTED.write_text("".join(f"{name}\n" for name in alike), encoding="utf-8")
    print(f"{len(alike)} of {len(CASES)} are judged alike", file=sys.stderr)
