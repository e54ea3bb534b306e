"""What templates may print, and what settings are refused before any template sees them."""

from __future__ import annotations

from dataclasses import replace

import jinja2
import pytest

from clover.errors import FunctionError
from clover.functions import templates
from clover.functions.driver import Settings, Upstream

SETTINGS = Settings(
    workload="http-lb-v1",
    function="http-lb",
    version="v1",
    port=9180,
    upstreams=(Upstream(host="web-cache", port=9180),),
    directory="/run/clover/sdc/w/http-lb-v1",
)


def printed(text: str, **values: object) -> str:
    environment = templates._environment()
    return environment.from_string(text).render(**values)


def test_a_template_prints_vetted_words_and_whole_numbers():
    word = templates.Word("web-cache", templates.HOST)

    assert printed("{{ host }}:{{ port }}", host=word, port=9180) == "web-cache:9180"


@pytest.mark.parametrize("value", ["plain text", None, True, 1.5, ("a",)])
def test_a_template_that_prints_anything_else_is_an_error(value):
    with pytest.raises(TypeError, match="no rule has vetted"):
        printed("{{ value }}", value=value)


def test_a_word_that_a_filter_changed_is_no_word_any_more():
    with pytest.raises(TypeError, match="no rule has vetted"):
        printed("{{ host | upper }}", host=templates.Word("web", templates.HOST))


def test_a_name_that_the_values_lack_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'wrokload' is undefined"):
        printed("{{ wrokload }}")


@pytest.mark.parametrize("text", ["", "a b", 'a"b', "a;b", "a\n", "-a", "a{b}", "$a", "é", "a" * 254, "a\x00"])
def test_text_that_an_engine_could_read_as_more_than_a_name_is_no_word(text):
    with pytest.raises(ValueError, match="cannot be written"):
        templates.Word(text, templates.NAME)


@pytest.mark.parametrize("text", ["relative", "/a\nb", '/a"b', "/a$b", "/a\\b", "/a;b", "/a\u2028b"])
def test_a_folder_that_an_engine_would_not_read_as_itself_is_no_word(text):
    with pytest.raises(ValueError, match="cannot be written"):
        templates.Word(text, templates.DIRECTORY)


def test_all_bad_settings_are_reported_at_once():
    bad = replace(
        SETTINGS,
        function='x"; return 200',
        version="v 1",
        port=0,
        upstreams=(Upstream(host="unix:/run/x", port=9180), Upstream(host="a", port=70000)),
        directory="here",
        user="Robert'); --",
    )

    with pytest.raises(FunctionError) as refused:
        templates.values_from(bad)

    assert [problem.code for problem in refused.value.problems] == ["CLV3002"] * 7
    assert str(refused.value.problems[0]) == (
        "workload 'http-lb-v1': error: function 'x\"; return 200' has a name that no engine can take: "
        "'x\"; return 200' cannot be written into an engine's configuration [CLV3002]"
    )


def test_an_upstream_that_is_named_twice_is_rendered_once():
    twice = replace(SETTINGS, upstreams=SETTINGS.upstreams * 2)

    assert len(templates.values_from(twice).upstreams) == 1
