"""Ambassadors without engines: they answer the real control agent, and remember what they were asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import Message

from clover.control import convert, difference
from clover.control._proto import control_pb2 as pb
from clover.control.client import Answer, Answered, CallFailedError
from clover.control.methods import Method
from clover.control.settings import Controlled
from clover.errors import Problem
from clover.functions.state import State
from clover.spec.configuration import (
    Backend,
    BlockPolicy,
    CacheConfiguration,
    FirewallConfiguration,
    HttpMatch,
    IdsConfiguration,
    IdsRule,
    LoadBalancerConfiguration,
    ServerConfiguration,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_RULE = IdsRule(id=9_000_000, message="a scanner", severity=1, http=HttpMatch(field="user-agent", contains="scan"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    function: str
    version: str
    type: str
    engine: str
    configuration: Any

    @property
    def address(self) -> str:
        return f"{self.function}-{self.version}:50054"


_CHAIN = (
    _Made(
        function="access-control", version="v1", type="firewall", engine="modsecurity",
        configuration=FirewallConfiguration(
            backends=(Backend(host="http-lb"),), block_policy=BlockPolicy(threshold=2, allow=("10.0.0.0/8",))
        ),
    ),
    _Made(
        function="http-lb", version="v1", type="load-balancer", engine="nginx",
        configuration=LoadBalancerConfiguration(backends=(Backend(host="web-cache"),)),
    ),
    _Made(
        function="http-lb", version="v2", type="load-balancer", engine="haproxy",
        configuration=LoadBalancerConfiguration(
            backends=(Backend(host="web-cache", weight=3), Backend(host="web-cache2", state="drain")),
            algorithm="least-connections",
        ),
    ),
    _Made(function="ids", version="v1", type="ids", engine="suricata", configuration=IdsConfiguration(rules=(_RULE,))),
    _Made(function="web", version="v1", type="server", engine="nginx", configuration=ServerConfiguration()),
    _Made(
        function="web-cache", version="v1", type="cache", engine="nginx",
        configuration=CacheConfiguration(backends=(Backend(host="web"),), default_ttl=90.0),
    ),
)  # fmt: skip

CONTROLLED = tuple(
    Controlled(
        function=one.function,
        version=one.version,
        workload=f"{one.function}-{one.version}",
        type=one.type,
        engine=one.engine,
        host=f"{one.function}-{one.version}",
        port=50054,
    )
    for one in _CHAIN
)


class StubAmbassadors:
    """What the control agent calls in place of gRPC."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        """Address, method, request."""
        self._states = {
            one.address: State(type=one.type, generation=3, configuration=one.configuration, applied_at=1_790_000_000.0)
            for one in _CHAIN
        }
        self.overtaken = False
        """Somebody else changes everything after it is read."""
        self.hint = ""
        """What to do, of calls that are denied; '': none is."""

    def requests(self, method: str) -> list[Any]:
        return [request for _, asked, request in self.asked if asked == method]

    async def call(self, address: str, method: Method, request: Any, *, timeout_s: float) -> Answered:
        self.asked.append((address, method.name, request))
        answer: Message = getattr(self, method.name)(address, request)
        return Answered(message=answer, trace_id=TRACE_ID)

    async def stream(self, address: str, method: Method, request: Any) -> AsyncIterator[Message]:
        self.asked.append((address, method.name, request))
        for generation in (3, 4):
            status = pb.Status(workload="w", generation=generation, engine_ready=generation == 3, changing=True)
            status.statistics["requests_total"] = 12.0
            status.time.FromSeconds(1_790_000_000)
            yield status
        raise _failed("INTERNAL", "CLV3306", "the engine has died")

    def Get(self, address: str, request: pb.GetRequest) -> Message:
        if self.hint:
            raise _failed("PERMISSION_DENIED", "CLV4265", "denied", hint=self.hint)
        state = self._states[address]
        said = pb.State(generation=state.generation, engine_ready=True)
        said.configuration.CopyFrom(convert.message_from(state.configuration))
        said.applied_at.FromSeconds(int(state.applied_at))
        if self.overtaken:
            self._states[address] = replace(state, generation=state.generation + 1)
        return said

    def Apply(self, address: str, request: pb.ApplyRequest) -> Message:
        before = self._states[address]
        wanted = convert.configuration_from(request.configuration, type_=before.type)
        if wanted == before.configuration:
            return pb.ApplyResponse(generation=before.generation, method=pb.ApplyResponse.METHOD_NONE)
        if unknown := [one.host for one in getattr(wanted, "backends", ()) if one.host == "nobody"]:
            told = Problem(
                code="CLV3302", where="load_balancer.backends[1].host", what=f"{unknown[0]!r} is no function"
            )
            raise CallFailedError(Answer(code="INVALID_ARGUMENT", message=told.what), 4, told)
        if request.expected_generation not in (0, before.generation):
            raise _failed(
                "FAILED_PRECONDITION",
                "CLV3301",
                f"generation {before.generation} is in force, not the expected {request.expected_generation}",
            )
        after = replace(before, generation=before.generation + 1, configuration=wanted)
        if not request.dry_run:
            self._states[address] = after
        return self._changed(diff=difference.diff(before, after), dry_run=request.dry_run)

    def _changed(self, *, diff: str = "", dry_run: bool = False) -> pb.ApplyResponse:
        said = pb.ApplyResponse(
            generation=4, changed=True, diff=diff, method=pb.ApplyResponse.METHOD_RELOAD, dry_run=dry_run
        )
        for name, took_ms in (("render", 2), ("check", 50), ("activate", 110), ("confirm", 50)):
            said.steps.add(name=name).duration.FromMilliseconds(took_ms)
        return said

    def ListBackends(self, address: str, request: Any) -> Message:
        said = pb.ListBackendsResponse(generation=3)
        one = said.backends.add(engine_state="UP", requests_total=1234, active=2)
        one.backend.MergeFrom(pb.Backend(host="web-cache", port=9180, weight=3, state=pb.BACKEND_STATE_READY))
        other = said.backends.add()
        other.backend.MergeFrom(pb.Backend(host="web-cache2", weight=1, state=pb.BACKEND_STATE_DRAIN))
        return said

    def SetBackendState(self, address: str, request: Any) -> Message:
        return self._changed()

    def PurgeCache(self, address: str, request: Any) -> Message:
        return pb.PurgeCacheResponse(purged=2) if request.url else pb.PurgeCacheResponse()

    def ListRules(self, address: str, request: Any) -> Message:
        message = convert.message_from(self._states[address].configuration)
        return pb.ListRulesResponse(rules=message.ids.rules, generation=3)

    def AddRule(self, address: str, request: Any) -> Message:
        return self._changed()

    def RemoveRule(self, address: str, request: Any) -> Message:
        return self._changed()

    def ListBlocks(self, address: str, request: Any) -> Message:
        said = pb.ListBlocksResponse()
        entry = said.blocks.add(
            address="192.0.2.7",
            reason="2 alerts in 10 s",
            alert_ids=["a", "b"],
            trace_id="0af7651916cd43dd8448eb211c80319c",
        )
        entry.since.FromSeconds(1_790_000_000)
        entry.until.FromSeconds(1_790_000_060)
        said.blocks.add(address="2001:db8::1").until.FromSeconds(1_790_000_600)
        return said

    def Block(self, address: str, request: Any) -> Message:
        said = pb.BlockResponse()
        said.block.address = request.address
        said.block.until.FromSeconds(1_790_000_600)
        return said

    def Unblock(self, address: str, request: Any) -> Message:
        return pb.UnblockResponse(unblocked=request.address == "192.0.2.7")

    def ListFiles(self, address: str, request: Any) -> Message:
        return pb.ListFilesResponse(files=[pb.File(path="a/index.html", bytes=5120, sha256="ab" * 32)])

    def UploadFile(self, address: str, request: Any) -> Message:
        return self._changed()

    def DeleteFile(self, address: str, request: Any) -> Message:
        return pb.ApplyResponse(generation=3, method=pb.ApplyResponse.METHOD_NONE)


def _failed(code: str, problem: str, what: str, *, hint: str = "") -> CallFailedError:
    told = Problem(code=problem, where="Apply at http-lb-v2:50054", what=what, hint=hint)
    failure = CallFailedError(Answer(code=code, message=what), 4, told)
    failure.trace_id = TRACE_ID
    return failure
