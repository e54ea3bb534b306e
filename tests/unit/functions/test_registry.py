"""Which drivers there are, and what they need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clover.errors import DocumentError, FunctionError, Mark
from clover.functions import registry
from clover.functions.driver import Driver, Settings
from clover.functions.nginx import sites as nginx
from clover.spec.chain import Chain, Function, FunctionType, Gateway, Version
from clover.spec.configuration import MODELS, Backend, ServerConfiguration
from clover.spec.engines import ENGINES

MARK = Mark(file="chain.yaml", line=1, column=1)
SETTINGS = Settings(
    workload="w",
    function="w",
    version="v1",
    port=9180,
    configuration=ServerConfiguration(),
    directory="/run/w",
    command=("./serve", "a b"),
    working_directory="/home/ana",
)


def settings(driver: Driver, *to: str) -> Settings:
    configuration = MODELS[driver.type]()
    if hasattr(configuration, "backends"):
        configuration = configuration.model_copy(update={"backends": tuple(Backend(host=name) for name in to)})
    return replace(SETTINGS, configuration=configuration)


def chain(**engines: tuple[FunctionType, str]) -> Chain:
    return Chain(
        name="c",
        gateway=Gateway(to=next(iter(engines)), mark=MARK, to_mark=MARK),
        functions={
            name: Function(
                name=name,
                type=type_,
                versions=(Version(name="v1", engine=engine, configuration=MODELS[type_](), mark=MARK),),
                mark=MARK,
            )
            for name, (type_, engine) in engines.items()
        },
        mark=MARK,
    )


def test_every_engine_that_a_chain_may_name_has_a_driver_and_the_default_is_the_same():
    assert {type_: registry.engines(type_) for type_ in FunctionType} == ENGINES


def test_an_unknown_engine_is_reported_with_the_nearest_one():
    with pytest.raises(DocumentError) as refused:
        registry.driver(FunctionType.LOAD_BALANCER, "haprox")

    (problem,) = refused.value.problems
    assert (problem.code, problem.hint) == ("CLV3001", "did you mean 'haproxy'?")


def test_an_engine_in_a_role_that_it_has_not_is_reported_with_those_that_have():
    with pytest.raises(DocumentError) as refused:
        registry.driver(FunctionType.CACHE, "modsecurity")

    (problem,) = refused.value.problems
    assert problem.hint == "engines for cache: nginx, varnish"


def test_a_chain_needs_what_its_engines_need_each_once():
    needed = registry.requirements(
        chain(
            waf=(FunctionType.FIREWALL, "modsecurity"),
            lb=(FunctionType.LOAD_BALANCER, "nginx"),
            web=(FunctionType.SERVER, "nginx"),
            own=(FunctionType.SERVER, "command"),
        )
    )

    assert [Path(requirement.name).name for requirement in needed] == [
        "nginx",
        "ngx_http_modsecurity_module.so",
        "rules",
        "crs-setup.conf",
    ]
    assert {requirement.package for requirement in needed} == {
        "nginx",
        "libnginx-mod-http-modsecurity",
        "modsecurity-crs",
    }


@pytest.mark.parametrize("driver", registry.DRIVERS, ids=lambda driver: f"{driver.type}-{driver.engine}")
def test_a_driver_renders_the_same_from_the_same_settings(driver):
    assert driver.render(settings(driver, "a")) == driver.render(settings(driver, "a"))


@pytest.mark.parametrize("driver", registry.DRIVERS, ids=lambda driver: f"{driver.type}-{driver.engine}")
def test_every_file_and_folder_of_a_program_is_below_the_workloads_folder(driver):
    program = driver.render(settings(driver, "a"))

    for name in (*program.files, *program.directories):
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
    if driver.type is not FunctionType.IDS:
        assert program.ready_port == SETTINGS.port


@pytest.mark.parametrize("type_", [FunctionType.FIREWALL, FunctionType.LOAD_BALANCER, FunctionType.CACHE])
def test_a_function_that_forwards_but_has_nowhere_to_is_refused(type_):
    for engine in registry.engines(type_):
        driver = registry.driver(type_, engine)
        with pytest.raises(FunctionError) as refused:
            driver.render(settings(driver))
        assert refused.value.problems[0].code == "CLV3003"


@pytest.mark.parametrize("command", [(), ("",), ("./serve", "a\0b")])
def test_a_command_that_cannot_be_run_is_refused(command):
    driver = registry.driver(FunctionType.SERVER, "command")

    with pytest.raises(FunctionError) as refused:
        driver.render(replace(SETTINGS, command=command))

    assert refused.value.problems[0].code == "CLV3004"


@pytest.mark.parametrize(
    ("program", "found"),
    [("./serve", "/home/ana/serve"), ("bin/serve", "/home/ana/bin/serve"), ("/opt/serve", "/opt/serve"), ("x", "x")],
)
def test_a_command_with_a_slash_starts_at_the_chain_file_and_a_bare_one_is_looked_for_on_the_path(program, found):
    rendered = registry.driver(FunctionType.SERVER, "command").render(replace(SETTINGS, command=(program, "a b")))

    assert rendered.process.argv == (found, "a b")
    assert rendered.process.working_directory == "/home/ana"
    assert rendered.process.environment["PORT"] == "9180"
    assert rendered.check == ()


def test_sample_files_have_the_size_of_their_name():
    files = registry.driver(FunctionType.SERVER, "nginx").render(SETTINGS).files

    assert {name: len(files[f"site/bytes/{name}"].encode()) for name in nginx.SIZES} == nginx.SIZES


def test_an_authors_own_server_takes_no_sites():
    sites = ServerConfiguration.model_validate({"sites": [{"locations": [{"path": "/", "files": True}]}]})

    with pytest.raises(FunctionError) as refused:
        registry.driver(FunctionType.SERVER, "command").render(replace(SETTINGS, configuration=sites))

    assert [problem.code for problem in refused.value.problems] == ["CLV3200"]
