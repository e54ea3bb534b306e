"""`clover down`: which chain it means, what it leaves, and what others are told of a chain that was killed."""

import json
import os

import pytest

from clover.cli import api
from clover.runtime.local import ledger


def killed(run_root, name, pid=77):
    """Make the folder of a chain whose node has ended without a word."""
    folder = run_root / name
    folder.mkdir()
    handle = ledger.hold(folder)
    assert handle is not None
    os.close(handle)
    book = ledger.Ledger(
        chain=name, pid=pid, gateway="http://127.0.0.1:8080", api=str(folder / "api.sock"), store="/s",
        source="c.yaml", digest="d", started=1.0,
    )  # fmt: skip
    ledger.write(folder, book)
    return folder


@pytest.fixture
def state_root(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOVER_STATE", str(tmp_path))
    return tmp_path


def test_the_chain_is_named_as_for_every_other_command(clover, run_root, monkeypatch):
    shop, sdc, two = (killed(run_root, name) for name in ("shop", "sdc", "two"))

    assert clover("down")[0] == 2
    monkeypatch.setenv("CLOVER_CHAIN", "two")
    assert clover("down") == (0, "", "chain two is down\n")
    assert clover("down", "--chain", "sdc") == (0, "", "chain sdc is down\n")
    assert clover("down", "shop")[0] == 0
    assert not any(folder.exists() for folder in (shop, sdc, two))


def test_what_was_taken_down_is_told_as_json(clover, run_root):
    killed(run_root, "sdc")

    assert json.loads(clover("down", "sdc", "--json")[1]) == {"chains": [{"chain": "sdc", "found": True}]}
    assert json.loads(clover("down", "sdc", "--json")[1]) == {"chains": [{"chain": "sdc", "found": False}]}
    assert json.loads(clover("down", "--json")[1]) == {"chains": []}


def test_purging_forgets_the_log_of_a_start_that_failed(clover, run_root, state_root):
    for name in ("one", "two", "three"):
        (run_root / f"{name}.failed.log").touch()

    clover("down", "one", "--purge")
    assert sorted(path.name for path in run_root.iterdir()) == ["three.failed.log", "two.failed.log"]
    clover("down", "--all")
    assert len(list(run_root.iterdir())) == 2
    clover("down", "--all", "--purge")
    assert not list(run_root.iterdir())


@pytest.mark.parametrize("command", [["status"], ["trace"], ["get"], ["control"], ["status", "--chain", "sdc"]])
def test_of_a_chain_that_was_killed_every_command_tells_what_became_of_it(clover, run_root, command):
    killed(run_root, "sdc", pid=77)

    code, _, said = clover(*command)

    assert (code, said) == (
        2,
        "chain sdc: error: chain sdc was up, and its node (process 77) is gone [CLV5201]\n"
        "    hint: clover down sdc cleans up; clover up PATH begins anew\n",
    )


def test_beside_a_chain_that_was_killed_the_one_that_runs_is_meant(clover, run_root, bring_up):
    killed(run_root, "sdc")
    bring_up("shop")

    assert clover("get")[0] == 0
    assert "process 77" in clover("get", "--chain", "sdc")[2]


@pytest.mark.parametrize("command", [("status", "--watch"), ("alerts", "--follow"), ("changes", "--follow")])
def test_who_follows_a_chain_that_is_taken_down_is_told_so(clover, bring_up, monkeypatch, command):
    folder = bring_up("sdc")
    (folder / "up.json").write_text("{}", encoding="utf-8")
    (folder / "api.sock").unlink()
    lives = iter((True, True, False))
    monkeypatch.setattr(ledger, "alive", lambda _: next(lives))

    assert clover(*command) == (0, "", "chain sdc is down\n")


def test_a_node_that_is_silent_and_lives_on_is_an_error_for_who_follows_it_too(clover, bring_up, monkeypatch):
    folder = bring_up("sdc")
    (folder / "up.json").write_text("{}", encoding="utf-8")
    (folder / "api.sock").unlink()
    monkeypatch.setattr(api, "ENDING_S", 0.0)

    code, _, said = clover("status", "--watch")

    assert (code, "CLV5205" in said, "is down" in said) == (5, True, False)
