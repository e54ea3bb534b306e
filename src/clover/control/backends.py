"""The calls about single backends of a function that forwards requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeGuard

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.calls import STATISTICS_S, apply_response
from clover.control.handlers import Call, Code, Handlers, Surroundings, Violation, call_error
from clover.control.settings import settings_from
from clover.control.transaction import Content, Transactions
from clover.functions.driver import BackendReport, BackendReports, EngineError, Running
from clover.functions.state import State
from clover.spec.chain import DATA_PORT
from clover.spec.configuration import Backend
from clover.spec.nearest import did_you_mean


class Backends:
    """`ListBackends` and `SetBackendState`."""

    def __init__(self, surroundings: Surroundings, transactions: Transactions) -> None:
        self._settings = surroundings.settings
        self._running = surroundings.running
        self._transactions = transactions

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"ListBackends": self.list_backends, "SetBackendState": self.set_backend_state}

    async def list_backends(self, _: control_pb2.ListBackendsRequest, call: Call) -> control_pb2.ListBackendsResponse:
        """Return the backends, and what the engine says of each."""
        del call
        state = self._transactions.in_force.state
        reports = await self._reports(state)
        response = control_pb2.ListBackendsResponse(generation=state.generation)
        for backend in _backends_of(state):
            report = reports.get(self._dialled(backend), BackendReport(state=""))
            response.backends.add(
                backend=convert.part_message(backend, control_pb2.Backend),
                engine_state=report.state,
                requests_total=report.requests_total,
                active=report.active,
            )
        return response

    async def set_backend_state(
        self, request: control_pb2.SetBackendStateRequest, call: Call
    ) -> control_pb2.ApplyResponse:
        """Change the state or the weight of one backend."""

        def wanted(state: State) -> Content:
            backends = _backends_of(state)
            place = self._place(backends, request)
            changed = convert.part_message(backends[place], control_pb2.Backend)
            if request.state:
                changed.state = request.state
            if request.weight:
                changed.weight = request.weight
            backend = convert.part_from(changed, Backend, path="")
            update = {"backends": (*backends[:place], backend, *backends[place + 1 :])}
            return state.configuration.model_copy(update=update), state.files

        if not request.state and not request.weight:
            what = "is unspecified, and so is the weight: there is nothing to change"
            raise convert.invalid((Violation(field="state", what=what),))
        result = await self._transactions.apply(wanted, call=call, expected=request.expected_generation)
        return apply_response(result)

    def _place(self, backends: tuple[Backend, ...], request: control_pb2.SetBackendStateRequest) -> int:
        """Return which backend is meant. Raises CallError if none is, or several are."""
        places = [
            place
            for place, backend in enumerate(backends)
            if backend.host == request.host
            and request.port in (0, backend.port or self._settings.services.get(backend.host, DATA_PORT))
        ]
        if len(places) == 1:
            return places[0]
        names = ", ".join(map(self._dialled, backends))
        where = self._settings.function
        if places:
            what = f"{where!r} has {len(places)} backends named {request.host!r}: {names}; expected a port, too"
            raise convert.invalid((Violation(field="port", what=what),))
        wanted = f"{request.host}:{request.port}" if request.port else request.host
        raise call_error(
            Code.NOT_FOUND,
            "CLV3315",
            f"{where!r} has no backend {wanted!r}",
            where=where,
            hint=did_you_mean(request.host, (backend.host for backend in backends), otherwise=f"its backends: {names}"),
        )

    async def _reports(self, state: State) -> Mapping[str, BackendReport]:
        if not _reports_backends(self._running):
            return {}
        try:
            async with asyncio.timeout(STATISTICS_S):
                return await self._running.backends(settings_from(self._settings, state))
        except (EngineError, TimeoutError):
            return {}

    def _dialled(self, backend: Backend) -> str:
        return f"{backend.host}:{backend.port or self._settings.services.get(backend.host, DATA_PORT)}"


def _backends_of(state: State) -> tuple[Backend, ...]:
    backends: tuple[Backend, ...] = getattr(state.configuration, "backends", ())
    return backends


def _reports_backends(running: Running | None) -> TypeGuard[BackendReports]:
    return hasattr(running, "backends")
