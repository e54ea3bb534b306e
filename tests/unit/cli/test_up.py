"""What `clover up` refuses before anything is started or removed."""

import pytest

from clover.cli.main import main

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


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_does_not_exist_is_refused(chain_file, capsys, port):
    assert main(["up", str(chain_file), "--port", port]) == 2
    assert "Traceback" not in capsys.readouterr().err
