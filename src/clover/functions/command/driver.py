"""The author's own program as a server: Clover brings no configuration, and tells it where to listen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from clover.errors import FunctionError
from clover.functions import templates
from clover.functions.driver import Process, Program, Settings
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Any program that serves HTTP on the port named by the variable PORT."""

    type: FunctionType = FunctionType.SERVER
    engine: str = "command"
    requirements: tuple[Requirement, ...] = ()

    def render(self, settings: Settings) -> Program:
        """Return the command as its author wrote it; a path with a `/` in it starts at the working directory."""
        if not settings.command or not settings.command[0]:
            hint = "add `command: [PROGRAM, ARGUMENT, ...]` to it in the chain file"
            raise FunctionError(
                templates.problem(settings, "CLV3004", "has the engine 'command', but no command", hint)
            )
        if any("\0" in word for word in settings.command):
            raise FunctionError(
                templates.problem(settings, "CLV3004", "has a command with a zero byte in it, which no program takes")
            )
        if getattr(settings.configuration, "sites", ()):
            hint = "take `sites` out, or choose the engine 'nginx'"
            raise FunctionError(
                templates.problem(settings, "CLV3200", "runs its author's own command, which takes no sites", hint)
            )
        values = templates.values_from(settings)
        program, *arguments = settings.command
        if "/" in program:
            program = str(PurePosixPath(settings.working_directory or settings.directory, program))
        return Program(
            files={},
            process=Process(
                argv=(program, *arguments),
                environment={
                    "PORT": str(values.port),
                    "CLOVER_FUNCTION": str(values.function),
                    "CLOVER_VERSION": str(values.version),
                    "CLOVER_WORKLOAD": str(values.workload),
                },
                working_directory=settings.working_directory,
            ),
            ready_port=values.port,
        )

    def running(self, settings: Settings) -> None:
        """Return nothing: only its author knows how this program can be changed while it runs."""
        del settings
