"""What templates may print, and what settings are refused before any template sees them."""

from __future__ import annotations

from dataclasses import replace

import jinja2
import pytest

from clover.errors import FunctionError
from clover.functions import templates
from clover.functions.driver import Settings
from clover.spec.configuration import Backend, LoadBalancerConfiguration


def to(*backends: Backend) -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration.model_construct(backends=backends)


def backend(host: str, port: int) -> Backend:
    """Return what no rule of the model has seen."""
    return Backend.model_construct(host=host, port=port)


SETTINGS = Settings(
    workload="http-lb-v1",
    function="http-lb",
    version="v1",
    port=9180,
    configuration=to(Backend(host="web-cache", port=9180)),
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


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        *(
            (text, templates.PATH)
            for text in ("", "a", "/a b", '/"', "/$x", "/a;", "/a?b", "/%41", "/é", "/" + "a" * 201)
        ),
        *(
            (text, templates.URL)
            for text in ("", "a", "/a b", '/"', "/$x", "/a;", "/a#b", "//\\n", "ftp://a/", "https://a")
        ),
        *(
            (text, templates.SITE_HOST)
            for text in ("", "*", "A", "a_b", "a..b", "*.*.a", "a.", "-a", "a-", "a b", "$a", "~a")
        ),
        *((text, templates.CONTENT_TYPE) for text in ("", "a", "a/b;c", 'a/b"', "a/b; charset=$x", "a/b\n", "A/b")),
    ],
)
def test_text_that_is_more_than_it_should_be_is_no_word(text, rule):
    with pytest.raises(ValueError, match="cannot be written"):
        templates.Word(text, rule)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        *((text, templates.PATH) for text in ("/", "/a.b/~c-_D9", "/" + "a" * 200)),
        *((text, templates.URL) for text in ("/", "/a?b=c&d=%20+", "https://shop.example:8443/a~b")),
        *((text, templates.SITE_HOST) for text in ("a", "*.a", "a-b.c9", "192.0.2.1", "a--b", "x." * 125 + "xx")),
        *((text, templates.CONTENT_TYPE) for text in ("text/html", "application/ld+json; charset=UTF-8")),
    ],
)
def test_text_that_is_what_it_should_be_is_a_word(text, rule):
    assert templates.Word(text, rule) == text


def test_all_bad_settings_are_reported_at_once():
    bad = replace(
        SETTINGS,
        function='x"; return 200',
        version="v 1",
        port=0,
        configuration=to(backend("unix:/run/x", 9180), backend("a", 70000)),
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
    twice = replace(SETTINGS, configuration=to(*SETTINGS.configuration.backends * 2))

    assert len(templates.values_from(twice).upstreams) == 1
