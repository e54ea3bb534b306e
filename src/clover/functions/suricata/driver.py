"""Suricata as an intrusion detection system: it sees copies of requests, and can neither stop nor delay any.

The copies reach the workload through its sidecar, which hands them over on loopback, in plain HTTP/1.1; a responder
answers them (`ids_responder`) while Suricata listens to loopback.
"""

from __future__ import annotations

from dataclasses import dataclass

from clover.functions import ids_responder, templates
from clover.functions.alerts import Reader
from clover.functions.driver import CURRENT, Process, Program, Settings
from clover.functions.suricata import eve, rules
from clover.functions.suricata.running import SOCKET, SuricataRunning
from clover.functions.templates import Vetting, Word
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import IdsConfiguration

SURICATA = Requirement(
    name="suricata", package="suricata", needed_for="functions with the engine suricata", backports="bookworm"
)
CONFIGURATION = "suricata.yaml"
RULES = "local.rules"
RECORDS, RECORDS_FILE = "eve", "eve.json"
CHECKS = "checks"
"""Where an engine that only checks its files may write what it thinks it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Raises an alert for each request that a rule describes."""

    type: FunctionType = FunctionType.IDS
    engine: str = "suricata"
    requirements: tuple[Requirement, ...] = (SURICATA, ids_responder.NGINX)

    def render(self, settings: Settings) -> Program:
        """Return a Suricata that listens, and what answers."""
        configuration = templates.told(settings, IdsConfiguration)
        values = templates.values_from(settings)
        vetting = Vetting(settings)
        lines = rules.lines(configuration.rules, vetting)
        vetting.finish()
        names = {"records": RECORDS, "records_file": RECORDS_FILE, "rules_file": RULES, "socket": SOCKET}
        words = {key: Word(name, templates.NAME) for key, name in names.items()}
        argv = ("suricata", "-c")
        return Program(
            files={
                CONFIGURATION: templates.render("suricata/suricata.yaml.j2", values, **words),
                RULES: templates.render("suricata/local.rules.j2", values, rules=lines),
                **ids_responder.files(settings),
            },
            directories=(RECORDS, CHECKS, *ids_responder.DIRECTORIES),
            check=(*argv, f"{settings.folder}/{CONFIGURATION}", "-T", "-l", f"{settings.directory}/{CHECKS}"),
            process=Process(
                argv=(
                    *(*argv, f"{settings.directory}/{CURRENT}/{CONFIGURATION}"),
                    *("--af-packet=lo", "-l", f"{settings.directory}/{RECORDS}"),
                ),
                working_directory=settings.directory,
                # It takes two seconds to end in good order, and has nothing to bring into order: it carries no traffic,
                # and each record is written as soon as it is whole.
                stop_signal="SIGKILL",
                stop_timeout_s=1.0,
            ),
            companions=(ids_responder.companion(settings),),
            # Answers some 40 ms before the first packet is looked at; nothing of Suricata's says so more exactly.
            ready_socket=SOCKET,
        )

    def running(self, settings: Settings) -> SuricataRunning:
        """Return the way to the Suricata of a workload."""
        return SuricataRunning(directory=settings.directory)

    def alert_file(self, settings: Settings) -> str:
        """Return the file of Suricata's records (EVE)."""
        return f"{settings.directory}/{RECORDS}/{RECORDS_FILE}"

    def reader(self, settings: Settings) -> Reader:
        """Return what makes alerts of its records."""
        del settings
        return eve.Reader()
