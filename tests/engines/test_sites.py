"""What an author's sites answer, byte for byte, and what is left of the sample pages beside them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from exchange import get, raw
from running_engine import Engine, change, running, settings_for, write

from clover.functions import registry
from clover.spec.chain import FunctionType
from clover.spec.configuration import ServerConfiguration

pytestmark = pytest.mark.engines

SERVER = registry.driver(FunctionType.SERVER, "nginx")
HOSTILE = 'say "hi" $host ${x} \\n {{ 7*7 }} ; } # \r\n\t\N{FOUR LEAF CLOVER} <b>\x00</b>\n'


def sites(*sites_: dict) -> ServerConfiguration:
    return ServerConfiguration.model_validate({"sites": list(sites_)})


def respond(path: str, body: str = "", *, match: str = "exact", **more: object) -> dict:
    return {"path": path, "match": match, "respond": {"body": body, **more}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("s")
    (directory / "files").mkdir()
    (directory / "files" / "1").write_bytes(b"<h1>hello</h1>")
    (directory / "files" / "2").write_bytes(bytes(range(256)))
    configuration = sites(
        {
            "locations": [
                respond("/hostile", HOSTILE, contentType="text/plain; charset=utf-8"),
                respond("/empty"),
                respond("/long", "x" * 16384),
                respond("/teapot", "short and stout", status=418, contentType="text/html"),
                respond("/gone", "", status=404),
                respond("/nothing", "never sent", status=204),
                respond("/status/200", "mine"),
                respond("/below", "below", match="prefix"),
                {"path": "/old", "redirect": {"to": "/new?a=b&c=%20"}},
                {"path": "/away", "redirect": {"to": "https://shop.example/x", "status": 308}},
                {"path": "/docs/", "match": "prefix", "files": True},
            ]
        },
        {"hosts": ["a.example", "*.b.example"], "locations": [respond("/", "all of a", match="prefix")]},
    )
    settings = replace(
        settings_for(FunctionType.SERVER, directory, name="site", sites=configuration.sites),
        files={"docs/index.html": "files/1", "docs/deep/blob.bin": "files/2"},
    )
    program = SERVER.render(settings)
    write(program, settings)
    with running(program, settings) as engine:
        yield engine


def test_a_body_arrives_byte_for_byte_with_its_type(server):
    answer = get(server.port, "/hostile")

    assert answer.body == HOSTILE.encode()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-served-by"] == "site"
    assert "last-modified" not in answer.headers
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/empty", 200, b""),
        ("/long", 200, b"x" * 16384),
        ("/teapot", 418, b"short and stout"),
        ("/gone", 404, b""),
        ("/nothing", 204, b""),
        ("/status/200", 200, b"mine"),
        ("/status/201", 201, b"status 201 from site\n"),
        ("/below", 200, b"below"),
        ("/below/it/all", 200, b"below"),
        ("/belowness", 200, b"below"),
        ("/docs/", 200, b"<h1>hello</h1>"),
        ("/docs/index.html", 200, b"<h1>hello</h1>"),
        ("/docs/deep/blob.bin", 200, bytes(range(256))),
        ("/healthz", 200, b"ok\n"),
    ],
)
def test_a_path_is_answered_with_status_and_body(server, path, status, body):
    answer = get(server.port, path)

    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize(
    "path", ["/docs/none", "/nowhere", "/answers/0", "/files/docs/index.html", "/:answer/0", "/bytes/"]
)
def test_nothing_else_is_found(server, path):
    assert get(server.port, path).status == 404


@pytest.mark.parametrize(
    ("path", "status", "target"), [("/old", 302, "/new?a=b&c=%20"), ("/away", 308, "https://shop.example/x")]
)
def test_a_redirect_names_its_target_as_it_was_written(server, path, status, target):
    answer = get(server.port, path)

    assert (answer.status, answer.headers["location"]) == (status, target)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_an_answer_is_the_same_for_every_method_and_the_log_names_the_one_that_came(server, method):
    answer = get(server.port, "/teapot", method=method, body=b"x" * 100 if method in ("POST", "PUT") else None)

    assert answer.status == 418
    assert answer.body == (b"" if method == "HEAD" else b"short and stout")
    assert server.access_of(answer.traceparent).method == method


def test_a_connection_is_kept_after_an_answer(server):
    request = b"POST /teapot HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\nabc"
    last = b"GET /healthz HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n"

    received = raw(server.port, request * 3 + last)

    assert received.count(b"HTTP/1.1 418 ") == 3
    assert received.endswith(b"ok\n")


@pytest.mark.parametrize(
    "header", [{"If_None_Match": '"x"'}, {"If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, {"Range": "bytes=0-3"}]
)
def test_an_answer_is_whole_whatever_a_client_believes_to_have(server, header):
    answer = get(server.port, "/below", **header)

    assert (answer.status, answer.body) == (200, b"below")


@pytest.mark.parametrize("host", ["a.example", "A.Example:8080", "x.b.example", "y.x.b.example"])
def test_a_host_of_a_site_gets_that_site_alone(server, host):
    assert {get(server.port, path, Host=host).body for path in ("/", "/healthz", "/teapot", "/docs/")} == {b"all of a"}


@pytest.mark.parametrize("host", ["b.example", "a.example.org", "xa.example"])
def test_any_other_host_gets_the_site_without_hosts(server, host):
    assert get(server.port, "/teapot", Host=host).status == 418


def test_a_change_of_sites_answers_at_once_and_leaves_the_other_pages(start):
    engine: Engine = start(FunctionType.SERVER, "nginx", name="changes")
    for number in range(3):
        asyncio.run(change(engine, SERVER, sites({"locations": [respond("/healthz", f"change {number}")]})))

        assert get(engine.port, "/healthz").body == f"change {number}".encode()
        assert get(engine.port, "/status/503").status == 503
    asyncio.run(change(engine, SERVER, ServerConfiguration()))
    assert get(engine.port, "/healthz").body == b"ok\n"


def test_many_long_hosts_and_many_sites_are_one_configuration_that_nginx_takes(start):
    hosts = [[f"{number}-{n}.{'x' * 60}.{'y' * 60}.{'z' * 60}.example" for n in range(32)] for number in range(64)]
    engine = start(FunctionType.SERVER, "nginx", name="many")
    configuration = sites(*({"hosts": h, "locations": [respond("/n", h[0][:9])]} for h in hosts))

    asyncio.run(change(engine, SERVER, configuration))

    assert get(engine.port, "/n", Host=hosts[63][31]).body == b"63-0.xxxx"
