"""
Policies and what they do, on one small running mesh: every file of `policies/` is a list of cases.

See policies/README.md for what a case can say.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from clover.cli import api
from clover.errors import CloverError
from harness import asking, chains, tokens
from harness.ports import free_port
from harness.web_certificates import Issuer

FOLDER = Path(__file__).parent / "policies"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "chain.yaml")
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in FILES
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
OUTSIDE = "outside"
ASKS = {"from", "get", "tcp", "grpc", "headers", "method", "data", "token", "count", "sni", "trusts", "shows"}
SPEAKS = {"send", "then_send", "until", "within_s"}
EXPECTS = {"status", "header", "body", "without", "backend", "backends", "end", "received", "record", "trace", "lost"}
"""What a question can say, together."""
PATIENCE_S = 20
TOLD_S, ASKED_AGAIN_S = 40, 3
CREDENTIALS = {"shop": "shop.example", "pay": "pay.example", "client": "client.example", "inside": "inside.example"}
"""Folders of certificates beside the chain, and the names in them."""


class Mesh:
    """The small chain while it runs: what asks it, and what tells what became of the questions."""

    def __init__(self, command, folder, gateway, words):
        self.command, self.folder, self.gateway, self.words = command, folder, gateway, words
        documents = yaml.safe_load_all(command.ok("render", folder))
        self.meant = {key(document): document for document in documents if document["kind"] != "Service"}
        """What the chain means, by kind, namespace and name."""
        (chain,) = api.running_chains(command.run)
        self.api = api.Client(chain)
        self.askers = {}

    def apply(self, text):
        return self.api.post("/v1/resources", {"documents": [{"name": "case.yaml", "text": text}], "dryRun": False})

    def restore(self, text):
        """Put the mesh back to what the chain means; what something else refers to goes after that."""
        changed = [key(document) for document in yaml.safe_load_all(text) if document]
        before = [self.meant[one] for one in changed if one in self.meant]
        left = [partial(self.delete, one) for one in reversed(changed) if one not in self.meant]
        left += [partial(self.apply, yaml.safe_dump_all(before))] if before else []
        while left:
            refused = []
            for step in left:
                try:
                    step()
                except CloverError:
                    refused.append(step)
            assert len(refused) < len(left), changed
            left = refused

    def delete(self, resource):
        kind, namespace, name = resource
        self.api.delete(f"/v1/resources/{kind}/{name}", {"namespace": namespace})

    def ask(self, question):
        """Return the answers to a question, asked from where it says."""
        source = question.get("from", OUTSIDE)
        if source == OUTSIDE:
            return asking.answers(question)
        asker = self.askers.get(source) or self.askers.setdefault(source, self._asker(source))
        print(json.dumps(question), file=asker.stdin, flush=True)
        return json.loads(asker.stdout.readline())

    def _asker(self, workload):
        return subprocess.Popen(
            [sys.executable, "-m", "clover", "exec", workload, "--", sys.executable, asking.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.command.env(),
        )

    def trace(self, trace_id):
        """Return a trace, or nothing while it is not there."""
        with contextlib.suppress(CloverError):
            return self.api.get(f"/v1/traces/{trace_id}")

    def lost_since(self, time_unix_nano):
        found = self.api.get("/v1/lost", {"sinceS": 60, "limit": 100})
        return [one for one in found if one["timeUnixNano"] >= time_unix_nano]

    def close(self):
        for asker in self.askers.values():
            # Leaving closes its standard input: it ends.
            with contextlib.suppress(BrokenPipeError), asker:
                pass


@pytest.fixture(scope="module")
def mesh():
    """Bring the small chain up once for all cases, and a server beside it on the host."""
    with chains.clover() as command, contextlib.ExitStack() as servers:
        folder = command.root / "policies"
        shutil.copytree(FOLDER, folder)
        issuer = Issuer()
        for name, host in CREDENTIALS.items():
            issuer.issue(host).write(folder / "credentials" / name, authority=issuer.root)
        (folder / "keys.json").write_text(tokens.signer("one").jwks, encoding="utf-8")
        outside = {how: servers.enter_context(server_outside(folder, how)) for how in ("alone", "tls")}
        up = json.loads(command.ok("up", folder, "--port", str(free_port()), "--json"))
        words = {
            "GATEWAY_PORT": up["gateway"].rpartition(":")[2],
            "GATEWAY": up["gateway"].removeprefix("http://"),
            "HOST_PORT": outside["alone"],
            "HOST_TLS_PORT": outside["tls"],
            "CREDENTIALS": str(folder / "credentials"),
            "JWKS": tokens.signer("one").jwks,
        }
        with contextlib.closing(Mesh(command, folder, up["gateway"], words)) as running:
            workloads = running.api.get("/v1/status")["workloads"]
            words.update({f"ADDRESS_OF_{one['workload']}": one["address"].partition(":")[0] for one in workloads})
            yield running


@contextlib.contextmanager
def server_outside(folder, how):
    """Run the echo on the host; yields its port."""
    port = str(free_port())
    environment = {**os.environ, "PORT": port, "CLOVER_WORKLOAD": OUTSIDE}
    command = [sys.executable, "echo.py", how]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE) as server:
        assert b"listening" in server.stdout.readline()
        try:
            yield port
        finally:
            server.terminate()


@pytest.mark.parametrize("case", CASES)
def test_a_policy_does_what_it_says(mesh, case):
    questions = [*case.get("ask", []), *case.get("then", [])]
    assert set().union(*questions) <= ASKS | SPEAKS | EXPECTS
    case = told(case, {**mesh.words, "FREE_PORT": str(free_port())})
    text = "---\n".join([case["apply"]] if isinstance(case.get("apply"), str) else case.get("apply", []))
    if "refused" in case:
        assert case["refused"] in refusal(mesh, text)
        return
    warned = [warning["code"] for warning in mesh.apply(text)["warnings"]] if text else []
    try:
        assert case.get("warned", "") in ["", *warned]
        answered(mesh, case["ask"], patience_s=PATIENCE_S if text else 0)
    finally:
        mesh.restore(text)
    answered(mesh, case.get("then", []), patience_s=PATIENCE_S)


def refusal(mesh, text):
    """Apply what must be refused; return the codes of the problems."""
    try:
        mesh.apply(text)
    except CloverError as refused:
        return [problem.code for problem in refused.problems]
    mesh.restore(text)
    return []


def answered(mesh, questions, *, patience_s):
    """
    Ask, until every answer and all that is told about it is as expected.

    Connections that were open before a policy came take one more request each: an answer may fit although the policy
    has not seen its request, of which nothing is told then.
    """
    left = questions
    for last in (False, False, True):
        asked = [within(patience_s, partial(answer, mesh, question)) for question in left]
        deadline = time.monotonic() + (TOLD_S if last else ASKED_AGAIN_S)
        while asked and (asked := [one for one in asked if not is_told(mesh, *one)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = [question for question, *_ in asked]
    assert not left


def told(case, words):
    """Return the case with the words of this run in place of those in capitals."""

    def replaced(value):
        match value:
            case str():
                for word, meaning in words.items():
                    value = value.replace(word, meaning)
                return value
            case list():
                return [replaced(item) for item in value]
            case dict():
                return {replaced(name): replaced(item) for name, item in value.items()}
        return value

    return replaced(case)


def within(seconds, check):
    """Repeat a check until it holds: connections that were open before a policy came take one more request each."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() >= deadline:
                raise


def answer(mesh, question):
    """Ask, and compare every answer with what is expected; return when that was, and the trace that it belongs to."""
    began, trace_id = time.time_ns(), secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{'1' * 16}-01", **question.get("headers", {})}
    asked = {**question, "headers": headers}
    if "token" in question:
        if "TOKEN" not in str(question):
            headers["authorization"] = "Bearer TOKEN"
        asked = told(asked, {"TOKEN": token(**question["token"])})
    if "get" in asked:
        asked["url"] = asked["get"] if "://" in asked["get"] else f"{mesh.gateway}{asked['get']}"
    answers = mesh.ask(asked)
    for found in answers:
        for what in ("status", "end"):
            if what in question:
                allowed = question[what] if isinstance(question[what], list) else [question[what]]
                assert found.get(what) in allowed, (question, found)
        if "backend" in question:
            assert found["headers"].get("x-served-by", "") in question["backend"], (question, found)
        for name, value in question.get("header", {}).items():
            assert found["headers"].get(name) == value, (question, found)
        for what in ("body", "received"):
            if what in question:
                fitting = question[what] in found[what] if question[what] else not found[what]
                assert fitting, (question, found)
        for text in question.get("without", []):
            assert text not in found["body"], (question, found)
    if "backends" in question:
        served = {found["headers"].get("x-served-by") for found in answers}
        assert len(served) == question["backends"], (question, served)
    return question, began, trace_id


def token(*, signed="one", **claims):
    """Return a token that says this: good, but for what it says, or by whom it is `signed`."""
    if signed == "nobody":
        return tokens.unsigned(**claims)
    return tokens.signer(signed).token(header={"kid": "one"}, **claims)


def is_told(mesh, question, began, trace_id):
    """Tell whether records, the trace and the list of what was lost have what is expected of them."""
    trace = mesh.trace(trace_id) if "record" in question or "trace" in question else {}
    if trace is None:
        return False
    records = [{**line, **line["attributes"]} for line in trace.get("logs", [])]
    lost = mesh.lost_since(began) if "lost" in question else []
    found = {"record": records, "trace": [trace], "lost": lost}
    return all(fits(question.get(what), there) for what, there in found.items())


def fits(wanted, found):
    """Tell whether one of those that were found has everything that is wanted; text fits where it is contained."""

    def has(one, name, value):
        there = str(one.get(name, "")).strip("-")
        return str(value) in there if value != "" else not there

    return not wanted or any(all(has(one, *item) for item in wanted.items()) for one in found)


def key(document):
    metadata = document["metadata"]
    kind, group = document["kind"], document["apiVersion"].partition("/")[0]
    qualified = f"{kind}.{group}" if group == "gateway.networking.k8s.io" and kind == "Gateway" else kind
    return qualified, metadata.get("namespace", "default"), metadata["name"]
