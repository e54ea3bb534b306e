"""nginx as a server, a load balancer and a cache: what each role adds to a plain nginx."""

from __future__ import annotations

from dataclasses import dataclass

from clover.functions import nginx_program, templates
from clover.functions.driver import Program, Settings
from clover.functions.nginx_running import NginxRunning
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType

STATUS_CODES = (200, 201, 204, 301, 302, 400, 401, 403, 404, 405, 409, 410, 429, 500, 501, 502, 503, 504)
"""The sample server answers `/status/<code>` with each of these."""
SIZES = {"1k": 1024, "10k": 10 * 1024, "100k": 100 * 1024}
"""The sample server has a file of so many bytes at `/bytes/<name>`."""
_LINE = "Clover sends this line as often as it takes to fill the file..\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A sample web server that says who it is."""

    type: FunctionType = FunctionType.SERVER
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx with its site."""
        values = templates.values_from(settings)
        text = templates.render("nginx/server.conf.j2", values, status_codes=STATUS_CODES)
        site = {f"site/bytes/{name}": (_LINE * size)[:size] for name, size in SIZES.items()}
        return nginx_program.program(settings, {nginx_program.CONFIGURATION: text, **site})

    def running(self, settings: Settings) -> NginxRunning:
        """Return the way to the nginx of a workload."""
        return NginxRunning.of(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """Round robin over the upstreams."""

    type: FunctionType = FunctionType.LOAD_BALANCER
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx that forwards to each upstream in turn."""
        return _forwarding("nginx/load-balancer.conf.j2", settings)

    def running(self, settings: Settings) -> NginxRunning:
        """Return the way to the nginx of a workload."""
        return NginxRunning.of(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A shared HTTP cache in front of the upstreams."""

    type: FunctionType = FunctionType.CACHE
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx that keeps answers in its folder."""
        return _forwarding("nginx/cache.conf.j2", settings, directories=("cache",))

    def running(self, settings: Settings) -> NginxRunning:
        """Return the way to the nginx of a workload."""
        return NginxRunning.of(settings)


def _forwarding(template: str, settings: Settings, *, directories: tuple[str, ...] = ()) -> Program:
    templates.upstreams_required(settings)
    values = templates.values_from(settings)
    text = templates.render(template, values)
    return nginx_program.program(settings, {nginx_program.CONFIGURATION: text}, directories=directories)
