"""
Istio's own nftables rules: with the same options, every packet goes the same way.

Names of chains and the order of rules are not compared, but what becomes of each kind of packet. Two things differ on
purpose: Istio knows the sidecar's packets by user and group 1337, Clover by a socket mark; and port 15008, which Istio
keeps for its tunnels between nodes (HBONE), is a port like any other, so it is left out.

`interception.txt` lists the sets that agree. One that is in the list and differs is a regression; one that is not and
agrees belongs into it.
"""

import re
import subprocess
from pathlib import Path

import pytest

from clover.runtime.local import interception
from clover.runtime.plan import Interception, Plan
from harness import nftables

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "conformance" / "istio" / "interception"
PASSING = frozenset(
    line
    for line in (Path(__file__).parent / "interception.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)

PLAN = Plan(
    chain="sample", directory="/run", network="10.244.0.0/24", services_network="10.96.0.0/16", hosts={}, workloads=()
)
NOTHING = {"include_inbound_ports": (), "include_outbound_ranges": ()}
OPTIONS = {
    "basic-exclude-nic": {"exclude_interfaces": ("not-istio-nic",)},
    "drop-invalid": {"drop_invalid": True},
    "host-ipv4-loopback-cidr": {"loopback": "127.0.0.1/8"},
    "inbound-ports-include": {"include_inbound_ports": (32000, 31000)},
    "inbound-ports-tproxy": {"include_inbound_ports": (32000, 31000)},
    "inbound-ports-wildcard": {"include_inbound_ports": None},
    "inbound-ports-wildcard-tproxy": {"include_inbound_ports": None},
    "ip-range": {"include_outbound_ranges": ("9.9.0.0/16",), "exclude_outbound_ranges": ("1.1.0.0/16",)},
    "ipnets": {"include_outbound_ranges": ("10.0.0.0/8",)},
    "ipnets-with-kube-virt-interfaces": {"include_outbound_ranges": ("10.0.0.0/8",)},
    "ipv6-inbound-ports": {"include_inbound_ports": (4000, 5000)},
    "ipv6-ipnets": {"include_inbound_ports": (4000, 5000)},
    "ipv6-outbound-ports": {"include_outbound_ports": (32000, 31000)},
    "kube-virt-interfaces": {"include_outbound_ranges": None},
    "loopback-outbound-iprange": {"include_outbound_ranges": ("127.1.2.3/32",)},
    "outbound-ports-include": {"include_outbound_ports": (32000, 31000)},
    "tproxy": {"include_outbound_ranges": None},
}
"""The options of Istio's cases, as far as there are such options here; by default these capture nothing."""

CASES = [path.stem for path in sorted(DATA.glob("*.golden"))] or [
    pytest.param("", marks=pytest.mark.skip(reason=f"{DATA} is not there"))
]


def differences(case: str) -> list[str]:
    """Return what goes another way than on Istio."""
    theirs = (DATA / f"{case}.golden").read_text(encoding="utf-8")
    ours = interception.rules(PLAN, Interception(**(NOTHING | OPTIONS.get(case, {}))))
    try:
        there, here = nftables.from_commands(theirs), nftables.from_file(ours)
        return [
            f"{packet}: {nftables.fate(here, packet)!r}, on Istio {nftables.fate(there, packet)!r}"
            for packet in packets(theirs + ours)
            if nftables.fate(here, packet) != nftables.fate(there, packet)
        ]
    except nftables.UnknownRuleError as rule:
        return [f"a rule of Istio's that has no match here: {rule}"]


def packets(*rules: str):
    """Return packets to and beside every port, address and interface that rules name."""
    text = " ".join(rules)
    ports = {int(found) for found in re.findall(r"dport (?:!= )?(\d+)", text)} - {15008}
    named = {found for found in re.findall(r"daddr (?:!= )?([\d.]+)", text)}
    interfaces = {found.strip('"') for found in re.findall(r"[io]ifname (\S+)", text)}
    beside = {"127.0.0.1", "127.9.9.9", "10.96.0.4", "93.184.216.34", "9.9.200.1", "1.1.200.1"}
    return nftables.packets({*ports, 80, 443, 15001, 15006}, named | beside, {*interfaces, "lo", "eth0"})


@pytest.mark.parametrize("case", CASES)
def test_every_packet_goes_the_way_it_goes_on_istio(case):
    found = differences(case)

    if case in PASSING:
        assert found == []
    else:
        assert found, f"{case} agrees: add it to interception.txt"


def test_no_case_of_the_list_is_gone():
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    assert set(CASES) >= PASSING


EVERYTHING = Interception(
    include_inbound_ports=(8080, 9090),
    exclude_inbound_ports=(15020,),
    include_outbound_ranges=("10.0.0.0/8", "192.168.0.0/16"),
    exclude_outbound_ranges=("10.1.0.0/16",),
    include_outbound_ports=(5432,),
    exclude_outbound_ports=(3306,),
    exclude_interfaces=("eth1",),
    loopback="127.0.0.0/8",
    drop_invalid=True,
)


@pytest.mark.parametrize(
    ("packet", "fate"),
    [
        ({"hook": "prerouting", "port": 8080}, ":15006"),
        ({"hook": "prerouting", "port": 80}, ""),
        ({"hook": "prerouting", "port": 8080, "interface": "eth1"}, ""),
        ({"hook": "prerouting", "port": 8080, "valid": False}, "drop"),
        ({"hook": "output", "destination": "10.2.0.1"}, ":15001"),
        ({"hook": "output", "destination": "10.1.0.1"}, ""),
        ({"hook": "output", "destination": "10.2.0.1", "port": 3306}, ""),
        ({"hook": "output", "destination": "93.184.216.34"}, ""),
        ({"hook": "output", "destination": "93.184.216.34", "port": 5432}, ":15001"),
        ({"hook": "output", "destination": "10.1.0.1", "port": 5432}, ""),
        ({"hook": "output", "destination": "10.2.0.1", "interface": "eth1"}, ""),
        ({"hook": "output", "destination": "10.2.0.1", "sidecar": True}, ""),
    ],
)
def test_what_is_excluded_is_left_alone_and_what_is_included_is_taken(packet, fate):
    usual = {"interface": "eth0", "source": "10.244.0.7", "destination": "10.2.0.1", "port": 80}
    rules = nftables.from_file(interception.rules(PLAN, EVERYTHING))

    assert nftables.fate(rules, nftables.Packet(**(usual | packet))) == fate


@pytest.mark.local
@pytest.mark.parametrize(
    "wanted",
    [Interception(), EVERYTHING, *(Interception(**(NOTHING | OPTIONS.get(case, {}))) for case in sorted(PASSING))],
)
def test_the_kernel_takes_the_rules(wanted):
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "--file", "-"],
        input=interception.rules(PLAN, wanted),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, "")
