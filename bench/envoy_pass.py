"""
What one pass through a compiled Envoy configuration costs, against one written by hand: `python bench/envoy_pass.py`.

The hand-written configuration does the same job in the plainest way: one listener, static routes and endpoints, two
spans and one access record a request. The compiled one comes over ADS, checks trace contexts and carries the filters
that policies need. wrk, Envoy and a backend share the machine, so the measure is Envoy's own processor time for a
request, and rounds alternate; throughput is shown beside it. The bare configuration reports nothing: the difference is
what tracing and logging cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clover.mesh import server, snapshot
from clover.mesh.xds import bootstrap, telemetry
from harness import envoy, proxies
from harness.ports import free_port

ROUNDS, SECONDS = 5, 2
RESULTS = Path(__file__).parent / "results" / "envoy_pass.json"
TYPE = "type.googleapis.com/envoy.extensions"


@contextlib.asynccontextmanager
async def swallowing(path: Path) -> AsyncIterator[None]:
    """Receive OTLP and think nothing of it."""

    async def export(_request: bytes, _context: object) -> bytes:
        return b""

    receiver = grpc.aio.server()
    for signal in ("trace.v1.TraceService", "logs.v1.LogsService"):
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
        service = f"opentelemetry.proto.collector.{signal}"
        receiver.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    receiver.add_insecure_port(f"unix:{path}")
    await receiver.start()
    try:
        yield
    finally:
        await receiver.stop(grace=None)


def by_hand(directory: Path, port: int, backend: int, *, reports: bool) -> str:
    """Write a gateway as one would write it without a control plane."""
    grpc_service = {"envoy_grpc": {"cluster_name": "otlp"}}
    manager: dict[str, Any] = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "use_remote_address": True,
        "normalize_path": True,
        "always_set_request_id_in_response": True,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}
                    ],
                }
            ]
        },
    }
    if reports:
        fields = {"log": "envoy", "direction": "gateway", **telemetry.HTTP_FIELDS, **telemetry.FIELDS}
        manager["tracing"] = {
            "spawn_upstream_span": True,
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                    "grpc_service": grpc_service,
                    "service_name": "gateway",
                },
            },
        }
        manager["access_log"] = [
            {
                "name": "envoy.access_loggers.open_telemetry",
                "typed_config": {
                    "@type": f"{TYPE}.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
                    "common_config": {
                        "log_name": "x",
                        "grpc_service": grpc_service,
                        "transport_api_version": "V3",
                    },
                    "body": {"string_value": telemetry.HTTP_BODY},
                    "attributes": {
                        "values": [{"key": key, "value": {"string_value": value}} for key, value in fields.items()]
                    },
                },
            }
        ]
    document = json.loads(
        bootstrap.bootstrap(proxies.GATEWAY, node="x", xds_socket="x", otlp_socket="x", admin_socket="x", mark=0)
    )
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    otlp = cluster("otlp", {"pipe": {"path": str(directory / "otlp.sock")}})
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    static = {
        "clusters": [
            otlp | {"typed_extension_protocol_options": options},
            cluster("backend", {"socket_address": {"address": "127.0.0.1", "port_value": backend}}),
        ],
        "listeners": [listener],
    }
    return json.dumps(
        {
            "node": {"id": "hand", "cluster": "hand"},
            "layered_runtime": document["layered_runtime"],
            "static_resources": static,
        }
    )


def cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    """Write a static cluster of one endpoint."""
    return {
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program quietly for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def listening(port: int) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                return
            await asyncio.sleep(0.01)


def nginx(directory: Path, port: int) -> tuple[str, ...]:
    """Write a backend that answers 1 kB; return how it is run."""
    path = directory / "nginx.conf"
    path.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr crit; events {{}} "
        f"http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {directory}; "
        f"proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; "
        f"scgi_temp_path {directory}; "
        f"server {{ listen 127.0.0.1:{port}; return 200 '{'x' * 1024}'; }} }}",
        encoding="ascii",
    )
    return ("nginx", "-c", str(path), "-p", str(directory))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one configuration did for a few seconds."""

    requests_per_s: float
    p50_ms: float
    cpu_us: float
    """Processor time of the proxy for one request; 0 without a proxy."""


async def load(port: int, connections: int, pid: int | None) -> Round:
    """Send requests as fast as they are answered."""
    before = cpu_s(pid)
    process = await asyncio.create_subprocess_exec(
        "wrk",
        "--latency",
        "-t1",
        f"-c{connections}",
        f"-d{SECONDS}s",
        f"http://127.0.0.1:{port}/",
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await process.communicate())[0].decode()
    used = cpu_s(pid) - before
    assert "Non-2xx" not in output, output
    latency, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]
    return Round(
        requests_per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),  # type: ignore[index]
        p50_ms=float(latency) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit],
        cpu_us=used * 1e6 / int(re.search(r"(\d+) requests in", output)[1]),  # type: ignore[index]
    )


def cpu_s(pid: int | None) -> float:
    """Return the processor time that a process has used."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(directory: Path) -> dict[str, Any]:
    """Alternate between the configurations; return what each did."""
    backend = free_port()
    binary = bootstrap.envoy_binary()
    targets: dict[str, tuple[int, int | None]] = {}
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(swallowing(directory / "otlp.sock"))
        await stack.enter_async_context(running(*nginx(directory, backend)))
        for name in ("by hand", "bare"):
            port, path = free_port(), directory / f"{name.replace(' ', '-')}.json"
            path.write_text(by_hand(directory, port, backend, reports=name != "bare"), encoding="utf-8")
            process = await stack.enter_async_context(running(*bootstrap.argv(binary, path)))
            targets[name] = (port, process.pid)
        control = await stack.enter_async_context(server.serving(directory / "xds.sock"))
        gateway = await stack.enter_async_context(envoy.envoy(directory, proxies.GATEWAY))
        targets["compiled"] = (free_port(), gateway.process.pid)
        endpoints = proxies.members(proxies.cluster_name(proxies.LB), "127.0.0.1", port=backend)
        proxy = proxies.gateway(port=targets["compiled"][0], endpoints=(endpoints,))
        generation = control.push({"gateway": snapshot.snapshot_from(proxy)})
        assert (await control.acknowledged(generation, timeout_s=10)).accepted
        targets["no proxy"] = (backend, None)
        for port, _ in targets.values():
            await listening(port)
        return {str(connections): await compare(targets, connections) for connections in (1, 16)}


async def compare(targets: dict[str, tuple[int, int | None]], connections: int) -> dict[str, Any]:
    """Return the medians of all rounds, by target."""
    rounds: dict[str, list[Round]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, (port, pid) in targets.items():
            rounds[name].append(await load(port, connections, pid))
    found: dict[str, Any] = {
        name: {
            "requests_per_s": round(statistics.median(one.requests_per_s for one in done)),
            "p50_ms": round(statistics.median(one.p50_ms for one in done), 3),
            "cpu_us": round(statistics.median(one.cpu_us for one in done), 1),
        }
        for name, done in rounds.items()
    }
    ratio = found["compiled"]["cpu_us"] / found["by hand"]["cpu_us"]
    return found | {"compiled_to_by_hand": round(ratio, 3)}


def main() -> None:
    """Measure, print a table, keep the numbers."""
    with tempfile.TemporaryDirectory(prefix="clv") as name:
        found = asyncio.run(measure(Path(name)))
    for connections, row in found.items():
        print(f"{connections} connection(s)")
        for name, numbers in row.items():
            if isinstance(numbers, dict):
                print(
                    f"  {name:<10} {numbers['cpu_us']:>7.1f} us of CPU a request"
                    f"   {numbers['requests_per_s']:>7} requests/s   p50 {numbers['p50_ms']:.3f} ms"
                )
        print(f"  compiled / by hand: {row['compiled_to_by_hand']:.3f} of the CPU (aim: 1.1 at most)")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
