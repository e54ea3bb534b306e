"""What is passed on of an engine's words."""

import pytest

from clover.control import engine


def test_what_an_engine_says_before_it_complains_is_left_out():
    words = "i: suricata: This is Suricata\nInfo: cpu: 2 online\nE: detect-parse: unknown rule keyword 'x'.\n"

    assert engine.shortened(words) == "E: detect-parse: unknown rule keyword 'x'."


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "E: detect: error parsing signature from file /run/x/ids/conf/000004/local.rules at line 3",
            "E: detect: error parsing signature from file local.rules at line 3",
        ),
        ('unknown directive "x" in /run/x/lb/conf/000012/nginx.conf:7', 'unknown directive "x" in nginx.conf:7'),
        ("[/run/x/conf/000002/haproxy.cfg:9] : '/etc/conf/ca.pem'", "[haproxy.cfg:9] : '/etc/conf/ca.pem'"),
    ],
)
def test_a_file_that_is_removed_with_what_was_refused_is_named_without_its_folder(said, told):
    assert engine.shortened(said) == told


def test_an_engine_that_only_greets_says_nothing():
    assert engine.shortened("Notice: suricata: This is Suricata\n") == "it says nothing"
