"""
What would happen to these files if they were brought up or applied: everything that is wrong, and nothing started.

Chains are checked each by itself. Resources are checked against the mesh of a chain: of the chain file in their own
folder, or in the nearest one above it, or of the only chain there is. Without a chain, what exists is what Kubernetes'
documents among them tell.

What is needed for a part of that alone is loaded when it is: to load it takes longer than to check a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from clover.errors import DocumentError
from clover.kit import documents
from clover.kit.documents import Document
from clover.mesh.istio.analysis.headings import group_and_kind
from clover.runtime.verdict import Verdict
from clover.spec import load
from clover.spec.document import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to check."""

    name: str
    """As messages show it."""
    folder: str
    text: str
    named: bool = True
    """False: it was found in a folder, and may be about something else."""


def inspect(files: Sequence[File], *, namespace: str = "default") -> tuple[Verdict, ...]:
    """Return a verdict for each file; resources that name no namespace, nor have a chain, belong to `namespace`."""
    chains: dict[str, Verdict] = {}
    others: dict[str, Verdict] = {}
    read: dict[str, tuple[Document, ...]] = {}
    for file in files:
        try:
            found = documents.parse(file.text, file.name)
        except DocumentError as error:
            others[file.name] = Verdict(path=file.name, problems=error.problems)
            continue
        if any(map(_is_chain, found)) or (file.named and not any(map(group_and_kind, found))):
            chains[file.name] = _chain_verdict(file)
        else:
            read[file.name] = found
    folders = _folders(files, chains)
    groups: dict[str, list[str]] = {}
    for file in files:
        if file.name in read:
            groups.setdefault(_chain_of(file, folders), []).append(file.name)
    for home, names in groups.items():
        from clover.runtime import policy_files

        chain = chains.get(home)
        verdicts, told = policy_files.inspect({name: read[name] for name in names}, chain, namespace=namespace)
        others |= verdicts
        if chain:
            chains[home] = replace(chain, problems=(*chain.problems, *told))
    everything = chains | others
    return tuple(everything[file.name] for file in files)


def _is_chain(document: Document) -> bool:
    group, kind = group_and_kind(document) or ("", "")
    return kind == KIND and "." not in group


def _chain_verdict(file: File) -> Verdict:
    """Check a chain, and what only its engines see."""
    chain, problems = load.inspect_text(file.text, file.name, directory=file.folder)
    if chain is None:
        return Verdict(path=file.name, problems=problems)
    from clover.runtime import planner  # The drivers take longer to load than most files to check.

    refused = planner.refusals(chain)
    return Verdict(path=file.name, chain=None if refused else chain, problems=(*problems, *refused))


def _folders(files: Sequence[File], chains: Mapping[str, Verdict]) -> dict[str, str]:
    """Return the chain file of each folder that has one; of several, the one that `clover up` would take, or none."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.name in chains:
            found.setdefault(file.folder, []).append(file.name)
    folders = {folder: _taken(names) for folder, names in found.items()}
    if len(chains) == 1:
        folders[""] = next(iter(chains))
    return {folder: name for folder, name in folders.items() if name}


def _taken(names: list[str]) -> str:
    usual = [name for name in names if PurePath(name).name == load.FILE_NAME]
    return names[0] if len(names) == 1 else next(iter(usual), "")


def _chain_of(file: File, folders: Mapping[str, str]) -> str:
    """Return the chain file whose mesh a file's resources are for; '': none."""
    above = [file.folder, *map(str, PurePath(file.folder).parents)]
    return next((folders[folder] for folder in above if folder in folders), folders.get("", ""))
