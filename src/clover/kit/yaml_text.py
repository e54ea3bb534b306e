"""Values as YAML the way people write it, such that every reader of YAML reads the same values back."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER_LIKE = re.compile(r"[-+.0-9][-+.0-9_eExXoObBa-fA-F]*")


def dump(value: Any, *, width: int = 110) -> str:
    """Return one document: lists indented, no anchors, text in quotes where some reader would take it for a number."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=width, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Kubernetes reads `1e3` as a number, which YAML 1.1 and so the dumper do not; U+0085 would be read as a new line.
    style = '"' if not text.isprintable() else "'" if _NUMBER_LIKE.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
