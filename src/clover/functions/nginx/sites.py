"""What a server is told to answer, as values for its template: an author's sites, and the sample pages beside them.

An author's text never becomes configuration. The body of an answer is a file in the generation's own folder, which
nginx sends as it is; hosts, paths and targets of redirects are words that a rule has vetted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from clover.functions.driver import Settings
from clover.functions.templates import CONTENT_TYPE, PATH, SITE_HOST, URL, Vetting, Word, told
from clover.spec.configuration import Location, ServerConfiguration, Site

STATUS_CODES = (200, 201, 204, 301, 302, 400, 401, 403, 404, 405, 409, 410, 429, 500, 501, 502, 503, 504)
"""The sample server answers `/status/<code>` with each of these."""
SIZES = {"1k": 1024, "10k": 10 * 1024, "100k": 100 * 1024}
"""The sample server has a file of so many bytes at `/bytes/<name>`."""
UPLOADED = "site/files"
"""Where uploaded files lie, by the path that they are asked for with."""
_LINE = "Clover sends this line as often as it takes to fill the file..\n"
_EVERYTHING = "/"
_SAMPLES = (
    "/healthz",
    "/headers",
    *(f"/status/{code}" for code in STATUS_CODES),
    *(f"/bytes/{name}" for name in SIZES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One location of a site."""

    path: Word
    exact: bool
    answer: int | None = None
    """Number of the answer that it gives."""
    redirect: Word | None = None
    status: int = 0
    """Of the redirect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A file that is sent as it is, whatever the method."""

    number: int
    status: int
    content_type: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServer:
    """One virtual server."""

    hosts: tuple[Word, ...]
    """None: it answers for every host that no other has."""
    places: tuple[Place, ...]
    samples: frozenset[str]
    """Paths of the sample pages that no place has."""
    fallback: bool
    """True: no place has all other paths, so they are not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """All that a server answers."""

    servers: tuple[VirtualServer, ...]
    """The one for every other host first."""
    answers: tuple[Answer, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """Bodies of answers and sample files, by their path in the generation's folder."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Uploaded files, in the same way."""


def sites_from(settings: Settings) -> Sites:
    """Return what the server answers. Raises FunctionError with everything that cannot be served."""
    configuration = told(settings, ServerConfiguration)
    vetting = Vetting(settings)
    answers: list[Answer] = []
    files = {f"site/bytes/{name}": (_LINE * size)[:size] for name, size in SIZES.items()}
    _each_host_is_there_once(configuration, vetting)
    servers = [_server(site, vetting, answers, files) for site in configuration.sites]
    if all(server.hosts for server in servers):
        servers.append(_server(Site(), vetting, answers, files))
    links = _links(settings.files, vetting)
    vetting.finish()
    return Sites(
        servers=tuple(sorted(servers, key=lambda server: bool(server.hosts))),
        answers=tuple(answers),
        files=files,
        links=links,
    )


def _server(site: Site, vetting: Vetting, answers: list[Answer], files: dict[str, str]) -> VirtualServer:
    _each_location_is_there_once(site, vetting)
    return VirtualServer(
        hosts=tuple(vetting.word("host", host, SITE_HOST) for host in site.hosts),
        places=tuple(_place(location, vetting, answers, files) for location in site.locations),
        samples=frozenset(path for path in ("/", *_SAMPLES) if not _has(site, path)),
        fallback=not any(location.match == "prefix" and location.path == _EVERYTHING for location in site.locations),
    )


def _has(site: Site, path: str) -> bool:
    return any(
        location.path == path if location.match == "exact" else path.startswith(location.path)
        for location in site.locations
    )


def _place(location: Location, vetting: Vetting, answers: list[Answer], files: dict[str, str]) -> Place:
    path = vetting.word("path", location.path, PATH)
    if not _can_be_asked_for(path):
        what = f"has the path {location.path!r}, but servers see '/a/b' where a client asks for '/a//./b'"
        vetting.refuse("CLV3203", what, "write it without empty parts, '.' and '..'")
    exact = location.match == "exact"
    if location.redirect is not None:
        target = vetting.word("target of a redirect", location.redirect.to, URL)
        return Place(path=path, exact=exact, redirect=target, status=location.redirect.status)
    if location.respond is None:
        return Place(path=path, exact=exact)
    number = len(answers)
    content_type = vetting.word("content type", location.respond.content_type, CONTENT_TYPE)
    answers.append(Answer(number=number, status=location.respond.status, content_type=content_type))
    files[f"site/answers/{number}"] = location.respond.body
    return Place(path=path, exact=exact, answer=number)


def _can_be_asked_for(path: str) -> bool:
    """Servers look at what is left of a path when `//`, `/./` and `/../` are gone."""
    parts = path.split("/")[1:]
    return not any(part in (".", "..") for part in parts) and "" not in parts[:-1]


def _each_host_is_there_once(configuration: ServerConfiguration, vetting: Vetting) -> None:
    seen: set[str] = set()
    for host in (host for site in configuration.sites for host in site.hosts or ("",)):
        if host in seen:
            what = f"has the host {host!r} twice" if host else "has two sites without hosts"
            vetting.refuse("CLV3201", what, "put all locations of a host into one site")
        seen.add(host)


def _each_location_is_there_once(site: Site, vetting: Vetting) -> None:
    seen: set[tuple[str, str]] = set()
    for key in ((location.match, location.path) for location in site.locations):
        if key in seen:
            of = f"the site of {site.hosts[0]!r}" if site.hosts else "the site of all other hosts"
            vetting.refuse("CLV3202", f"has the location {key[1]!r} ({key[0]}) twice in {of}", "take one of them out")
        seen.add(key)


def _links(uploaded: Mapping[str, str], vetting: Vetting) -> dict[str, str]:
    folders = {str(parent) for path in uploaded for parent in PurePosixPath(path).parents}
    for path in uploaded:
        if path in folders:
            vetting.refuse("CLV3204", f"has a file {path!r} and files below it", "give one of them another name")
        elif problem := next(_odd(path), ""):
            vetting.refuse("CLV3204", f"has a file {path!r}, whose path {problem}")
    return {f"{UPLOADED}/{path}": content for path, content in uploaded.items()}


def _odd(path: str) -> Iterator[str]:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        yield "has an empty part, or '.' or '..'"
    if not path.isprintable():
        yield "has a character that cannot be printed"
    try:
        if any(len(part.encode()) > 255 for part in parts) or len(path.encode()) > 1024:
            yield "is too long"
    except UnicodeEncodeError:
        yield "is no text"
