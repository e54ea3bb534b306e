"""Changes, told apart from engines: what is written, in which order, and what is said, for every way to fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context

from clover.control.generations import Generations
from clover.control.handlers import Call, CallError, Code, Surroundings
from clover.control.settings import AmbassadorSettings
from clover.control.transaction import Edit, Transactions
from clover.errors import FunctionError, Problem
from clover.functions import state as states
from clover.functions.driver import EngineDownError, EngineError, How, Process, Program, Settings
from clover.functions.state import State
from clover.spec.configuration import Backend, LoadBalancerConfiguration

CALL = Call(method="Apply", context=Context())


def to(*hosts: str) -> LoadBalancerConfiguration:
    return LoadBalancerConfiguration(backends=tuple(Backend(host=host) for host in hosts))


def wanting(*hosts: str) -> Edit:
    return lambda state: (to(*hosts), state.files)


@dataclass
class Silence:
    """Keeps what is told."""

    told: list[dict[str, Any]] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)

    def emit(self, event: str, body: str, attributes: Mapping[str, Any], **_: Any) -> None:
        self.told.append({"event": event, "body": body, **attributes})

    @contextlib.contextmanager
    def span(self, name: str, **_: Any):
        self.spans.append(name)
        yield Context()


@dataclass
class Engine:
    """Works by the generation that it was last told, unless it is told how to fail."""

    works_by: int = 1
    refuses: set[int] = field(default_factory=set)
    forgets: bool = False
    """True: whatever it is told, it works by nothing afterwards."""
    down: bool = False
    dies_at: int = 0
    broken: Exception | None = None
    told: list[tuple[int, int]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """While it is there and not set, the engine takes its time."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def change(self, before: Settings, after: Settings) -> How:
        self.told.append((before.generation, after.generation))
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        if self.down:
            raise EngineDownError("it does not run")
        if after.generation == self.dies_at:
            self.down = True
            raise EngineDownError("it is dead")
        if after.generation not in self.refuses:
            self.works_by = 0 if self.forgets else after.generation
        return How.RELOAD

    async def confirm(self, wanted: Settings, how: How) -> None:
        if self.down:
            raise EngineDownError("it does not run")
        if self.works_by != wanted.generation:
            raise EngineError(f"works by {self.works_by}, not {wanted.generation}")

    async def statistics(self) -> dict[str, float]:
        return {}


@dataclass
class Driver:
    """Writes one file; its check is `true`, or whatever a test likes."""

    check: tuple[str, ...] = ("true",)
    refuses: str = ""
    links: dict[str, str] = field(default_factory=dict)

    def render(self, settings: Settings) -> Program:
        if self.refuses:
            raise FunctionError(Problem(code="CLV3999", where="here", what=self.refuses))
        return Program(
            files={"engine.conf": f"generation {settings.generation}", "site/page": "hello"},
            links=self.links,
            directories=("temp",),
            check=self.check,
            process=Process(argv=("true",)),
        )


@dataclass
class Bench:
    directory: Path
    engine: Engine = field(default_factory=Engine)
    driver: Driver = field(default_factory=Driver)
    telemetry: Silence = field(default_factory=Silence)
    running: bool = True

    def __post_init__(self) -> None:
        first = self.directory / "conf/000001"
        first.mkdir(parents=True)
        (first / states.FILE).write_text(
            states.render(State(type="load-balancer", generation=1, configuration=to("web-1")))
        )
        (self.directory / "conf/current").symlink_to("000001")

    @contextlib.asynccontextmanager
    async def opened(self, *, settling: bool = False) -> AsyncIterator[Transactions]:
        settings = AmbassadorSettings(
            chain="c",
            namespace="default",
            function="lb",
            version="v1",
            workload="lb",
            type="load-balancer",
            engine="engine",
            directory=str(self.directory),
            port=9180,
            control_port=50054,
            services={"web-1": 80, "web-2": 80, "web-3": 80},
            otlp="",
        )
        generations = Generations(str(self.directory))
        surroundings = Surroundings(
            settings=settings,
            driver=self.driver,  # type: ignore[arg-type]
            running=self.engine if self.running else None,
            configuration=lambda: transactions.in_force.state.configuration,
            telemetry=self.telemetry,
        )
        async with asyncio.TaskGroup() as tasks:
            transactions = Transactions(surroundings, generations, generations.current(), tasks=tasks)
            task = tasks.create_task(transactions.in_force.settling()) if settling else None
            yield transactions
            if task is not None:
                task.cancel()

    def conf(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "conf").iterdir())

    @property
    def in_force(self) -> str:
        return str((self.directory / "conf/current").readlink())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def refused(transactions: Transactions, edit: Edit, **settings: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        await transactions.apply(edit, call=CALL, **settings)
    return caught.value


async def test_a_change_goes_through_its_parts_in_order(bench: Bench):
    async with bench.opened() as transactions:
        result = await transactions.apply(wanting("web-2"), call=CALL)

    assert (result.generation, result.changed, result.how) == (2, True, How.RELOAD)
    assert [step.name for step in result.steps] == ["render", "write", "check", "activate", "confirm"]
    assert bench.telemetry.spans == ["render", "write", "check", "activate", "confirm"]
    assert bench.conf() == ["000001", "000002", "current"]
    assert bench.in_force == "000002"


async def test_a_change_is_told_once_with_what_it_was(bench: Bench):
    async with bench.opened() as transactions:
        await transactions.apply(wanting("web-2", "web-3"), call=CALL)
        await transactions.apply(wanting("web-2", "web-3"), call=CALL)
        await transactions.apply(wanting("web-1"), call=CALL, dry_run=True)

    (told,) = bench.telemetry.told
    assert told["event"] == "clover.change"
    assert told["clover.change.outcome"] == "applied"
    assert (told["clover.change.previous"], told["clover.change.generation"]) == (1, 2)
    assert told["clover.change.summary"] == "backends: web-1 → web-2, web-3"
    assert told["body"].startswith("lb@v1: generation 1 → 2 by reload in ")
    assert told["body"].endswith(" ms: backends: web-1 → web-2, web-3")


async def test_files_are_for_their_readers_alone(bench: Bench):
    async with bench.opened() as transactions:
        await transactions.apply(wanting("web-2"), call=CALL)

    folder = bench.directory / "conf/000002"
    modes = {
        name: (folder / name).stat().st_mode & 0o777 for name in ("", "engine.conf", "state.json", "site", "site/page")
    }
    assert modes == {"": 0o711, "engine.conf": 0o600, "state.json": 0o600, "site": 0o711, "site/page": 0o644}


async def test_what_the_workers_write_to_is_made_when_a_change_needs_it(bench: Bench):
    async with bench.opened() as transactions:
        await transactions.apply(wanting("web-2"), call=CALL)

    assert (bench.directory / "temp").is_dir()


async def test_links_of_a_program_are_the_content_itself(bench: Bench):
    (bench.directory / "files").mkdir()
    content = bench.directory / "files/abc"
    content.write_text("uploaded")
    bench.driver.links = {"site/files/a/b.txt": "files/abc"}
    async with bench.opened() as transactions:
        await transactions.apply(lambda state: (to("web-2"), {"a/b.txt": "files/abc"}), call=CALL)

    assert (bench.directory / "conf/000002/site/files/a/b.txt").stat().st_ino == content.stat().st_ino


async def test_contents_that_no_generation_has_are_removed_with_the_last_that_had_them(bench: Bench):
    (bench.directory / "files").mkdir()
    content = bench.directory / "files/abc"
    content.write_text("uploaded")
    (bench.directory / "files/.upload-1").write_text("coming")
    async with bench.opened() as transactions:
        await transactions.apply(lambda state: (to("web-2"), {"a": "files/abc"}), call=CALL)
        for number in range(5):
            assert content.exists()
            await transactions.apply(lambda state, n=number: (to(f"web-{n % 2 + 1}"), {}), call=CALL)

    assert not content.exists()
    assert (bench.directory / "files/.upload-1").exists()
    assert bench.conf() == ["000003", "000004", "000005", "000006", "000007", "current"]


async def test_the_content_of_a_change_that_is_refused_is_removed_and_no_other(bench: Bench):
    (bench.directory / "files").mkdir()
    for name in ("old", "new", ".upload-1"):
        (bench.directory / "files" / name).write_text("uploaded")
    async with bench.opened() as transactions:
        await transactions.apply(lambda state: (state.configuration, {"a": "files/old"}), call=CALL)

        await refused(transactions, lambda state: (state.configuration, {**state.files, "b": "files/new"}), expected=7)

    assert sorted(path.name for path in (bench.directory / "files").iterdir()) == [".upload-1", "old"]


async def test_what_an_owner_was_killed_in_is_removed_by_the_next_one(bench: Bench):
    (bench.directory / "files").mkdir()
    for name in ("old", "new", ".upload-1"):
        (bench.directory / "files" / name).write_text("uploaded")
    async with bench.opened() as transactions:
        await transactions.apply(lambda state: (state.configuration, {"a": "files/old", "b": "files/new"}), call=CALL)
        (bench.directory / "files/never-in-force").write_text("uploaded")

    with Generations(str(bench.directory)).owned():
        assert sorted(path.name for path in (bench.directory / "files").iterdir()) == ["new", "old"]


async def test_what_the_check_refuses_leaves_no_trace_but_its_words(bench: Bench):
    bench.driver.check = ("sh", "-c", "echo line 7 is wrong >&2; exit 1")
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))

    assert (error.code, error.problems[0].code) == (Code.FAILED_PRECONDITION, "CLV3305")
    assert str(error) == "engine refuses the configuration of 'lb': line 7 is wrong"
    assert bench.conf() == ["000001", "current"]
    assert bench.engine.told == []
    assert bench.telemetry.told[0]["clover.change.outcome"] == "refused"


async def test_a_check_that_cannot_be_run_is_a_refusal(bench: Bench):
    bench.driver.check = ("/no/such/engine",)
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))

    assert "No such file" in str(error)
    assert bench.conf() == ["000001", "current"]


async def test_what_a_driver_cannot_do_is_told_in_its_words(bench: Bench):
    bench.driver.refuses = "no such thing"
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))

    assert (error.code, error.problems[0].code) == (Code.FAILED_PRECONDITION, "CLV3999")


async def test_what_the_engine_does_not_confirm_is_put_back(bench: Bench):
    bench.engine.refuses = {2}
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))
        assert transactions.in_force.state.generation == 1
        assert (await transactions.in_force.health()).ready

    assert (error.code, error.problems[0].code) == (Code.ABORTED, "CLV3306")
    assert "works by 1, not 2" in str(error)
    assert bench.engine.told == [(1, 2), (2, 1)]
    assert (bench.conf(), bench.in_force) == (["000001", "current"], "000001")
    assert bench.telemetry.told[0]["clover.change.outcome"] == "rolled-back"


async def test_a_driver_that_fails_in_an_unheard_of_way_leaves_the_old_configuration_in_force(bench: Bench, capsys):
    bench.engine.broken = ZeroDivisionError("a mistake")
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))

    assert (error.code, error.problems[0].code) == (Code.INTERNAL, "CLV3307")
    assert bench.in_force == "000001"
    assert bench.engine.told == [(1, 2), (2, 1)]
    assert "ZeroDivisionError" in capsys.readouterr().err


async def test_an_engine_that_dies_of_a_change_finds_the_old_configuration_when_it_is_started(bench: Bench):
    bench.engine.dies_at = 2
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))
        assert not (await transactions.in_force.health()).ready

    assert error.code is Code.ABORTED
    assert "does not run any more, and reads generation 1 when it is started" in str(error)
    assert bench.in_force == "000001"


async def test_when_putting_back_fails_too_both_are_told_and_it_is_tried_again(bench: Bench):
    async with bench.opened(settling=True) as transactions:
        await transactions.apply(wanting("web-2"), call=CALL)
        bench.engine.forgets = True
        error = await refused(transactions, wanting("web-3"))

        assert (error.code, error.problems[0].code) == (Code.INTERNAL, "CLV3307")
        assert "works by 0, not 3" in str(error)
        assert "putting generation 2 back failed, too, and is tried again: works by 0, not 2" in str(error)
        assert not (await transactions.in_force.health()).ready

        bench.engine.forgets = False
        async with asyncio.timeout(10):
            while not (await transactions.in_force.health()).ready:
                await transactions.in_force.news.wait()

    assert bench.engine.works_by == 2
    assert (bench.conf(), bench.in_force) == (["000001", "000002", "current"], "000002")


async def test_a_dry_run_leaves_alone_what_could_not_be_put_back(bench: Bench):
    async with bench.opened() as transactions:
        bench.engine.forgets = True
        await refused(transactions, wanting("web-2"))

        error = await refused(transactions, wanting("web-3"), dry_run=True)

    assert error.code == Code.INTERNAL
    assert '"web-2"' in (bench.directory / "conf/000002/state.json").read_text()


async def test_nothing_is_written_while_the_engine_is_down(bench: Bench):
    bench.engine.down = True
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))

    assert (error.code, error.problems[0].code) == (Code.INTERNAL, "CLV3308")
    assert bench.conf() == ["000001", "current"]
    assert bench.telemetry.told[0]["clover.change.outcome"] == "failed"


async def test_an_engine_without_an_interface_cannot_be_changed_and_says_so(bench: Bench):
    bench.running = False
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-2"))
        assert not (await transactions.apply(wanting("web-1"), call=CALL)).changed

    assert (error.code, error.problems[0].code) == (Code.FAILED_PRECONDITION, "CLV3309")


async def test_a_change_that_is_waited_for_no_more_goes_on(bench: Bench):
    async with bench.opened() as transactions:
        bench.engine.gate = asyncio.Event()
        change = asyncio.ensure_future(transactions.apply(wanting("web-2"), call=CALL))
        await bench.engine.asked.wait()
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        bench.engine.gate.set()
        await transactions.idle()
        assert transactions.in_force.state.generation == 2

    assert bench.conf() == ["000001", "000002", "current"]


async def test_a_change_that_waits_for_another_and_is_given_up_never_begins(bench: Bench):
    async with bench.opened() as transactions:
        bench.engine.gate = asyncio.Event()
        first = asyncio.ensure_future(transactions.apply(wanting("web-2"), call=CALL))
        await bench.engine.asked.wait()
        second = asyncio.ensure_future(transactions.apply(wanting("web-3"), call=CALL))
        await asyncio.sleep(0)
        second.cancel()
        bench.engine.gate.set()
        await first
        await transactions.idle()

    assert bench.in_force == "000002"
    assert bench.engine.told == [(1, 2)]


async def test_what_an_edit_says_is_judged_by_the_state_at_its_turn(bench: Bench):
    def with_one_more(state: State):
        backends = state.configuration.backends
        return replace_backends(state, (*backends, Backend(host=f"web-{len(backends) + 1}"))), state.files

    def replace_backends(state: State, backends: tuple[Backend, ...]):
        return state.configuration.model_copy(update={"backends": backends})

    async with bench.opened() as transactions:
        await asyncio.gather(*(transactions.apply(with_one_more, call=CALL) for _ in range(2)))
        assert [one.host for one in transactions.in_force.state.configuration.backends] == ["web-1", "web-2", "web-3"]


async def test_an_engine_that_is_behind_is_brought_to_what_is_in_force_before_anything_else(bench: Bench):
    bench.engine.works_by = 0
    async with bench.opened() as transactions:
        await transactions.apply(wanting("web-2"), call=CALL)

    assert bench.engine.told == [(0, 1), (1, 2)]


@dataclass
class Interrupted:
    """A bench whose ambassador was killed while it changed generation 1 into 2."""

    bench: Bench
    link: str
    """Where the link leads."""

    async def make(self) -> None:
        async with self.bench.opened() as transactions:
            await transactions.apply(wanting("web-2"), call=CALL)
        conf = self.bench.directory / "conf"
        (conf / ".changing").symlink_to("000001")
        (conf / "current").unlink()
        (conf / "current").symlink_to(self.link)
        self.bench.engine.told.clear()
        self.bench.telemetry.told.clear()

    async def settled(self) -> State:
        async with self.bench.opened(settling=True) as transactions, asyncio.timeout(10):
            while not (await transactions.in_force.health()).ready:
                await transactions.in_force.news.wait()
            return transactions.in_force.state


async def test_a_killed_change_whose_link_is_turned_comes_into_force(bench: Bench):
    case = Interrupted(bench, link="000002")
    await case.make()
    bench.engine.works_by = 1

    state = await case.settled()

    assert state.generation == bench.engine.works_by == 2
    assert bench.engine.told == [(1, 2)]
    assert bench.conf() == ["000001", "000002", "current"]
    assert [told["clover.change.outcome"] for told in bench.telemetry.told] == ["applied"]


async def test_a_killed_change_that_the_engine_refuses_is_put_back(bench: Bench):
    case = Interrupted(bench, link="000002")
    await case.make()
    bench.engine.works_by = 1
    bench.engine.refuses = {2}

    state = await case.settled()

    assert state.generation == bench.engine.works_by == 1
    assert (bench.conf(), bench.in_force) == (["000001", "current"], "000001")
    assert [told["clover.change.outcome"] for told in bench.telemetry.told] == ["rolled-back"]


async def test_a_change_that_was_killed_while_it_was_put_back_is_put_back(bench: Bench):
    case = Interrupted(bench, link="000001")
    await case.make()
    bench.engine.works_by = 2

    state = await case.settled()

    assert state.generation == bench.engine.works_by == 1
    assert bench.engine.told == [(2, 1)]
    assert bench.conf() == ["000001", "current"]
    assert bench.telemetry.told == []


async def test_a_generation_that_was_confirmed_is_never_put_back_because_the_engine_is_moody(bench: Bench):
    async with bench.opened() as transactions:
        await transactions.apply(wanting("web-2"), call=CALL)
    bench.engine.works_by, bench.engine.refuses = 1, {2}
    async with bench.opened() as transactions:
        error = await refused(transactions, wanting("web-3"))
        assert transactions.in_force.state.generation == 2

    assert error.code is Code.INTERNAL
    assert bench.in_force == "000002"


@pytest.mark.parametrize("host", ["web-2", "web-3"], ids=["what the killed one wanted", "something else"])
async def test_a_change_that_finds_a_killed_one_refused_begins_from_what_was_put_back(bench: Bench, host: str):
    case = Interrupted(bench, link="000002")
    await case.make()
    bench.engine.works_by, bench.engine.refuses = 1, {2, 3}
    seen = []

    def wanted(state: State):
        seen.append(state.generation)
        return to(host), state.files

    async with bench.opened() as transactions:
        error = await refused(transactions, wanted)
        assert transactions.in_force.state.generation == 1

    assert (seen, error.problems[0].code) == ([2, 1], "CLV3306")
    assert (bench.conf(), bench.in_force) == (["000001", "current"], "000001")
