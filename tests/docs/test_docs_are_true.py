"""What the documents say is true: commands, codes, links and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clover.cli import main as command_line

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
CODE = re.compile(r"\bCLV[0-9]{4}\b")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def text_of(paths):
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def slug(heading):
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


@pytest.mark.parametrize(
    "entry", [entry for entry in command_line.COMMANDS if not entry.hidden], ids=lambda one: one.name
)
def test_every_command_has_a_heading_in_the_reference(entry):
    reference = text_of([ROOT / "docs/reference/cli.md"])

    assert re.search(rf"^### `clover {entry.name}\b", reference, re.MULTILINE)


def test_the_reference_has_no_command_that_does_not_exist():
    known = {entry.name for entry in command_line.COMMANDS}
    used = re.findall(r"(?:^\$ |`)(?:\.venv/bin/)?clover ([a-z]+)\b", text_of(DOCUMENTS), re.MULTILINE)

    assert set(used) <= known


def test_every_option_in_the_reference_exists():
    sources = text_of((ROOT / "src/clover/cli").glob("*.py"))
    options = set(re.findall(r"`(--[a-z-]+)", text_of([ROOT / "docs/reference/cli.md"])))

    # An option without a name in the source is named after its parameter.
    assert not [
        option for option in options if option not in sources and f"    {option[2:].replace('-', '_')}: " not in sources
    ]


def test_every_problem_code_is_explained_once():
    used = set(CODE.findall(text_of((ROOT / "src").rglob("*.py"))))
    explained = re.findall(r"^## (CLV[0-9]{4}): ", text_of((ROOT / "docs/reference").rglob("*.md")), re.MULTILINE)

    assert sorted(used - set(explained)) == []
    assert sorted(code for code in set(explained) if explained.count(code) > 1) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_project_leads_somewhere(path):
    lost = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (
            anchor and anchor not in map(slug, HEADING.findall(target.read_text(encoding="utf-8")))
        ):
            lost.append(link)

    assert lost == []


def test_no_file_of_the_project_holds_a_path_of_somebodys_machine():
    folders = ("src", "docs", "examples", "script", "bench", "requirements")
    files = [*DOCUMENTS, *(path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())]
    private = re.compile(r"/(?:home|Users)/[a-z]|/work/|/root/")

    texts = (path for path in files if "__pycache__" not in path.parts and "egg-info" not in str(path))
    assert [str(path.relative_to(ROOT)) for path in texts if private.search(path.read_text("utf-8", "ignore"))] == []


def test_every_script_explains_itself_in_its_first_lines():
    for script in (ROOT / "script").iterdir():
        if script.is_file() and not script.suffix:
            first, second = script.read_text(encoding="utf-8").splitlines()[:2]
            assert first == "#!/usr/bin/env bash", script
            assert second.startswith("# "), script


def test_the_lock_names_no_address_and_hashes_every_file():
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pins = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert pins
        assert not [pin.split("==")[0] for pin in pins if "--hash=sha256:" not in pin]
