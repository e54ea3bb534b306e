"""Snort 3 as an intrusion detection system: it sees copies of requests, and can neither stop nor delay any.

The copies reach the workload through its sidecar, which hands them over on loopback, in plain HTTP/1.1; a responder
answers them (`ids_responder`) while Snort listens to loopback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clover.functions import ids_responder, templates
from clover.functions.alerts import Reader
from clover.functions.driver import CURRENT, Process, Program, Settings
from clover.functions.snort import records, rules
from clover.functions.snort.running import SnortRunning
from clover.functions.templates import Vetting, Word
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import IdsConfiguration

SNORT = Requirement(
    name="snort",
    package="",
    needed_for="functions with the engine snort, in version 3",
    elsewhere="Debian has no package of Snort 3: build it from its source, or use the engine suricata",
)
CONFIGURATION = "snort.lua"
RULES = "local.rules"
RECORDS, RECORDS_FILE = "records", "alert_json.txt"
CHECKS = "checks"
"""Where an engine that only checks its files may write what it thinks it must."""
_FIELDS = re.compile(r"[a-z0-9_ ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Raises an alert for each request that a rule describes."""

    type: FunctionType = FunctionType.IDS
    engine: str = "snort"
    requirements: tuple[Requirement, ...] = (SNORT, ids_responder.NGINX)

    def render(self, settings: Settings) -> Program:
        """Return a Snort that listens, and what answers."""
        configuration = templates.told(settings, IdsConfiguration)
        values = templates.values_from(settings)
        vetting = Vetting(settings)
        lines = rules.lines(configuration.rules, vetting)
        vetting.finish()
        fields = Word(records.FIELDS, _FIELDS)
        return Program(
            files={
                CONFIGURATION: templates.render("snort/snort.lua.j2", values, fields=fields),
                RULES: templates.render("snort/local.rules.j2", values, rules=lines),
                **ids_responder.files(settings),
            },
            directories=(RECORDS, CHECKS, *ids_responder.DIRECTORIES),
            check=("snort", "-c", f"{settings.folder}/{CONFIGURATION}", "-T", "-l", f"{settings.directory}/{CHECKS}"),
            process=Process(
                argv=command(settings.directory),
                working_directory=settings.directory,
                # It carries no traffic, and each record is written as soon as it is whole.
                stop_signal="SIGKILL",
                stop_timeout_s=1.0,
            ),
            companions=(ids_responder.companion(settings),),
        )

    def running(self, settings: Settings) -> SnortRunning:
        """Return the way to the Snort of a workload."""
        return SnortRunning(directory=settings.directory, argv=command(settings.directory))

    def alert_file(self, settings: Settings) -> str:
        """Return the file of Snort's records."""
        return f"{settings.directory}/{RECORDS}/{RECORDS_FILE}"

    def reader(self, settings: Settings) -> Reader:
        """Return what makes alerts of its records."""
        del settings
        return records.Reader()


def command(directory: str) -> tuple[str, ...]:
    """Return the command of the Snort of a workload."""
    configuration = f"{directory}/{CURRENT}/{CONFIGURATION}"
    return (
        *("snort", "-c", configuration, "--daq", "afpacket", "-i", "lo"),
        # Checksums of what never leaves the machine are not there.
        *("-k", "none", "-l", f"{directory}/{RECORDS}"),
    )
