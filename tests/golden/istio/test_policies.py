"""What each field of Istio's resources means: one folder per case, the policy in, what the proxies are told out."""

from pathlib import Path

import pytest

from harness import policies

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/policy.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_a_policy_means_what_is_on_file(case, golden):
    text = (HERE / case / "policy.yaml").read_text(encoding="utf-8")
    problems = policies.problems(text)
    errors = [problem for problem in problems if problem.severity == "error"]

    golden(HERE / case / "problems.txt", "".join(f"{problem}\n" for problem in problems))
    golden(HERE / case / "proxies.yaml", "" if errors else policies.as_text(_caused(text)))


def _caused(text):
    """Return what the policy changes of what proxies are told, once for all proxies that are told the same."""
    before, after = policies.proxies(), policies.proxies(text)
    groups = {}
    for node, proxy in after.items():
        shown = {}
        for part in ("gateways", "inbound", "outbound", "tables", "clusters", "endpoints"):
            old = getattr(before[node], part)
            if new := [policies.plain(item) for item in getattr(proxy, part) if item not in old]:
                shown[part] = new
        kept = {cluster.name for cluster in proxy.clusters}
        if gone := [cluster.name for cluster in before[node].clusters if cluster.name not in kept]:
            shown["without"] = gone
        if proxy.unclaimed != before[node].unclaimed:
            shown["unclaimed"] = proxy.unclaimed
        if proxy.peers != before[node].peers:
            shown["peers"] = policies.plain(proxy.peers)
        if proxy.guard != before[node].guard:
            shown["guard"] = policies.plain(proxy.guard)
        if proxy.identity.reports != before[node].identity.reports:
            shown["reports"] = policies.plain(proxy.identity.reports)
        groups.setdefault(policies.as_text(shown), (shown, []))[1].append(node)
    return {", ".join(nodes): shown for shown, nodes in groups.values() if shown}
