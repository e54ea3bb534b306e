"""What is passed on of an engine's words."""

from clover.control import engine


def test_what_an_engine_says_before_it_complains_is_left_out():
    words = "i: suricata: This is Suricata\nInfo: cpu: 2 online\nE: detect-parse: unknown rule keyword 'x'.\n"

    assert engine.shortened(words) == "E: detect-parse: unknown rule keyword 'x'."


def test_an_engine_that_only_greets_says_nothing():
    assert engine.shortened("Notice: suricata: This is Suricata\n") == "it says nothing"
