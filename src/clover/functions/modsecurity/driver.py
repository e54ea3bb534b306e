"""nginx with ModSecurity v3 and the OWASP Core Rule Set (CRS), blocking, as a firewall."""

from __future__ import annotations

from dataclasses import dataclass

from clover.functions import nginx_program, templates
from clover.functions.driver import Program, Settings
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType

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
        return nginx_program.program(
            settings,
            {
                nginx_program.CONFIGURATION: templates.render("modsecurity/firewall.conf.j2", values),
                "modsecurity.conf": templates.render("modsecurity/modsecurity.conf.j2", values),
            },
        )
