"""`clover get [KIND[/NAME]]`: the Istio resources in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from clover.cli import api, kinds, screen
from clover.cli import output as printing
from clover.cli.answers import ResourcesAnswer
from clover.cli.screen import Column
from clover.kit import yaml_text

COLUMNS = (
    Column(title="KIND"),
    Column(title="NAME"),
    Column(title="NAMESPACE"),
    Column(title="HOSTS"),
    Column(title="SAYS"),
)


class Format(StrEnum):
    """How to print resources."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


def get(
    resource: Annotated[str, typer.Argument(metavar="[KIND[/NAME]]", help="A kind, or one resource; none: all.")] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print them.")] = Format.TABLE,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only those of this namespace.")] = "",
    chain: api.ChainOption = "",
) -> None:
    """Print the Istio resources that the chain's mesh obeys."""
    kind, name = kinds.resource_named(resource)
    query = {"kind": kind, "name": name, "namespace": namespace}
    answer: ResourcesAnswer = api.find(chain).get("/v1/resources", query)
    match output:
        case Format.TABLE:
            screen.show(lines(answer["items"]))
        case Format.YAML:
            print("---\n".join(map(yaml_text.dump, answer["items"])), end="")
        case Format.JSON:
            printing.print_json(answer["items"][0] if name and len(answer["items"]) == 1 else answer)


def lines(items: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """Yield the table."""
    if not items:
        yield Text("no resources")
        return
    rows = []
    for item in items:
        metadata, spec = item.get("metadata", {}), item.get("spec") or {}
        rows.append(
            [
                kinds.shown(item.get("kind", ""), item.get("apiVersion", "")),
                metadata.get("name", ""),
                metadata.get("namespace", ""),
                ", ".join(_hosts(spec)) or screen.NONE,
                _gist(item.get("kind", ""), spec) or screen.NONE,
            ]
        )
    yield from screen.table(COLUMNS, rows)


def _hosts(spec: Mapping[str, Any]) -> list[str]:
    if host := spec.get("host"):
        return [str(host)]
    servers, listeners = spec.get("servers") or (), spec.get("listeners") or ()
    return [
        str(host)
        for host in (
            *(spec.get("hosts") or ()),
            *(spec.get("hostnames") or ()),
            *(host for server in servers for host in server.get("hosts") or ()),
            *dict.fromkeys(listener.get("hostname") or "*" for listener in listeners),
        )
    ]


def _gist(kind: str, spec: Mapping[str, Any]) -> str:
    """Return the resource in a few words."""
    match kind:
        case "VirtualService":
            routes = spec.get("http") or []
            first = _split(routes[0].get("route") or ()) if routes else ""
            more = len(routes) - 1
            return f"{first or 'no route'} (and {screen.count(more, 'more rule')})" if more > 0 else first
        case "DestinationRule":
            subsets = [str(subset.get("name")) for subset in spec.get("subsets") or ()]
            return f"subsets {', '.join(subsets)}" if subsets else "traffic policy" if spec.get("trafficPolicy") else ""
        case "Gateway":
            ports = [
                *((server.get("port") or {}).get("number") for server in spec.get("servers") or ()),
                *dict.fromkeys(listener.get("port") for listener in spec.get("listeners") or ()),
            ]
            return f"ports {', '.join(map(str, ports))}"
        case "HTTPRoute" | "GRPCRoute":
            return _attached(spec)
        case _:
            return ""


def _attached(spec: Mapping[str, Any]) -> str:
    """Return where a route of the Gateway API gets its requests from, and where its first rule sends them."""
    parents = ", ".join(str(parent.get("name")) for parent in spec.get("parentRefs") or ())
    rules = spec.get("rules") or []
    backends = (rules[0].get("backendRefs") or ()) if rules else ()
    shares = ", ".join(
        f"{backend.get('name')} {backend['weight']}" if "weight" in backend else str(backend.get("name"))
        for backend in backends
    )
    more = f" (and {screen.count(len(rules) - 1, 'more rule')})" if len(rules) > 1 else ""
    return f"{parents or 'no parent'} to {shares or 'no backend'}{more}"


def _split(route: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for share in route:
        destination = share.get("destination") or {}
        name = str(destination.get("host", "")).partition(".")[0]
        subset = destination.get("subset")
        weight = f" {share['weight']}%" if "weight" in share else ""
        parts.append(f"{name}@{subset}{weight}" if subset else f"{name}{weight}")
    return ", ".join(parts)
