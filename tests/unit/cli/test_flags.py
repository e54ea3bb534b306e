import pytest

from clover.cli import flags


def test_each_flag_is_explained_once_in_the_order_in_which_envoy_says_them():
    assert flags.explained("UF,URX,UF") == [
        "UF: the connection could not be made: does the function run, and listen on its port?",
        "URX: all retries were used up",
    ]


@pytest.mark.parametrize("text", ["", "-", "XYZ", ",,"])
def test_what_is_no_flag_is_not_explained(text):
    assert flags.explained(text) == []
