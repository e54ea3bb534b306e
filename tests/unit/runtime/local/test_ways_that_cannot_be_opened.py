"""What becomes of ways out of a chain that could not be opened, or not all of them."""

from types import SimpleNamespace

import pytest

from clover.errors import HostError, Problem
from clover.runtime.local.outside import Outside
from clover.runtime.local.way_out import Way

WAYS = {"/run/x/out/api": Way(host="api.example.com", port=443)}


async def test_they_are_closed_again_when_they_are_not_wanted_any_more(tmp_path, monkeypatch):
    told = []

    async def follow(ways):
        told.append(ways)
        if ways:
            raise HostError(Problem(code="CLV4320", where="way out of the chain", what="it does not answer"))

    outside = Outside(SimpleNamespace(directory=str(tmp_path)), tasks=None, status=None, unreached=None, restarted=None)
    monkeypatch.setattr(outside, "_follow", follow)
    with pytest.raises(HostError):
        await outside.reach({}, WAYS)
    await outside.reach({}, {})

    assert told == [WAYS, {}]
