"""A running Varnish, as its ambassador reaches it: by Varnish's own tools, which find it by its folder.

Each generation is a VCL of its own, with the generation's number in its name. Varnish loads it beside the one in force
and changes over between two requests; answers that are kept stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any, cast

from clover.functions.driver import EngineDownError, EngineError, How, Settings
from clover.spec.configuration import CacheConfiguration

ANSWER_S = 5.0
COMPILE_S = 30.0
"""A VCL is C code to be compiled: half a second on an idle machine."""
_NAME = re.compile(r"generation(\d{6,})", re.ASCII)
_MOST_WORDS = 2000
_DOWN = 2
"""Exit status of varnishadm when there is no Varnish."""
_COUNTERS = {
    "requests_total": "MAIN.client_req",
    "connections_accepted_total": "MAIN.sess_conn",
    "hits_total": "MAIN.cache_hit",
    "misses_total": "MAIN.cache_miss",
    "passes_total": "MAIN.s_pass",
    "upstream_requests_total": "MAIN.backend_req",
    "upstream_connections_failed_total": "MAIN.backend_fail",
    "fetches_failed_total": "MAIN.fetch_failed",
    "objects": "MAIN.n_object",
    "objects_evicted_total": "MAIN.n_lru_nuked",
    "bytes_used": "SMA.s0.g_bytes",
    "bytes_free": "SMA.s0.g_space",
    "threads": "MAIN.threads",
    "bans": "MAIN.bans",
    "uptime_s": "MAIN.uptime",
}
_CONNECTIONS = re.compile(r"MEMPOOL\.sess\d+\.live", re.ASCII)


def name_of(settings: Settings) -> str:
    """Return the name of the VCL of a generation."""
    return f"generation{settings.generation:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VarnishRunning:
    """Changes a Varnish by its management interface."""

    instance: str
    """Folder that `-n` names."""

    async def change(self, before: Settings, after: Settings) -> How:
        """Load the VCL of `after` and let every request from now on use it. Raises EngineError."""
        _has_the_same_room(before, after)
        name = name_of(after)
        vcls = {name: state for name, state in (await self._vcls()).items() if state != "discarded"}
        if vcls.get(name) != "active":
            # Loaded, but not in force, it is of a change that was taken back, unless it is what to go back to.
            if name in vcls and after.generation > before.generation:
                await self._tell("vcl.discard", name)
                del vcls[name]
            if name not in vcls:
                await self._tell("vcl.load", name, f'"{after.folder}/site/cache.vcl"', within_s=COMPILE_S)
            await self._tell("vcl.use", name)
        for old, state in vcls.items():
            if state == "available" and _NAME.fullmatch(old) and old not in (name, name_of(before)):
                await self._tell("vcl.discard", old)
        return How.RUNTIME

    async def confirm(self, wanted: Settings, how: How) -> None:
        """Return if Varnish's worker runs, with the VCL of `wanted`. Raises EngineError."""
        del how
        state = (await self._tell("status")).strip()
        if state != "Child in state running":
            raise EngineError(f"Varnish does not serve: {state}")
        active = [name for name, status in (await self._vcls()).items() if status == "active"]
        if active != [name_of(wanted)]:
            found = ", ".join(active) or "nothing"
            raise EngineError(f"Varnish works by {found}, expected {name_of(wanted)}")

    async def purge(self, *, host: str, path: str, prefix: bool) -> None:
        """Drop answers by a ban: in force at once, worked off in the background, so nobody can count them."""
        await self._tell("ban", ban_from(host=host, path=path, prefix=prefix))

    async def statistics(self) -> dict[str, float]:
        """Return the counters since the worker was started; what Varnish lacks is left out."""
        await self._tell("ping")  # varnishstat would also read what a Varnish left behind that is no more
        text = await _output("varnishstat", "-1", "-j", "-t", "0", "-n", self.instance)
        return counters_from(text)

    async def _vcls(self) -> dict[str, str]:
        """Return the state of each VCL: `active`, `available`, or `discarded` while a last request still uses it."""
        try:
            _, _, _, *vcls = json.loads(await self._tell("vcl.list", "-j"))
            return {vcl["name"]: vcl["status"] for vcl in vcls}
        except (ValueError, KeyError, TypeError):
            raise EngineError("Varnish does not say which configurations it has") from None

    async def _tell(self, *words: str, within_s: float = ANSWER_S) -> str:
        """Send a command and return the answer; words go out as they are, so what may have spaces brings its quotes."""
        seconds = f"{within_s:g}"
        return await _output(
            "varnishadm", "-n", self.instance, "-t", seconds, *words, down=_DOWN, within_s=within_s + 1
        )


def ban_from(*, host: str, path: str, prefix: bool) -> str:
    """Return what a ban looks for, in one line of Varnish's management language."""
    tests = []
    if path or not prefix:
        expression = f"^{_escaped(path)}" + ("" if prefix else "$")
        tests.append(f"obj.http.X-Clover-Url ~ {_quoted(expression)}")
    if host:
        # As clients may write it: in any case, with a port.
        port = "" if re.search(r":\d+$", host) else "(:[0-9]+)?"
        tests.append(f"obj.http.X-Clover-Host ~ {_quoted(f'(?i)^{_escaped(host)}{port}$')}")
    return " && ".join(tests) or "obj.status != 0"


def counters_from(text: str) -> dict[str, float]:
    """Return the counters that varnishstat printed, by the names that all engines use. Raises EngineError."""
    try:
        said: dict[str, Any] = json.loads(text)["counters"]
        values = {name: float(fields["value"]) for name, fields in said.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"varnishstat says {text[:200]!r} instead of counters") from None
    counters = {name: values[field] for name, field in _COUNTERS.items() if field in values}
    connections = [value for name, value in values.items() if _CONNECTIONS.fullmatch(name)]
    if connections:
        counters["connections_active"] = sum(connections)
    return counters


def _has_the_same_room(before: Settings, after: Settings) -> None:
    has, wants = (cast(CacheConfiguration, settings.configuration).max_size_mib for settings in (before, after))
    # What is put back never came into force.
    if has != wants and after.generation > before.generation:
        raise EngineError(
            f"Varnish takes its room for answers when it starts: maxSizeMib is {has} and cannot become {wants} while it"
            " runs; write it in the chain file and start the chain again"
        )


def _escaped(text: str) -> str:
    """Return an expression that fits the text and nothing else: whatever could mean more is written by its number."""
    plain = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/-")
    return "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in text.encode(errors="surrogatepass"))


def _quoted(expression: str) -> str:
    """Return a word of the management language; the expression has no quotes and no control characters."""
    return '"' + expression.replace("\\", "\\\\") + '"'


async def _output(*argv: str, down: int | None = None, within_s: float = ANSWER_S) -> str:
    """Run one of Varnish's tools and return what it prints. Raises EngineError with its words."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as failure:
        raise EngineError(f"{argv[0]} cannot be run: {failure.strerror}") from None
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    except TimeoutError:
        raise EngineError(f"Varnish does not answer within {within_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    text = said.decode("utf-8", "replace")
    if process.returncode == down:
        raise EngineDownError("Varnish does not run")
    if process.returncode != 0:
        raise EngineError(text.strip()[:_MOST_WORDS])
    return text
