from pathlib import Path

from clover.cli.api import RunningChain
from clover.cli.exec import argv_in

CHAIN = RunningChain(name="sdc", directory=Path("/run/c/sdc"), init=71, socket=Path("/run/c/sdc/api.sock"))


def test_the_nodes_mounts_are_entered_before_the_workloads_network_which_only_they_show():
    assert " ".join(argv_in(CHAIN, "web", ["ip", "addr"], rootless=False)) == (
        "nsenter --target 71 --mount --pid -- nsenter --net=/run/c/sdc/netns/web -- ip addr"
    )


def test_an_ordinary_user_enters_the_user_namespace_too():
    assert "--user --preserve-credentials --mount" in " ".join(argv_in(CHAIN, "web", ["id"], rootless=True))
