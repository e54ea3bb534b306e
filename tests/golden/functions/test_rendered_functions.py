"""Every file and command of every driver, word for word."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from clover.functions import registry
from clover.functions.driver import Settings
from clover.functions.snort import driver as snort
from clover.spec.chain import FunctionType
from clover.spec.configuration import (
    Backend,
    CacheConfiguration,
    FirewallConfiguration,
    IdsConfiguration,
    LoadBalancerConfiguration,
    ServerConfiguration,
)

HERE = Path(__file__).parent
ROOT = "/run/clover/sdc/w"
SITES = """{"sites": [
  {"hosts": ["shop.example", "*.shop.example"], "locations": [
    {"path": "/", "match": "prefix", "respond": {"status": 503, "body": "Closed \\"today\\" for $reasons\\n"}}]},
  {"locations": [
    {"path": "/healthz", "respond": {"body": "<b>fine</b>", "contentType": "text/html; charset=utf-8"}},
    {"path": "/old", "redirect": {"to": "/docs/?from=old", "status": 301}},
    {"path": "/docs/", "match": "prefix", "files": true},
    {"path": "/status/", "match": "prefix", "redirect": {"to": "https://status.example/"}}]}
]}"""

FIREWALL = """{
  "backends": [{"host": "http-lb"}], "mode": "detection-only", "paranoiaLevel": 2, "anomalyThreshold": 10,
  "excludedRules": [942100, 942101, 942102, 920300], "deniedNetworks": ["203.0.113.0/24", "::ffff:198.51.100.7"],
  "rules": [
    {"id": 100001, "target": "path", "operator": "begins-with", "value": "/in/", "message": "it's \\"internal\\""},
    {"id": 100002, "target": "header", "name": "X-C", "operator": "regex", "value": "^(red|blue)[ '\\"]?%{d}\\\\d+$"},
    {"id": 100003, "target": "argument", "name": "user", "operator": "equals", "value": "ana é", "action": "log"}]
}"""

IDS = """{"rules": [
  {"id": 1000001, "message": "a \\"scanner\\"; or \\\\ none", "severity": 1, "http": {"field": "user-agent", "contains": "sql map"}},
  {"id": 1000002, "http": {"field": "host", "contains": "Admin.example"}},
  {"id": 1000003, "http": {"field": "body", "contains": "caf\u00e9", "caseSensitive": true}},
  {"id": 1000004, "text": "alert http any any -> any any (http.uri; pcre:\\"/id=[0-9]{5}/\\"; classtype:misc-attack;)"}]
}"""  # noqa: E501

IDS_SNORT = IDS.replace("any any -> any any (http.uri", "(http_uri").replace(" classtype:misc-attack;", "")

CASES = {
    "firewall": (
        registry.driver(FunctionType.FIREWALL, "modsecurity"),
        Settings(
            workload="access-control",
            function="access-control",
            version="v1",
            port=9180,
            configuration=FirewallConfiguration(backends=(Backend(host="http-lb"),)),
            directory=f"{ROOT}/access-control",
            user="www-data",
        ),
    ),
    "firewall-configured": (
        registry.driver(FunctionType.FIREWALL, "modsecurity"),
        Settings(
            workload="access-control",
            function="access-control",
            version="v1",
            port=9180,
            generation=7,
            configuration=FirewallConfiguration.model_validate_json(FIREWALL),
            directory=f"{ROOT}/access-control",
        ),
    ),
    "load-balancer-haproxy": (
        registry.driver(FunctionType.LOAD_BALANCER, "haproxy"),
        Settings(
            workload="http-lb-v1",
            function="http-lb",
            version="v1",
            port=9180,
            configuration=LoadBalancerConfiguration(
                backends=(Backend(host="web-cache"), Backend(host="clover-server5")),
            ),
            services={"web-cache": 9180, "clover-server5": 8000},
            directory=f"{ROOT}/http-lb-v1",
            user="www-data",
        ),
    ),
    "load-balancer-haproxy-rootless": (
        registry.driver(FunctionType.LOAD_BALANCER, "haproxy"),
        Settings(
            workload="http-lb-v1",
            function="http-lb",
            version="v1",
            port=9180,
            configuration=LoadBalancerConfiguration(
                backends=(
                    Backend(host="web-cache", weight=3),
                    Backend(host="clover-server5", port=8000, weight=2, state="drain"),
                    Backend(host="clover-server6", weight=256, state="disabled"),
                ),
                algorithm="source",
            ),
            generation=12,
            directory=f"{ROOT}/http-lb-v1",
        ),
    ),
    "load-balancer-nginx": (
        registry.driver(FunctionType.LOAD_BALANCER, "nginx"),
        Settings(
            workload="http-lb-v2",
            function="http-lb",
            version="v2",
            port=9180,
            configuration=LoadBalancerConfiguration(
                backends=(
                    Backend(host="clover-server4", weight=3),
                    Backend(host="clover-server5", port=8000),
                    Backend(host="clover-server6", state="drain"),
                ),
                algorithm="source",
            ),
            generation=12,
            directory=f"{ROOT}/http-lb-v2",
            user="www-data",
        ),
    ),
    "cache": (
        registry.driver(FunctionType.CACHE, "nginx"),
        Settings(
            workload="web-cache",
            function="web-cache",
            version="v1",
            port=9180,
            configuration=CacheConfiguration(
                backends=tuple(Backend(host=f"clover-server{n}") for n in (1, 2, 3)),
                default_ttl=90.5,
                max_size_mib=64,
                uncached_paths=("/private/", "/v1.0"),
            ),
            directory=f"{ROOT}/web-cache",
        ),
    ),
    "cache-varnish": (
        registry.driver(FunctionType.CACHE, "varnish"),
        Settings(
            workload="web-cache",
            function="web-cache",
            version="v2",
            port=9180,
            configuration=CacheConfiguration(
                backends=(
                    Backend(host="clover-server1", weight=3),
                    Backend(host="clover-server2", port=81),
                    Backend(host="clover-server3", state="drain"),
                ),
                default_ttl=90.5,
                max_size_mib=64,
                uncached_paths=("/private/", "/v1.0"),
            ),
            generation=2,
            directory=f"{ROOT}/web-cache-v2",
            user="www-data",
        ),
    ),
    "ids-snort": (
        snort.Ids(),
        Settings(
            workload="ids",
            function="ids",
            version="v1",
            port=9180,
            configuration=IdsConfiguration.model_validate_json(IDS_SNORT),
            generation=3,
            directory=f"{ROOT}/ids",
            user="www-data",
        ),
    ),
    "ids-suricata": (
        registry.driver(FunctionType.IDS, "suricata"),
        Settings(
            workload="ids",
            function="ids",
            version="v1",
            port=9180,
            configuration=IdsConfiguration.model_validate_json(IDS),
            generation=3,
            directory=f"{ROOT}/ids",
            user="www-data",
        ),
    ),
    "server": (
        registry.driver(FunctionType.SERVER, "nginx"),
        Settings(
            workload="clover-server1",
            function="clover-server1",
            version="v1",
            port=9180,
            configuration=ServerConfiguration(),
            directory=f"{ROOT}/clover-server1",
        ),
    ),
    "server-sites": (
        registry.driver(FunctionType.SERVER, "nginx"),
        Settings(
            workload="clover-server2",
            function="clover-server2",
            version="v1",
            port=9180,
            configuration=ServerConfiguration.model_validate_json(SITES),
            generation=2,
            files={"docs/index.html": "files/1"},
            directory=f"{ROOT}/clover-server2",
            user="www-data",
        ),
    ),
    "server-command": (
        registry.driver(FunctionType.SERVER, "command"),
        Settings(
            workload="shop-v2",
            function="shop",
            version="v2",
            port=8000,
            configuration=ServerConfiguration(),
            directory=f"{ROOT}/shop-v2",
            command=("./serve.py", "--colour", "blue and green"),
            working_directory="/home/ana/shop",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_driver_renders_these_files_and_this_command(case, golden):
    driver, settings = CASES[case]
    program = driver.render(settings)

    for name, text in program.files.items():
        if name.startswith("site/bytes/"):
            continue  # their size is what counts, and it has a test of its own
        golden(HERE / case / name, text)
    values = {**asdict(program), "files": sorted(program.files)}
    golden(HERE / case / "program.json", json.dumps(values, indent=2) + "\n")


def test_no_golden_file_is_left_over():
    expected = {HERE / case / "program.json" for case in CASES} | {
        HERE / case / name
        for case, (driver, settings) in CASES.items()
        for name in driver.render(settings).files
        if not name.startswith("site/bytes/")
    }

    cases = [path for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {path for case in cases for path in case.rglob("*") if path.is_file()} == expected
