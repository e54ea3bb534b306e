import os
import subprocess
import sys

import pytest

from clover.errors import DocumentError, HostError
from clover.runtime.local import ledger


def book(pid: int = 1) -> ledger.Ledger:
    return ledger.Ledger(
        chain="sdc",
        pid=pid,
        gateway="http://127.0.0.1:8080",
        api="/x/api.sock",
        store="/x/store",
        source="chain.yaml",
        digest="d",
        started=1.0,
    )


def test_what_is_written_is_read_back(tmp_path):
    (tmp_path / "lock").touch()
    ledger.write(tmp_path, book())

    assert ledger.read(tmp_path) == book()
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"chain": "sdc"}', "\x00"])
def test_a_ledger_that_is_not_ours_is_no_ledger(tmp_path, text):
    (tmp_path / "lock").touch()
    (tmp_path / "node.json").write_text(text)

    assert ledger.read(tmp_path) is None


def test_a_chain_lives_exactly_as_long_as_its_lock_is_held(tmp_path):
    assert not ledger.alive(tmp_path)
    lock = ledger.hold(tmp_path)
    assert lock is not None

    assert ledger.alive(tmp_path)
    assert ledger.hold(tmp_path) is None
    os.close(lock)
    assert not ledger.alive(tmp_path)


def test_stopping_what_a_killed_node_left_removes_its_folder(tmp_path):
    folder = tmp_path / "sdc"
    folder.mkdir()
    ledger.write(folder, book())
    os.close(ledger.hold(folder))

    assert ledger.stop(folder, patience_s=0)
    assert not folder.exists()
    assert not ledger.stop(folder, patience_s=0)


def test_a_node_that_does_not_listen_to_reason_is_killed(tmp_path):
    folder = tmp_path / "sdc"
    folder.mkdir()
    stubborn = (
        "import signal, sys; from pathlib import Path; from clover.runtime.local import ledger;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "lock = ledger.hold(Path(sys.argv[1])); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", stubborn, str(folder)], stdout=subprocess.PIPE) as node:
        assert node.stdout.readline() == b"held\n"
        ledger.write(folder, book(node.pid))

        assert ledger.stop(folder, patience_s=0.05)
        assert node.wait() == -9


def test_the_digest_tells_a_changed_file_a_changed_name_and_a_changed_port_apart(tmp_path):
    file = tmp_path / "chain.yaml"
    file.write_text("a")
    first = ledger.digest(file, "sdc", 8080)

    assert ledger.digest(file, "sdc", 8080) == first
    assert ledger.digest(file, "sdc2", 8080) != first
    assert ledger.digest(file, "sdc", 8081) != first
    file.write_text("b")
    assert ledger.digest(file, "sdc", 8080) != first


def test_a_folder_that_is_no_chains_is_neither_stopped_nor_claimed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()

    for attempt in (lambda folder: ledger.stop(folder, patience_s=0), lambda folder: ledger.claim(folder, mode=0o700)):
        with pytest.raises(HostError, match="CLV2108"):
            attempt(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_what_somebody_else_put_in_a_chains_place_is_not_believed(tmp_path):
    os.close(ledger.claim(tmp_path / "sdc", mode=0o700))
    ledger.write(tmp_path / "sdc", book())
    (tmp_path / "link").symlink_to(tmp_path / "sdc")
    assert ledger.read(tmp_path / "sdc") == book()

    assert ledger.read(tmp_path / "link" / ".." / "nowhere") is None
    if os.geteuid() == 0:
        os.chown(tmp_path / "sdc", 1000, -1)
        assert ledger.read(tmp_path / "sdc") is None
        os.chown(tmp_path / "sdc", 0, -1)
        os.chown(tmp_path, 1000, -1)
        assert ledger.read(tmp_path / "sdc") is None


def test_claiming_keeps_nothing_of_a_killed_node_and_sets_the_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        os.close(ledger.claim(tmp_path / "sdc", mode=0o711))
        ledger.write(tmp_path / "sdc", book())
        (tmp_path / "sdc" / "w" / "web").mkdir(parents=True)
        lock = ledger.claim(tmp_path / "sdc", mode=0o711)
    finally:
        os.umask(before)

    assert [entry.name for entry in (tmp_path / "sdc").iterdir()] == ["lock"]
    assert (tmp_path / "sdc").stat().st_mode & 0o777 == 0o711
    os.close(lock)


def test_of_two_commands_that_claim_a_chain_one_is_refused(tmp_path):
    lock = ledger.claim(tmp_path / "sdc", mode=0o700)
    with pytest.raises(DocumentError, match="CLV5004"):
        ledger.claim(tmp_path / "sdc", mode=0o700)
    os.close(lock)

    os.close(ledger.claim(tmp_path / "sdc", mode=0o700))


def test_the_lock_of_a_folder_that_was_made_anew_meanwhile_is_worth_nothing(tmp_path, monkeypatch):
    def hold_too_late(directory):
        lock = hold(directory)
        (directory / "lock").unlink()
        (directory / "lock").touch()
        return lock

    hold = ledger.hold
    monkeypatch.setattr(ledger, "hold", hold_too_late)

    with pytest.raises(DocumentError, match="CLV5004"):
        ledger.claim(tmp_path / "sdc", mode=0o700)
