"""What a workload remembers of the configuration in force: one file in the folder of each generation.

`conf/current` leads to the folder in force, so turning that link changes what the engine reads and what its ambassador
remembers in the same instant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from clover.spec.configuration import MODELS, Configuration

FILE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One generation of a function's configuration."""

    type: str
    """The function's type, whose configuration it is."""
    generation: int
    configuration: Configuration
    applied_at: float = 0.0
    """Unix time; 0 for the first, which came with the workload."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Uploaded files: path below the site → path of the content, relative to the workload's folder."""


def render(state: State) -> str:
    """Return the text of the file."""
    return json.dumps(
        {
            "type": state.type,
            "generation": state.generation,
            "appliedAt": state.applied_at,
            "configuration": state.configuration.as_json(),
            "files": dict(state.files),
        },
        indent=1,
    )


def parse(text: str) -> State:
    """Return the state that `text` describes. Raises ValueError if it is none."""
    data = json.loads(text)
    return State(
        type=data["type"],
        generation=int(data["generation"]),
        configuration=MODELS[data["type"]].model_validate(data["configuration"]),
        applied_at=float(data["appliedAt"]),
        files=dict(data["files"]),
    )
