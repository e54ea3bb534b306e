"""What `clover up` refuses before anything is started or removed."""

import re
import socket

import pytest

from clover.cli import bring_up
from clover.cli.main import main
from clover.spec import load
from clover.spec.chain import renamed

CHAIN = """
apiVersion: clover/v1alpha1
kind: Chain
metadata: {name: little}
spec:
  gateway: {port: 8080, to: server}
  functions:
    server: {type: server}
"""


@pytest.fixture
def chain_file(tmp_path):
    path = tmp_path / "chain.yaml"
    path.write_text(CHAIN)
    return path


@pytest.mark.parametrize("name", ["../precious", "/tmp/precious", "..", ".", "a/b", "A", "x" * 41])
def test_a_name_that_is_none_is_refused_before_it_becomes_a_path(chain_file, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("CLOVER_RUN", str(tmp_path / "run"))
    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.touch()

    assert main(["up", str(chain_file), "--name", name]) == 2
    assert "--name: error: chain" in capsys.readouterr().err
    assert precious.exists()


@pytest.mark.parametrize("port", ["-1", "0", "65536"])
def test_a_port_that_does_not_exist_is_refused(chain_file, capsys, port):
    assert main(["up", str(chain_file), "--port", port]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("root", ["{tmp}/file", "{tmp}/file/below", "/proc/none"])
def test_a_run_folder_that_cannot_be_one_is_no_bug(chain_file, tmp_path, monkeypatch, capsys, root):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLOVER_RUN", root.format(tmp=tmp_path))
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]

    assert main(["up", str(chain_file), "--port", str(port)]) == 3
    said = capsys.readouterr().err
    assert ("[CLV2105]" in said, "Traceback" in said) == (True, False)


def test_who_may_not_open_a_port_is_told_why_and_of_one_that_is_free(chain_file, monkeypatch):
    class Refusing(socket.socket):
        def bind(self, address):
            if address[1] == 80:
                raise PermissionError(13, "Permission denied")
            super().bind(address)

    monkeypatch.setattr("clover.cli.bring_up.socket.socket", Refusing)
    (problem,) = bring_up._gateway_problems(renamed(load.load(chain_file), port=80))

    assert problem.what == "the gateway cannot listen on 127.0.0.1:80: Permission denied"
    assert re.fullmatch(r"clover up --port [0-9]+ \.\.\.; ports below .* \(1024, as a rule\) are root's", problem.hint)
