"""Envoy's admin answers as short tables. Fields that an Envoy leaves out are shown as absent, never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from clover.cli import screen
from clover.cli.screen import Column


def lines(what: str, answer: Any) -> Iterator[Text]:
    """Yield one part of a sidecar's state: `config`, `clusters`, `listeners`, `routes`, `certificates` or `stats`."""
    titles, rows = _VIEWS[what](answer if isinstance(answer, dict) else {})
    if not rows:
        yield Text(f"no {what}")
        return
    columns = [Column(title=title.lstrip(">"), right=title.startswith(">")) for title in titles]
    yield from screen.table(columns, [[screen.printable(str(cell)) for cell in row] for row in rows])


_View = tuple[tuple[str, ...], list[tuple[object, ...]]]


def _config(answer: Mapping[str, Any]) -> _View:
    rows: list[tuple[object, ...]] = []
    for section in _mappings(answer.get("configs")):
        kind = str(section.get("@type", "")).rpartition(".")[2].removesuffix("ConfigDump").removesuffix("sDump")
        for field, entries in section.items():
            for entry in _mappings(entries):
                state = entry.get("active_state") if isinstance(entry.get("active_state"), dict) else entry
                held = next((value for value in (state or {}).values() if isinstance(value, dict)), {})
                name = entry.get("name") or held.get("name") or held.get("cluster_name") or screen.NONE
                problem = entry.get("error_state") or {}
                rows.append(
                    (
                        kind or field,
                        "static" if field.startswith("static") else "dynamic",
                        name,
                        (state or {}).get("version_info", screen.NONE),
                        problem.get("details", "rejected") if problem else "ok",
                    )
                )
    return ("KIND", "FROM", "NAME", "VERSION", "STATE"), rows


def _clusters(answer: Mapping[str, Any]) -> _View:
    rows: list[tuple[object, ...]] = []
    for cluster in _mappings(answer.get("cluster_statuses")):
        hosts = _mappings(cluster.get("host_statuses"))
        for host in hosts:
            stats = {str(stat.get("name")): stat.get("value", 0) for stat in _mappings(host.get("stats"))}
            rows.append(
                (
                    cluster.get("name", ""),
                    _address(host.get("address")),
                    _health(host.get("health_status")),
                    stats.get("rq_total", 0),
                    stats.get("rq_error", 0),
                    stats.get("cx_active", 0),
                )
            )
        if not hosts:
            rows.append((cluster.get("name", ""), "no endpoint", screen.NONE, 0, 0, 0))
    rows.sort(key=lambda row: str(row[:2]))
    return ("CLUSTER", "ENDPOINT", "HEALTH", ">REQUESTS", ">ERRORS", ">CONNECTIONS"), rows


def _listeners(answer: Mapping[str, Any]) -> _View:
    rows: list[tuple[object, ...]] = [
        (listener.get("name", ""), _address(listener.get("local_address")), screen.NONE, "ok")
        for listener in _mappings(answer.get("listener_statuses"))
    ]
    for section in _mappings(answer.get("configs")):
        # Envoy lists them one by one when asked for them alone, and in a section of the whole otherwise.
        for entry in (section, *_mappings(section.get("dynamic_listeners"))):
            state, problem = _mapping(entry.get("active_state")), _mapping(entry.get("error_state"))
            listener = _mapping(state.get("listener"))
            if listener or problem:
                to = ", ".join(dict.fromkeys(_leads_to(listener.get("filter_chains"))))
                rows.append(
                    (
                        entry.get("name", ""),
                        _address(listener.get("address")),
                        to or screen.NONE,
                        problem.get("details", "rejected") if problem else "ok",
                    )
                )
    return ("LISTENER", "ADDRESS", "LEADS TO", "STATE"), sorted(rows, key=str)


def _leads_to(value: Any) -> Iterator[str]:
    """Yield where the filters of a listener send what they get: route tables, or clusters."""
    if isinstance(value, list):
        for inner in value:
            yield from _leads_to(inner)
    elif isinstance(value, dict):
        kind = str(value.get("@type", ""))
        if kind.endswith(".HttpConnectionManager"):
            table = _mapping(value.get("rds")).get("route_config_name")
            yield f"routes {table}" if table else "routes of its own"
        elif kind.endswith(".TcpProxy"):
            yield f"bytes to {value.get('cluster', 'weighted clusters')}"
        else:
            for inner in value.values():
                yield from _leads_to(inner)


def _routes(answer: Mapping[str, Any]) -> _View:
    rows: list[tuple[object, ...]] = [
        (
            table.get("name", ""),
            ", ".join(map(str, host.get("domains") or ())),
            _match(route.get("match") or {}),
            _action(route),
        )
        for table in sorted(_route_tables(answer), key=lambda table: str(table.get("name", "")))
        for host in _mappings(table.get("virtual_hosts"))
        for route in _mappings(host.get("routes"))
    ]
    return ("TABLE", "DOMAINS", "MATCH", "TO"), rows


def _certificates(answer: Mapping[str, Any]) -> _View:
    """Show each certificate once, though every TLS context of a sidecar names it."""
    rows: dict[tuple[object, ...], None] = {}
    for context in _mappings(answer.get("certificates")):
        for field, what in (("cert_chain", "identity"), ("ca_cert", "trusted")):
            for certificate in _mappings(context.get(field)):
                names = [str(name) for one in _mappings(certificate.get("subject_alt_names")) for name in one.values()]
                row = (
                    what,
                    ", ".join(names) or screen.NONE,
                    str(certificate.get("serial_number", screen.NONE))[:16],
                    certificate.get("valid_from", screen.NONE),
                    certificate.get("expiration_time", screen.NONE),
                )
                rows.setdefault(row)
    return ("CERTIFICATE", "NAMES", "SERIAL", "VALID FROM", "UNTIL"), sorted(rows, key=str)


def _stats(answer: Mapping[str, Any]) -> _View:
    rows: list[tuple[object, ...]] = [
        (stat["name"], stat["value"])
        for stat in _mappings(answer.get("stats"))
        # What remains of limits that nobody has set is a large number, and no news.
        if stat.get("name") and stat.get("value") and ".remaining_" not in str(stat["name"])
    ]
    return ("COUNTER OR GAUGE (NOT ZERO)", ">VALUE"), rows


_VIEWS: Mapping[str, Callable[[Mapping[str, Any]], _View]] = {
    "config": _config,
    "clusters": _clusters,
    "listeners": _listeners,
    "routes": _routes,
    "certificates": _certificates,
    "stats": _stats,
}


def _route_tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield route tables wherever they are: Envoy nests them differently for a part and for the whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "route_config" and isinstance(inner, dict) and "virtual_hosts" in inner:
                yield inner
            else:
                yield from _route_tables(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _route_tables(inner)


def _match(match: Mapping[str, Any]) -> str:
    if "safe_regex" in match:
        path = f"~{(match['safe_regex'] or {}).get('regex', '')}"
    elif "prefix" in match:
        path = f"{match['prefix']}*"
    else:
        path = str(match.get("path") or match.get("path_separated_prefix") or "*")
    conditions = [str(header.get("name")) for header in _mappings(match.get("headers"))]
    conditions += [f"?{query.get('name')}" for query in _mappings(match.get("query_parameters"))]
    return f"{path} if {', '.join(conditions)}" if conditions else path


def _action(route: Mapping[str, Any]) -> str:
    if action := route.get("route"):
        if shares := _mappings((action.get("weighted_clusters") or {}).get("clusters")):
            return ", ".join(f"{share.get('name')} {share.get('weight', 0)}" for share in shares)
        return str(action.get("cluster") or action.get("cluster_header") or screen.NONE)
    if "redirect" in route:
        return "redirect"
    if "direct_response" in route:
        return f"answer {(route['direct_response'] or {}).get('status', '')}"
    return screen.NONE


def _address(address: Any) -> str:
    if not isinstance(address, dict):
        return screen.NONE
    if isinstance(socket := address.get("socket_address"), dict):
        return f"{socket.get('address', '')}:{socket.get('port_value', '')}"
    if isinstance(pipe := address.get("pipe"), dict):
        return str(pipe.get("path", ""))
    if isinstance(internal := address.get("envoy_internal_address"), dict):
        return str(internal.get("server_listener_name", ""))
    return screen.NONE


def _health(status: Any) -> str:
    if not isinstance(status, dict):
        return screen.NONE
    failed = [key.removeprefix("failed_").replace("_", " ") for key, value in status.items() if value is True]
    return ", ".join(failed) or str(status.get("eds_health_status", "HEALTHY")).lower()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
