import os
import subprocess
import sys

import pytest

from clover.runtime.local import ledger


def book(pid: int = 1) -> ledger.Ledger:
    return ledger.Ledger(
        chain="sdc",
        pid=pid,
        init=pid,
        gateway="http://127.0.0.1:8080",
        api="/x/api.sock",
        store="/x/store",
        source="chain.yaml",
        digest="d",
        started=1.0,
    )


def test_what_is_written_is_read_back(tmp_path):
    ledger.write(tmp_path, book())

    assert ledger.read(tmp_path) == book()
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"chain": "sdc"}', "\x00"])
def test_a_ledger_that_is_not_ours_is_no_ledger(tmp_path, text):
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
