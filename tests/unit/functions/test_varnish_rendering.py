"""What a Varnish is told: turns for weights, expressions for bans, files for each generation."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.driver import EngineError, Settings
from clover.functions.varnish import driver, running
from clover.functions.varnish.turns import MOST_TURNS, turns_from
from clover.spec.configuration import Backend, CacheConfiguration

DRIVER = driver.Cache()
weights = st.lists(st.integers(min_value=1, max_value=256), min_size=1, max_size=64)


def settings(*backends: Backend, **configuration: object) -> Settings:
    to = backends or (Backend(host="web"),)
    return Settings(
        workload="cache-v1",
        function="cache",
        version="v1",
        port=9180,
        configuration=CacheConfiguration(backends=to, **configuration),
        services={"web": 9180, "shop": 8000},
        directory="/run/clover/x/w/cache-v1",
    )


def vcl(given: Settings) -> str:
    return DRIVER.render(given).files[driver.CONFIGURATION]


def test_equal_weights_take_turns():
    assert turns_from([7, 7, 7]) == (0, 1, 2)


def test_a_heavier_backend_has_more_turns_and_they_are_spread():
    assert turns_from([3, 1]) == (0, 0, 1, 0)
    assert turns_from([90, 10]) == turns_from([9, 1])


def test_without_backends_there_are_no_turns():
    assert turns_from([]) == ()


@given(weights)
def test_every_backend_has_turns_in_proportion_to_its_weight(weights):
    turns = Counter(turns_from(weights))

    assert set(turns) == set(range(len(weights)))
    total = sum(turns.values())
    assert total <= MOST_TURNS + len(weights)
    length = min(MOST_TURNS, sum(weights) // math.gcd(*weights))
    for index, weight in enumerate(weights):
        assert abs(turns[index] - length * weight / sum(weights)) <= 1


def test_backends_that_are_to_get_nothing_new_are_left_out():
    text = vcl(
        settings(
            Backend(host="web", weight=2), Backend(host="shop", state="drain"), Backend(host="absent", state="disabled")
        )
    )

    assert '.host = "web"' in text
    assert "shop" not in text
    assert "absent" not in text


def test_when_no_backend_is_ready_the_cache_lives_on_what_it_has():
    text = vcl(settings(Backend(host="web", state="drain")))

    assert "backend nobody none;" in text
    assert "next.add_backend(" not in text


def test_only_with_several_backends_another_one_is_asked():
    assert "return (retry)" not in vcl(settings(Backend(host="web")))
    assert "bereq.retries < 2" in vcl(settings(Backend(host="web"), Backend(host="shop")))


def test_a_backend_is_dialled_on_the_port_on_which_its_function_listens():
    text = vcl(settings(Backend(host="shop"), Backend(host="web", port=81)))

    assert re.findall(r'\.(?:host|port) = "(.*)"', text) == ["shop", "8000", "web", "81"]


def test_a_dot_in_an_uncached_path_is_a_dot():
    assert "^(/a[.]b/|/c)" in vcl(settings(uncached_paths=("/a.b/", "/c")))


def test_what_varnish_starts_with_has_the_name_of_its_generation():
    files = DRIVER.render(replace(settings(), generation=12)).files

    assert files[driver.START] == (
        'vcl.load generation000012 "/run/clover/x/w/cache-v1/conf/000012/site/start.vcl"\nvcl.use generation000012\n'
    )


def test_the_command_is_the_same_for_every_generation():
    first, second = (DRIVER.render(replace(settings(), generation=number)) for number in (1, 2))

    assert (first.process, first.companions) == (second.process, second.companions)
    assert first.check != second.check


def test_started_by_root_everything_runs_as_the_workers_user():
    program = DRIVER.render(replace(settings(), user="www-data"))

    for process in (program.process, *(companion.process for companion in program.companions)):
        assert process.argv[:3] == ("setpriv", "--reuid=www-data", "--regid=www-data")


hostile = st.one_of(st.text(max_size=40), st.sampled_from(['"', '"}', "{", '"; return (pipe); "', "\n", "a b", "\0"]))


@given(name=hostile, host=hostile, path=hostile)
def test_a_foreign_string_is_refused_or_means_itself(name, host, path):
    configuration = CacheConfiguration.model_construct(
        backends=(Backend.model_construct(host=host, port=80, weight=1, state="ready"),), uncached_paths=(path,)
    )
    try:
        text = vcl(replace(settings(), function=name, configuration=configuration))
    except FunctionError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert f'.host = "{host}";' in text
    assert text.count("{") == text.count("}")


def test_a_ban_of_one_path_fits_it_with_its_query_and_nothing_else():
    assert running.ban_from(host="", path="/a.b?c=1", prefix=False) == (
        r'obj.http.X-Clover-Url ~ "^/a\\x2eb\\x3fc\\x3d1$"'
    )


def test_a_ban_of_a_host_is_one_for_any_case_and_any_port_unless_it_names_one():
    assert running.ban_from(host="shop", path="/a", prefix=True) == (
        'obj.http.X-Clover-Url ~ "^/a" && obj.http.X-Clover-Host ~ "(?i)^shop(:[0-9]+)?$"'
    )
    assert running.ban_from(host="shop:81", path="/a", prefix=True).endswith(r'"(?i)^shop\\x3a81$"')


def test_a_ban_of_everything():
    assert running.ban_from(host="", path="", prefix=True) == "obj.status != 0"


def expressions(ban: str) -> list[str]:
    """Return the expressions as Varnish sees them: words of its management language, unquoted."""
    return [word.replace("\\\\", "\\") for word in re.findall(r'~ "([^"]*)"', ban)]


@given(
    host=st.text(max_size=20), path=st.text(min_size=1, max_size=40), other=st.text(max_size=40), prefix=st.booleans()
)
def test_a_ban_is_one_line_and_fits_exactly_what_it_names(host, path, other, prefix):
    ban = running.ban_from(host=host, path=path, prefix=prefix)

    assert re.fullmatch(r"[\x20-\x7e]*", ban)
    expression = re.compile(expressions(ban)[0].encode(), re.DOTALL)
    named, another = path.encode(), other.encode()
    assert expression.search(named)
    assert bool(expression.search(named + another)) == (prefix or another in (b"", b"\n"))
    if not another.startswith(named):
        assert not expression.search(another)


def test_counters_have_the_names_that_all_engines_use():
    text = (
        '{"version": 1, "counters": {"MAIN.client_req": {"value": 7}, "MEMPOOL.sess0.live": {"value": 2},'
        ' "MEMPOOL.sess1.live": {"value": 3}, "MAIN.unknown": {"value": 1}}}'
    )

    assert running.counters_from(text) == {"requests_total": 7.0, "connections_active": 5.0}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"counters": []}', '{"counters": {"a": 1}}', '{"counters": {"a": {}}}']
)
def test_anything_else_is_told_to_be_no_counters(text):
    with pytest.raises(EngineError, match="instead of counters"):
        running.counters_from(text)


async def test_the_room_for_answers_cannot_change_while_varnish_runs():
    before, after = settings(max_size_mib=64), settings(max_size_mib=128)

    with pytest.raises(EngineError, match="maxSizeMib is 64 and cannot become 128 while it runs"):
        await DRIVER.running(before).change(before, replace(after, generation=2))
