"""
Policies and what they do, on one small running mesh: every file of `policies/` is a list of cases.

See policies/README.md for what a case can say.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from harness import asking, chains
from harness.ports import free_port

FOLDER = Path(__file__).parent / "policies"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "chain.yaml")
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in FILES
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
OUTSIDE = "outside"
PATIENCE_S = 5


@pytest.fixture(scope="module")
def mesh():
    """Bring the small chain up once for all cases."""
    with chains.clover() as command:
        folder = command.root / "policies"
        shutil.copytree(FOLDER, folder)
        up = json.loads(command.ok("up", folder, "--port", str(free_port()), "--json"))
        documents = yaml.safe_load_all(command.ok("render", folder))
        meant = {key(document): document for document in documents if document["kind"] != "Service"}
        yield SimpleNamespace(command=command, gateway=up["gateway"], meant=meant)


@pytest.mark.parametrize("case", CASES)
def test_a_policy_does_what_it_says(mesh, case):
    case = json.loads(json.dumps(case).replace("FREE_PORT", str(free_port())))
    if "refused" in case:
        refusal = mesh.command.call("apply", "-", stdin=case["apply"])

        assert (refusal.returncode, case["refused"] in refusal.stderr) == (2, True), refusal.stderr
        return
    applied = case.get("apply", "")
    if applied:
        mesh.command.ok("apply", "-", stdin=applied)
    try:
        for question in case["ask"]:
            within(PATIENCE_S if applied else 0, lambda asked=question: answer(mesh, asked))
    finally:
        restore(mesh, applied)


def within(seconds, check):
    """Repeat a check until it holds: connections that were open before a policy came are closed within two seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() >= deadline:
                raise


def answer(mesh, question):
    """Ask, and compare every answer with what is expected."""
    trace = secrets.token_hex(16)
    for found in ask(mesh, question, trace):
        seen = {
            "status": found.get("status"),
            "end": found.get("end"),
            "received": found.get("received"),
            "backend": found.get("headers", {}).get("x-served-by"),
        }
        for what, value in seen.items():
            if what in question:
                allowed = question[what] if isinstance(question[what], list) else [question[what]]
                assert value in allowed, (question, found)
        for name, value in question.get("header", {}).items():
            assert found["headers"].get(name) == value, (question, found)
        if "body" in question:
            assert question["body"] in found["body"], (question, found)
    if "record" in question:
        chains.eventually(lambda: recorded(mesh, trace, question["record"]), what=f"the record {question['record']}")


def ask(mesh, question, trace):
    """Ask from where the question says; the request belongs to the trace."""
    source = question.get("from", OUTSIDE)
    asked = {**question, "headers": {"traceparent": f"00-{trace}-{'1' * 16}-01", **question.get("headers", {})}}
    if "get" in question:
        url = question["get"]
        asked["url"] = url if "://" in url else f"{mesh.gateway}{url}"
    if source == OUTSIDE:
        return asking.answers(asked)
    script = Path(asking.__file__)
    done = subprocess.run(
        [sys.executable, "-m", "clover", "exec", source, "--", sys.executable, str(script)],
        input=json.dumps([asked]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=mesh.command.env(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


def recorded(mesh, trace, wanted):
    """Tell whether an access record of the trace has all that is wanted; text fits where it is contained."""
    done = mesh.command.call("trace", trace, "--json")
    if done.returncode != 0:
        return False
    lines = [line["attributes"] for line in json.loads(done.stdout)["logs"]]
    return any(all(str(value) in str(line.get(name, "")) for name, value in wanted.items()) for line in lines)


def restore(mesh, applied):
    """Put the mesh back to what the chain means."""
    changed = [key(document) for document in yaml.safe_load_all(applied) if document]
    for kind, namespace, name in changed:
        if (kind, namespace, name) not in mesh.meant:
            mesh.command.ok("delete", f"{kind}/{name}", "-n", namespace)
    if before := [mesh.meant[one] for one in changed if one in mesh.meant]:
        mesh.command.ok("apply", "-", stdin=yaml.safe_dump_all(before))


def key(document):
    metadata = document["metadata"]
    kind, group = document["kind"], document["apiVersion"].partition("/")[0]
    return f"{kind}.{group}" if kind == "Gateway" else kind, metadata.get("namespace", "default"), metadata["name"]
