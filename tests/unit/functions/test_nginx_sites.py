"""Which sites an nginx refuses to serve, and what becomes of those that it serves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import FunctionError
from clover.functions.driver import Settings
from clover.functions.nginx.sites import Sites, sites_from
from clover.spec.configuration import ServerConfiguration

FILES = {"path": "/f/", "match": "prefix", "files": True}


def served(*sites: dict, files: dict[str, str] | None = None) -> Sites:
    return sites_from(
        Settings(
            workload="web",
            function="web",
            version="v1",
            port=9180,
            configuration=ServerConfiguration.model_validate({"sites": list(sites)}),
            files=files or {},
            directory="/run/web",
        )
    )


def refused(*sites: dict, files: dict[str, str] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(FunctionError) as failure:
        served(*sites, files=files)
    return [(problem.code, problem.what) for problem in failure.value.problems]


def respond(path: str, body: str = "", **more: object) -> dict:
    return {"path": path, "respond": {"body": body}, **more}


def test_a_host_belongs_to_one_site_and_one_site_is_for_all_others():
    assert refused({"hosts": ["a", "b"]}, {"hosts": ["b"]}, {}, {}) == [
        ("CLV3201", "function 'web' has the host 'b' twice"),
        ("CLV3201", "function 'web' has two sites without hosts"),
    ]


def test_a_location_is_in_a_site_once_but_may_be_exact_and_a_prefix():
    twice = {"hosts": ["a"], "locations": [respond("/x"), respond("/x", match="prefix"), respond("/x")]}

    assert refused(twice) == [("CLV3202", "function 'web' has the location '/x' (exact) twice in the site of 'a'")]


@pytest.mark.parametrize("path", ["//", "/a//b", "/./", "/a/.", "/..", "/a/../b"])
def test_a_path_that_no_server_ever_sees_is_refused(path):
    assert [code for code, _ in refused({"locations": [respond(path)]})] == ["CLV3203"]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "a\n", "a\0", "x" * 256, "\ud800"]
)
def test_an_uploaded_file_lies_below_the_site_and_nowhere_else(path):
    assert [code for code, _ in refused(files={path: "files/1"})] == ["CLV3204"]


def test_a_file_is_no_folder():
    assert refused(files={"a/b": "files/1", "a/b/c": "files/2"}) == [
        ("CLV3204", "function 'web' has a file 'a/b' and files below it")
    ]


def test_what_is_wrong_in_any_place_is_told_at_once():
    sites = ({"hosts": ["a"], "locations": [respond("//"), respond("//")]}, {"hosts": ["a"]})

    assert [code for code, _ in refused(*sites, files={"..": "files/1"})] == [
        *("CLV3201", "CLV3202", "CLV3203", "CLV3203", "CLV3204"),
    ]


def test_sample_pages_are_left_where_no_location_has_their_path():
    (everybody, shop) = served(
        {"hosts": ["shop.example"], "locations": [respond("/s", match="prefix"), respond("/healthz")]}, {}
    ).servers

    assert "/status/200" in everybody.samples
    assert {"/healthz", "/headers", "/bytes/1k", "/"} <= everybody.samples
    assert shop.samples == {"/", "/headers", "/bytes/1k", "/bytes/10k", "/bytes/100k"}
    assert everybody.fallback
    assert shop.fallback


def test_a_site_that_has_every_path_leaves_no_sample():
    (everybody,) = served({"locations": [respond("/", match="prefix")]}).servers

    assert (everybody.samples, everybody.fallback) == (frozenset(), False)


def test_hosts_that_no_site_has_get_the_sample_pages():
    first, second = served({"hosts": ["a"]}).servers

    assert (first.hosts, second.hosts) == ((), ("a",))


@given(body=st.text(max_size=300))
def test_a_body_is_a_file_and_nothing_of_it_is_anywhere_else(body):
    try:
        body.encode()
    except UnicodeEncodeError:
        return
    sites = served({"locations": [respond("/a", body), FILES]})

    assert sites.files["site/answers/0"] == body
    assert sites.answers[0].content_type == "text/plain"
