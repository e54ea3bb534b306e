"""Hostile strings in what an nginx is told: refused, or one word where one was meant, as the real nginx reads it."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace

import pytest
from exchange import get
from hostile import hostile, rendered, structure
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from running_engine import Engine, backends, change, check, settings_for, write

from clover.functions import registry
from clover.functions.driver import Driver, Settings
from clover.spec.chain import FunctionType
from clover.spec.configuration import (
    CacheConfiguration,
    Configuration,
    Location,
    Redirect,
    Respond,
    ServerConfiguration,
    Site,
)

pytestmark = pytest.mark.engines

SERVER = registry.driver(FunctionType.SERVER, "nginx")
CACHE = registry.driver(FunctionType.CACHE, "nginx")
PLAIN = {"host": "a.example", "path": "/a", "to": "/b", "type": "text/plain", "body": "hello"}


def server(told: dict[str, str]) -> ServerConfiguration:
    """Return a configuration that no rule of the model has seen."""
    respond = Respond.model_construct(body=told["body"], content_type=told["type"])
    redirect = Redirect.model_construct(to=told["to"], status=302)
    locations = (
        Location.model_construct(path=told["path"], match="exact", respond=respond, redirect=None, files=False),
        Location.model_construct(path=told["path"], match="prefix", respond=None, redirect=redirect, files=False),
        Location.model_construct(path="/files/", match="prefix", respond=None, redirect=None, files=True),
    )
    return ServerConfiguration.model_construct(
        sites=(Site.model_construct(hosts=(told["host"],), locations=locations), Site())
    )


def cache(path: str) -> CacheConfiguration:
    return CacheConfiguration.model_construct(
        **{**dict(CacheConfiguration(backends=backends(9181))), "uncached_paths": (path,)}
    )


def with_configuration(driver: Driver, configuration: Configuration, directory: str = "/tmp/plain") -> Settings:
    return replace(settings_for(driver.type, directory), port=9180, status_port=9183, configuration=configuration)


def assert_means_the_same(driver: Driver, configuration: Configuration, plain: Configuration) -> None:
    """Assert that the configuration is refused, or that nginx takes it and it has the structure of the plain one."""
    with tempfile.TemporaryDirectory() as directory:
        told = with_configuration(driver, configuration, directory)
        program = rendered(driver, told)
        if program is None:
            return
        before = driver.render(with_configuration(driver, plain, directory))
        assert structure(program.files["nginx.conf"]) == structure(before.files["nginx.conf"])
        assert set(program.files) == set(before.files)
        write(program, told)
        result = check(program)
        assert result.returncode == 0, result.stdout
        assert result.stdout == ""


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(sorted(PLAIN)), text=hostile)
@example(field="body", text='";}server{listen 1;}')
@example(field="body", text="$request_body ${host}\r\n\x00\u2028")
@example(field="path", text="/a b")
@example(field="path", text='/a";return 200 "x')
@example(field="path", text="/~^a")
@example(field="path", text="/" + "a" * 200)
@example(field="path", text="/healthz")
@example(field="path", text="/-.~_")
@example(field="host", text="default")
@example(field="host", text="~^a")
@example(field="host", text="*.a")
@example(field="host", text="a.*")
@example(field="host", text=".a")
@example(field="host", text="1")
@example(field="host", text="x" * 252)
@example(field="to", text="/$host")
@example(field="to", text="https://a:99999/%zz?&=+")
@example(field="type", text='text/html"; return 200 "')
@example(field="type", text="text/html; charset=utf-8")
def test_a_hostile_word_in_a_site_is_refused_or_stays_one_word(field, text):
    if field == "path" and text in ("/", "/healthz", "/headers"):
        return  # a sample page gives way, so the structure is another one
    assert_means_the_same(SERVER, server({**PLAIN, field: text}), server(PLAIN))


paths = st.text("abzAZ09._~/-", max_size=30).map(lambda text: "/" + text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.one_of(hostile, paths))
@example(path="/a.b-c~d_e/f..")
@example(path="/" + "." * 200)
@example(path="/.*")
@example(path="/a|b")
@example(path="/a$")
def test_a_hostile_path_that_is_not_to_be_kept_is_refused_or_stays_one_word(path):
    assert_means_the_same(CACHE, cache(path), cache("/plain"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), path=paths)
def test_what_the_model_lets_pass_nginx_takes_or_the_driver_says_why_not(data, path):
    text = st.from_regex(r"(\*\.)?[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
    host = data.draw(text)
    site = {"hosts": [host], "locations": [{"path": path, "respond": {"body": "x"}}]}
    configuration = ServerConfiguration.model_validate({"sites": [site]})
    with tempfile.TemporaryDirectory() as directory:
        told = with_configuration(SERVER, configuration, directory)
        program = rendered(SERVER, told)
        if program is not None:
            write(program, told)
            result = check(program)
            assert (result.returncode, result.stdout) == (0, "")


@pytest.fixture(scope="module")
def running_server(start) -> Engine:
    return start(FunctionType.SERVER, "nginx", name="hostile")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(st.one_of(hostile, st.text(st.characters(codec="utf-8"), max_size=500)), max_size=20))
@example(bodies=['"', "'", "$host", "${host}", "\\", "\\n", "\r\n", "\x00", "", "{", "}", ";", "#", "<!--#echo -->"])
def test_a_body_arrives_byte_for_byte_whatever_it_is(running_server, bodies):
    locations = [{"path": f"/b/{n}", "respond": {"body": body}} for n, body in enumerate(bodies)]
    asyncio.run(
        change(running_server, SERVER, ServerConfiguration.model_validate({"sites": [{"locations": locations}]}))
    )

    assert [get(running_server.port, f"/b/{n}").body for n in range(len(bodies))] == [body.encode() for body in bodies]
