"""nginx with ModSecurity v3 and the OWASP Core Rule Set (CRS) as a firewall."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from clover.functions import nginx_program, templates
from clover.functions.driver import Program, Settings
from clover.functions.modsecurity import networks, rules
from clover.functions.modsecurity.rules import Rule
from clover.functions.modsecurity.running import FirewallRunning
from clover.functions.templates import Vetting, Word
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import FirewallConfiguration

_FIREWALLS = "functions of the type firewall"
MODULE = Requirement(
    name="/usr/lib/nginx/modules/ngx_http_modsecurity_module.so",
    package="libnginx-mod-http-modsecurity",
    needed_for=_FIREWALLS,
)
RULES = Requirement(name="/usr/share/modsecurity-crs/rules", package="modsecurity-crs", needed_for=_FIREWALLS)
SETUP = Requirement(name="/etc/modsecurity/crs/crs-setup.conf", package="modsecurity-crs", needed_for=_FIREWALLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """Lets requests pass that no rule objects to; answers the others with 403."""

    type: FunctionType = FunctionType.FIREWALL
    engine: str = "modsecurity"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX, MODULE, RULES, SETUP)

    def render(self, settings: Settings) -> Program:
        """Return an nginx that inspects each request before it forwards it."""
        templates.upstreams_required(settings)
        values = templates.values_from(settings)
        configuration = templates.told(settings, FirewallConfiguration)
        own, denied = _vetted(settings, configuration)
        return nginx_program.program(
            settings,
            {
                nginx_program.CONFIGURATION: templates.render(
                    "modsecurity/firewall.conf.j2",
                    values,
                    inspects=configuration.mode != "off",
                    denied_networks=denied,
                ),
                "modsecurity.conf": templates.render(
                    "modsecurity/modsecurity.conf.j2",
                    values,
                    mode=configuration.mode,
                    paranoia_level=configuration.paranoia_level,
                    anomaly_threshold=configuration.anomaly_threshold,
                    rules=own,
                    excluded_rules=rules.ranges_from(configuration.excluded_rules),
                ),
            },
        )

    def running(self, settings: Settings) -> FirewallRunning:
        """Return the way to the running nginx, and to its blocks."""
        return FirewallRunning.of(settings)


def _vetted(settings: Settings, configuration: FirewallConfiguration) -> tuple[list[Rule], list[Word]]:
    """Return the rules and the denied networks. Raises FunctionError with all that this engine cannot be told."""
    vetting = Vetting(settings)
    own, denied = [], []
    for rule in configuration.rules:
        try:
            own.append(rules.rule_from(rule))
        except ValueError as refused:
            vetting.refuse("CLV3220", f"has rule {rule.id}, whose value cannot be used: {refused}")
    for number, count in Counter(rule.id for rule in configuration.rules).items():
        if count > 1:
            vetting.refuse("CLV3221", f"has {count} rules with the id {number}", "give each rule an id of its own")
    for number in configuration.excluded_rules:
        if number in rules.OWN_RULES:
            vetting.refuse("CLV3222", f"excludes rule {number}, which is one of those that make the others work")
    for network in configuration.denied_networks:
        try:
            denied.append(networks.word_from(network))
        except ValueError as refused:
            vetting.refuse("CLV3223", f"denies a network that nginx cannot take: {refused}")
    vetting.finish()
    return own, list(dict.fromkeys(denied))
