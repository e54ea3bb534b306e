"""Varnish as a cache.

The workers' user runs all of it: Varnish needs no privilege, and its own way of giving them up (`-j unix`) wants a
manager that stays root. `setpriv` makes the change before Varnish starts, so `-j none` is right however Clover was
started. The VCL is below `site/`, because that user reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from clover.functions import templates
from clover.functions.driver import CURRENT, Companion, Process, Program, Settings
from clover.functions.templates import Word
from clover.functions.varnish.running import VarnishRunning, name_of
from clover.functions.varnish.turns import turns_from
from clover.kit.requirements import Requirement
from clover.spec.chain import FunctionType
from clover.spec.configuration import CacheConfiguration

_CACHES = "caches with the engine varnish"
VARNISH = Requirement(name="varnishd", package="varnish", needed_for=_CACHES)
COMPILER = Requirement(name="gcc", package="gcc", needed_for=f"{_CACHES}, which compiles its configuration")
CONFIGURATION = "site/cache.vcl"
START = "site/start.cli"
_START_CONFIGURATION = "site/start.vcl"
INSTANCE = "varnish"
"""Folder, below the workload's, of the running Varnish: its shared memory, its secret, its compiled configurations."""
SCRATCH = "temp"
MOST_BODY_BYTES = 10 * 1024 * 1024
RETRIES = 2
CLIENT = r"^(?:.*[,\s])?(?!127\.0\.0\.6\s*(?:,|$))([0-9A-Fa-f.:]+)(?:[,\s]+127\.0\.0\.6)*\s*$"
"""The last address in X-Forwarded-For that is no sidecar's. Takes time in proportion to the header's length."""
_COMPILER = "exec gcc -O0 -w -pipe -fstack-protector-strong -pthread -fpic -shared -Wl,-x -o %o %s"
"""A configuration is little code; to optimize it takes four times as long as to compile it."""
_KIB = 1024
_PARAMETERS = {
    "cc_command": _COMPILER,
    # The time to live is decided in the VCL alone.
    "default_ttl": 0,
    "default_grace": 0,
    "default_keep": 0,
    # What clients and servers say about compression passes as it is.
    "http_gzip_support": "off",
    # Header lines of 32 KiB, four of them; more than the 64 lines that are usual.
    "http_max_hdr": 256,
    "http_req_hdr_len": 32 * _KIB,
    "http_req_size": 128 * _KIB,
    "http_resp_hdr_len": 32 * _KIB,
    "http_resp_size": 128 * _KIB,
    # A record of the log is a header line; the buffer, which must hold one, is a part of each workspace.
    "vsl_buffer": 72 * _KIB,
    "vsl_reclen": 32 * _KIB,
    "workspace_client": 320 * _KIB,
    "workspace_backend": 320 * _KIB,
    # Shared memory between Varnish and its log: about a second of the busiest traffic.
    "vsl_space": 16 * _KIB * _KIB,
    # Longer than a sidecar keeps an idle connection (1 h): the side that sends requests is the one that closes.
    "timeout_idle": 3900,
    "backend_idle_timeout": 60,
    # Answers that are kept for seconds only count towards the limit, too.
    "shortlived": 0,
}
"""In an order that Varnish can take: each is compared with those that are in force."""
_LOG_FORMAT = (
    '{"log":"access",'
    # A WebSocket has the second of the two, all else the first.
    '"time":%{VSL:Timestamp:Resp[1]}x%{VSL:Timestamp:PipeSess[1]}x,'
    '"traceparent":"%{traceparent}i","request_id":"%{x-request-id}i","client":"%{VCL_Log:client}x","method":"%m",'
    '"host":"%{Host}i","path":"%U%q","protocol":"%H","status":%s,"bytes":%O,"duration_ms":%De-3,'
    '"upstream":"%{VCL_Log:upstream}x","upstream_status":"%{VCL_Log:upstream_status}x",'
    '"generation":%{VCL_Log:generation}x,"cache":"%{VCL_Log:cache}x"}'
)
_SECONDS = re.compile(r"\d{1,6}\.\d{3}s", re.ASCII)
_EXPRESSION = re.compile(r"(?:[A-Za-z0-9_~/-]|\[\.\])*", re.ASCII)
_ANYTHING = re.compile(r'[^"]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A shared HTTP cache in front of the backends."""

    type: FunctionType = FunctionType.CACHE
    engine: str = "varnish"
    requirements: tuple[Requirement, ...] = (VARNISH, COMPILER)

    def render(self, settings: Settings) -> Program:
        """Return a Varnish that keeps answers in memory, and the program that writes its access log."""
        templates.upstreams_required(settings)
        values = templates.values_from(settings)
        configuration = cast(CacheConfiguration, settings.configuration)
        vetting = templates.Vetting(settings)
        uncached = [_beginning(vetting.word("path", path, templates.PATH)) for path in configuration.uncached_paths]
        vetting.finish()
        backends = [target for target in values.upstreams if target.state == "ready"]
        vcl = templates.render(
            "varnish/cache.vcl.j2",
            values,
            backends=backends,
            turns=turns_from([target.weight for target in backends]),
            retries=RETRIES,
            client=Word(CLIENT, _ANYTHING),
            most_bytes=MOST_BODY_BYTES,
            uncached=uncached,
            default_ttl=_seconds(configuration.default_ttl),
            grace=_seconds(configuration.grace),
        )
        name = Word(name_of(settings), templates.NAME)
        check_folder = f"{settings.directory}/{SCRATCH}/check-{settings.generation:06d}"
        return Program(
            files={
                CONFIGURATION: vcl,
                _START_CONFIGURATION: templates.render("varnish/start.vcl.j2", values, name=name),
                START: templates.render("varnish/start.cli.j2", values, name=name),
            },
            directories=(INSTANCE, SCRATCH),
            # Prints the compiled C code when all is well, and words when it is not.
            check=(
                *("varnishd", "-C", "-j", "none", "-p", f"cc_command={_COMPILER}"),
                *("-n", check_folder, "-f", f"{settings.folder}/{CONFIGURATION}"),
            ),
            process=Process(
                argv=(*_as(values.user), "varnishd", "-F", *_options(settings, configuration)),
                environment={"TMPDIR": f"{settings.directory}/{SCRATCH}"},  # where the compiler works
                working_directory=settings.directory,
            ),
            companions=(_log(settings, values.user),),
            ready_port=settings.port,
        )

    def running(self, settings: Settings) -> VarnishRunning:
        """Return the way to the Varnish of a workload, and to the answers that it keeps."""
        return VarnishRunning(instance=instance_of(settings))


def instance_of(settings: Settings) -> str:
    """Return the folder by which Varnish's own tools find the running one."""
    return f"{settings.directory}/{INSTANCE}"


def _options(settings: Settings, configuration: CacheConfiguration) -> tuple[str, ...]:
    return (
        *("-j", "none"),
        *("-n", instance_of(settings)),
        *("-a", f"0.0.0.0:{settings.port}"),
        *("-T", "127.0.0.1:0"),
        *("-s", f"malloc,{configuration.max_size_mib}m"),
        *(part for name, value in _PARAMETERS.items() for part in ("-p", f"{name}={value}")),
        # Not `-f FILE`, which calls what it loads `boot`: the name is to say which generation is in force.
        *("-f", "", "-I", f"{settings.directory}/{CURRENT}/{START}"),
    )


def _log(settings: Settings, user: str) -> Companion:
    # `-q`: what never reached the VCL is no request that was served; `-t off`: Varnish may come later, or again.
    argv = (
        "varnishncsa",
        "-n",
        instance_of(settings),
        "-t",
        "off",
        "-j",
        "-q",
        "VCL_Log:generation",
        "-F",
        _LOG_FORMAT,
    )
    return Companion(
        name="log",
        process=Process(argv=(*_as(user), *argv), working_directory=settings.directory, stop_timeout_s=2.0),
    )


def _as(user: str) -> tuple[str, ...]:
    if not user:
        return ()
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--")


def _beginning(path: Word) -> Word:
    """Return an expression for the path; only the dot has a meaning of its own there."""
    return Word(path.replace(".", "[.]"), _EXPRESSION)


def _seconds(value_s: float) -> Word:
    return Word(f"{value_s:.3f}s", _SECONDS)
