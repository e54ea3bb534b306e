import json

import pytest
import yaml

from clover.cli.main import main
from harness.policies import CHAIN


@pytest.fixture
def chain_file(tmp_path):
    path = tmp_path / "chain.yaml"
    path.write_text(CHAIN, encoding="utf-8")
    return path


def test_a_chain_is_rendered_as_documents_that_a_cluster_takes(chain_file, capsys):
    assert main(["render", str(chain_file)]) == 0

    found = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(capsys.readouterr().out)]
    assert found == [
        *(("Service", name) for name in ("waf", "lb", "cache", "server", "shadow", "lb-v1", "lb-v2")),
        ("Gateway", "sdc-gateway"),
        ("VirtualService", "sdc"),
        ("DestinationRule", "lb"),
        ("VirtualService", "waf"),
        ("PeerAuthentication", "default"),
    ]


@pytest.mark.parametrize("option", [["-o", "json"], ["--json"]])
def test_json_is_one_list_of_the_same(chain_file, capsys, option):
    main(["render", str(chain_file)])
    documents = list(yaml.safe_load_all(capsys.readouterr().out))

    assert main(["render", str(chain_file), *option]) == 0

    assert json.loads(capsys.readouterr().out) == {"apiVersion": "v1", "kind": "List", "items": documents}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["vs"], [("VirtualService", "sdc"), ("VirtualService", "waf")]),
        (["vs/waf"], [("VirtualService", "waf")]),
        (["service", "cache"], [("Service", "cache")]),
    ],
)
def test_one_kind_or_one_resource_is_rendered_by_the_names_that_get_takes(chain_file, capsys, words, found):
    assert main(["render", str(chain_file), *words]) == 0

    documents = yaml.safe_load_all(capsys.readouterr().out)
    assert [(one["kind"], one["metadata"]["name"]) for one in documents] == found


def test_what_a_chain_does_not_mean_is_not_rendered(chain_file, capsys):
    assert main(["render", str(chain_file), "ra/x"]) == 2

    assert "the chain means no RequestAuthentication/x [CLV4404]" in capsys.readouterr().err


def test_a_chain_that_is_not_sound_is_not_rendered(chain_file, capsys):
    chain_file.write_text(CHAIN.replace("to: lb,", "to: lbb,"), encoding="utf-8")

    assert main(["render", str(chain_file)]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "did you mean 'lb'?" in said.err
