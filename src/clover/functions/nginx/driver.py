"""nginx as a server, a load balancer and a cache: what each role adds to a plain nginx."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from clover.functions import nginx_program, templates
from clover.functions.driver import Program, Settings
from clover.functions.nginx.cache_running import FOLDER, CacheRunning
from clover.functions.nginx.sites import SIZES, STATUS_CODES, sites_from
from clover.functions.nginx_running import NginxRunning
from clover.functions.templates import NAME, PATH, Vetting, Word
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import CacheConfiguration

_LEAST_INACTIVE_S = 600
_EXPRESSION = re.compile(r"~\^(?:[A-Za-z0-9_~/-]|\\\.)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A web server for an author's sites, with sample pages that say who it is."""

    type: FunctionType = FunctionType.SERVER
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx with its sites."""
        values = templates.values_from(settings)
        sites = sites_from(settings)
        text = templates.render(
            "nginx/server.conf.j2",
            values,
            servers=sites.servers,
            answers=sites.answers,
            status_codes=STATUS_CODES,
            sizes=[Word(name, NAME) for name in SIZES],
        )
        return nginx_program.program(settings, {nginx_program.CONFIGURATION: text, **sites.files}, links=sites.links)

    def running(self, settings: Settings) -> NginxRunning:
        """Return the way to the nginx of a workload."""
        return NginxRunning.of(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """Spreads requests over the backends. What is in a drained backend's hands is finished by the worker that asked."""

    type: FunctionType = FunctionType.LOAD_BALANCER
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx that forwards to one backend or another."""
        templates.upstreams_required(settings)
        text = templates.render("nginx/load-balancer.conf.j2", templates.values_from(settings))
        return nginx_program.program(settings, {nginx_program.CONFIGURATION: text})

    def running(self, settings: Settings) -> NginxRunning:
        """Return the way to the nginx of a workload."""
        return NginxRunning.of(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """
    A shared HTTP cache in front of the backends.

    nginx counts the time to live in whole seconds, so it is rounded up. It cannot be told how long an answer may be
    given that is too old: no grace is exact, any other lasts until a fresh answer can be had or nobody asks any more.
    """

    type: FunctionType = FunctionType.CACHE
    engine: str = "nginx"
    requirements: tuple[Requirement, ...] = (nginx_program.NGINX,)

    def render(self, settings: Settings) -> Program:
        """Return an nginx that keeps answers in its folder."""
        templates.upstreams_required(settings)
        values = templates.values_from(settings)
        configuration = templates.told(settings, CacheConfiguration)
        vetting = Vetting(settings)
        uncached = [_begins_with(vetting.word("path", path, PATH)) for path in configuration.uncached_paths]
        vetting.finish()
        text = templates.render(
            "nginx/cache.conf.j2",
            values,
            default_ttl_s=math.ceil(configuration.default_ttl),
            grace_s=configuration.grace,
            inactive_s=max(_LEAST_INACTIVE_S, math.ceil(configuration.default_ttl + configuration.grace)),
            max_size_mib=configuration.max_size_mib,
            uncached=uncached,
        )
        return nginx_program.program(settings, {nginx_program.CONFIGURATION: text}, directories=(FOLDER,))

    def running(self, settings: Settings) -> CacheRunning:
        """Return the way to the nginx of a workload, and to the answers that it keeps."""
        return CacheRunning.of(settings)


def _begins_with(path: Word) -> Word:
    """Return an expression for every path that begins with this one; of its characters only the dot is special."""
    return Word("~^" + path.replace(".", r"\."), _EXPRESSION)
