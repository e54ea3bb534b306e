"""The table of Istio's codes in the documents is that of the source."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ISTIO = re.compile(r"\bIST[0-9]{4}\b")


def test_every_code_of_istio_is_in_the_table_and_no_other():
    used = {code for file in (ROOT / "src").rglob("*.py") for code in ISTIO.findall(file.read_text("utf-8"))}
    table = (ROOT / "docs/reference/check.md").read_text("utf-8").partition("## Istio's codes")[2]

    assert used == set(ISTIO.findall(table))
