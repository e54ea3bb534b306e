"""Asking a chain's control agent as programs do: JSON over its Unix socket."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.kit import unix_http
from harness.chains import Clover

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """The control agent of one chain."""

    socket: Path

    def call(self, function: str, method: str, request: Json | None = None, *, version: str = "") -> Json:
        """Return the agent's whole answer, good or bad, and how long it took in ms as `took`."""
        began = time.monotonic()
        order = {"function": function, "version": version, "method": method, "request": request or {}}
        _, body = unix_http.fetch(self.socket, "/v1/call", method="POST", body=json.dumps(order).encode(), timeout_s=60)
        return {**json.loads(body), "took": (time.monotonic() - began) * 1000}

    def ok(self, function: str, method: str, request: Json | None = None, *, version: str = "") -> Json:
        """Return what the ambassador answered; the call must succeed."""
        answer = self.call(function, method, request, version=version)
        assert "response" in answer, answer
        response: Json = answer["response"]
        return response


def agent_of(command: Clover, chain: str) -> Agent:
    """Return the control agent of a chain that `command` brought up."""
    return Agent(command.run / chain / "agent.sock")
