"""One function with its engine and its ambassador, both real, in a network of their own, and no mesh."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import text_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clover.control import settings as control_settings
from clover.control._proto import control_pb2
from clover.control.methods import METHODS, SERVICE
from clover.control.settings import AMBASSADOR_FILE, AmbassadorSettings, settings_from
from clover.functions import registry, state
from clover.functions.driver import CURRENT, Program
from clover.functions.state import State
from clover.kit.requirements import SYSTEM_PATH
from clover.runtime.local import namespaces
from clover.spec.chain import FunctionType
from clover.spec.configuration import MODELS

PORT, CONTROL_PORT = 9180, 50054
WAIT_S = 60.0
SERVERS = {"web-1": 9001, "web-2": 9002, "web-3": 9003}
"""Servers that answer with their name."""
_SERVERS_CONFIGURATION = """
daemon off; master_process off; pid {folder}/servers.pid; error_log stderr; worker_rlimit_nofile 1024;
events {{ worker_connections 256; }}
http {{ access_log off; {temp} {servers} }}
"""


_WARM = """
import gc, os, re, signal, sys
import clover.cli.ambassador
from clover.cli.main import main
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
gc.collect()
gc.freeze()
print("warm", flush=True)
KILLING = {
    "open", "os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.scandir",
    "socket.connect", "subprocess.Popen", "os.posix_spawn",
}

def kill_at(wanted):
    seen, armed = 0, False
    def hook(event, arguments):
        nonlocal seen, armed
        if event == "os.mkdir" and re.search(r"/conf/[0-9]{6}$", os.fspath(arguments[0])):
            armed = True
        if armed and event in KILLING:
            seen += 1
            if seen == wanted:
                os.write(1, f"killed at {event} {arguments[:2]}\\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for line in sys.stdin:
    folder, log, killed = line.split()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
        if int(killed):
            kill_at(int(killed))
        code = main(["ambassador", folder])
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
"""
"""
Imports once and forks for each folder that it is told, as a chain does.

A copy can be told to kill itself when it is about to do something to the disk, the network or another process for the
nth time after a change has begun.
"""


@dataclass(slots=True, kw_only=True)
class Copy:
    """A process that was forked elsewhere."""

    pid: int

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = WAIT_S) -> None:
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return  # it has ended
        try:
            assert select.select([handle], [], [], timeout_s)[0], f"process {self.pid} does not end"
        finally:
            os.close(handle)


@dataclass(slots=True, kw_only=True)
class Network:
    """A network, with servers in it that every function may send to."""

    folder: Path
    holder: subprocess.Popen[bytes]
    path: Path = field(init=False)
    warm: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.path = Path(f"/proc/{self.holder.pid}/ns/net")

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` in there."""
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--ipc", "--", *argv]

    def seen(self, path: Path) -> Path:
        """Return what lies at `path` in there."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def ambassador(self, directory: Path, *, killed_at: int = 0) -> Copy:
        """Start the ambassador of the function in this folder; `killed_at` is a point in its first change, 0: never."""
        if self.warm is None:
            self.warm = subprocess.Popen(
                self.inside(sys.executable, "-c", _WARM),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
            )
            assert self._said() == "warm"
        assert self.warm.stdin is not None
        self.warm.stdin.write(f"{directory} {directory}/logs/ambassador.log {killed_at}\n")
        self.warm.stdin.flush()
        return Copy(pid=int(self._said()))

    def _said(self) -> str:
        assert self.warm is not None
        assert self.warm.stdout is not None
        return self.warm.stdout.readline().strip()

    def close(self) -> None:
        if self.warm is not None:
            self.warm.kill()
            self.warm.communicate()


@contextlib.contextmanager
def network(*, small: str = "") -> Iterator[Network]:
    """
    Make a network whose names are those of `SERVERS`, and which is gone with the block.

    With `small` (`256k`) there is a folder `small` in its folder, on a disk of that size.
    """
    folder = Path(tempfile.mkdtemp(prefix="clover-control-", dir="/tmp"))
    folder.chmod(0o711)
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(SERVERS)}\n")
    hosts.chmod(0o644)
    disk = f"mkdir {folder}/small && mount -t tmpfs -o size={small},mode=711 small {folder}/small &&" if small else ""
    script = f"{disk} ip link set lo up && mount --bind {hosts} /etc/hosts && echo ready && exec sleep infinity"
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "--ipc", "--", "sh", "-c", script], stdout=subprocess.PIPE, env=_environment()
    )
    servers = None
    made = Network(folder=folder, holder=holder)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        servers = _start_servers(made)
        yield made
    finally:
        made.close()
        for process in (servers, holder):
            if process is not None:
                process.kill()
                process.wait()
        if holder.stdout:
            holder.stdout.close()
        shutil.rmtree(folder)


def _start_servers(network: Network) -> subprocess.Popen[bytes]:
    blocks = " ".join(
        f'server {{ listen {port}; location / {{ return 200 "{name}\\n"; }} }}' for name, port in SERVERS.items()
    )
    temp = " ".join(
        f"{what}_temp_path {network.folder}/t-{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = network.folder / "servers.conf"
    file.write_text(_SERVERS_CONFIGURATION.format(folder=network.folder, servers=blocks, temp=temp))
    process = subprocess.Popen(
        network.inside("nginx", "-e", "stderr", "-c", str(file)), env=_environment(), stderr=subprocess.DEVNULL
    )
    wait_until(lambda: _accepts(network, SERVERS["web-1"]))
    return process


class Refusal(Exception):
    """A call that ended with a status other than OK, and its details."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code = error.code().name
        self.message = error.details() or ""
        self.fields: dict[str, str] = {}
        self.unmet: dict[str, str] = {}
        self.reason, self.facts = "", {}
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        for detail in status.details if status else ():
            info, bad, unmet = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.PreconditionFailure(),
            )
            if detail.Unpack(info):
                assert info.domain == "clover"
                self.reason, self.facts = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = {one.field: one.description for one in bad.field_violations}
            elif detail.Unpack(unmet):
                self.unmet = {one.type: one.description for one in unmet.violations}


@dataclass(slots=True, kw_only=True)
class Controlled:
    """A function, its engine, and its ambassador; nothing of it runs before it is started."""

    network: Network
    directory: Path
    settings: AmbassadorSettings
    program: Program
    engine: subprocess.Popen[bytes] | None = None
    ambassador: Copy | None = None
    channel: grpc.aio.Channel | None = None

    @property
    def files(self) -> Path:
        """Return the folder as its processes see it."""
        return self.network.seen(self.directory)

    # ---- processes

    def start_engine(self, *, hosts: str = "") -> None:
        """Start the engine; with `hosts` it knows other names than its ambassador."""
        wrapper: tuple[str, ...] = ()
        if hosts:
            (self.network.folder / "engine-hosts").write_text(hosts)
            script = f'mount --bind {self.network.folder}/engine-hosts /etc/hosts && exec "$@"'
            wrapper = ("unshare", "--mount", "--", "sh", "-c", script, "sh")
        with (self.files / "logs/engine.log").open("ab") as log:
            self.engine = subprocess.Popen(
                self.network.inside(*wrapper, *self.program.process.argv),
                cwd=self.program.process.working_directory or self.directory,
                env=_environment(self.program.process.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: _accepts(self.network, PORT), what=self.engine_log)

    def kill_engine(self) -> None:
        self.engine = _killed(self.engine)

    def engine_log(self) -> str:
        return (self.files / "logs/engine.log").read_text(errors="replace")

    def start_ambassador(self, *, killed_at: int = 0) -> None:
        self.ambassador = self.network.ambassador(self.directory, killed_at=killed_at)
        wait_until(lambda: _accepts(self.network, CONTROL_PORT), what=self.ambassador_log)

    def kill_ambassador(self) -> None:
        self.ambassador = _killed(self.ambassador)

    def stop_ambassador(self) -> None:
        assert self.ambassador is not None
        self.ambassador.send_signal(signal.SIGTERM)
        self.ambassador.wait(WAIT_S)
        self.ambassador = None

    def ambassador_log(self) -> str:
        return (self.files / "logs/ambassador.log").read_text(errors="replace")

    # ---- what is asked

    async def call(self, name: str, text: str | Message = "", *, timeout_s: float = 30.0, **metadata: str) -> Any:
        """Call a method; `text` is the request in protobuf's text format. Raises Refusal."""
        method = METHODS[name]
        request = text_format.Parse(text, method.request()) if isinstance(text, str) else text
        call = self._channel().unary_unary(f"/{SERVICE}/{name}", _bytes, method.answer.FromString)
        try:
            return await call(request, timeout=timeout_s, metadata=tuple(metadata.items()))
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from None

    def stream(self, name: str, text: str = "") -> Any:
        method = METHODS[name]
        call = self._channel().unary_stream(f"/{SERVICE}/{name}", _bytes, method.answer.FromString)
        return call(text_format.Parse(text, method.request()))

    async def first(self, name: str, text: str = "") -> Any:
        """Return the first answer of a method that streams them. Raises Refusal."""
        stream = self.stream(name, text)
        try:
            return await anext(aiter(stream))
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from None
        finally:
            stream.cancel()

    async def upload(self, path: str, *chunks: bytes, expected: int = 0) -> control_pb2.ApplyResponse:
        call = self._channel().stream_unary(f"/{SERVICE}/UploadFile", _bytes, METHODS["UploadFile"].answer.FromString)

        def messages() -> Iterator[control_pb2.UploadFileRequest]:
            first, *rest = chunks or (b"",)
            yield control_pb2.UploadFileRequest(path=path, expected_generation=expected, chunk=first)
            yield from (control_pb2.UploadFileRequest(chunk=chunk) for chunk in rest)

        try:
            answer: control_pb2.ApplyResponse = await call(messages(), timeout=30)
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from None
        return answer

    async def state(self) -> control_pb2.State:
        answer: control_pb2.State = await self.call("Get")
        return answer

    async def until_ready(self) -> control_pb2.State:
        """Wait until the engine works by what is in force, and return that."""
        async with asyncio.timeout(WAIT_S):
            while True:
                watching = self.stream("Watch", "interval { nanos: 100000000 }")
                # A connection to the ambassador before this one may end just now.
                with contextlib.suppress(grpc.aio.AioRpcError, Refusal):
                    async for status in watching:
                        if status.engine_ready and not status.changing:
                            watching.cancel()
                            return await self.state()

    def fetch(self, path: str = "/", *, method: str = "GET", host: str = "chain.test") -> tuple[int, str]:
        """Return the status and the body of an answer of the function itself."""
        with namespaces.socket_in(self.network.path) as connection:
            connection.settimeout(30)
            connection.connect(("127.0.0.1", PORT))
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            parts = []
            while chunk := connection.recv(65536):
                parts.append(chunk)
        head, _, body = b"".join(parts).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body.decode("utf-8", "replace").strip()

    def generations(self) -> list[str]:
        """Return the names of all that lies in `conf`."""
        return sorted(path.name for path in (self.files / "conf").iterdir())

    def in_force(self) -> str:
        return str((self.files / CURRENT).readlink())

    def _channel(self) -> grpc.aio.Channel:
        assert self.channel is not None
        return self.channel


@contextlib.asynccontextmanager
async def controlled(
    network: Network, type_: str, engine: str, configuration: Mapping[str, Any], *, directory: Path | None = None
) -> AsyncIterator[Controlled]:
    """Lay out a function as a chain does, and stop what was started of it when the block is left."""
    folder = directory or Path(tempfile.mkdtemp(prefix="w-", dir=network.folder))
    network.seen(folder).chmod(0o711)
    settings = AmbassadorSettings(
        chain="test",
        namespace="default",
        function="fn",
        version="v1",
        workload="fn",
        type=type_,
        engine=engine,
        directory=str(folder),
        user="www-data",
        port=PORT,
        control_port=CONTROL_PORT,
        services=SERVERS,
        otlp=str(network.folder / "otlp.sock"),
    )
    first = State(type=type_, generation=1, configuration=MODELS[type_].model_validate(configuration))
    program = registry.driver(FunctionType(type_), engine).render(settings_from(settings, first))
    _lay_out(network.seen(folder), settings, first, program)
    function = Controlled(network=network, directory=folder, settings=settings, program=program)
    try:
        async with (
            _relayed(network, network.folder / f"{folder.name}.sock") as target,
            grpc.aio.insecure_channel(target, options=_CHANNEL) as channel,
        ):
            function.channel = channel
            yield function
    finally:
        function.kill_ambassador()
        function.kill_engine()


_CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


def _lay_out(folder: Path, settings: AmbassadorSettings, first: State, program: Program) -> None:
    generation = folder / "conf/000001"
    for made in (folder / "conf", generation, folder / "logs"):
        made.mkdir(mode=0o711, exist_ok=True)
        made.chmod(0o711)
    for name, text in {**program.files, state.FILE: state.render(first)}.items():
        path = generation / name
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644 if name.startswith("site/") else 0o600)
    (folder / CURRENT).symlink_to("000001")
    for name in program.directories:
        (folder / name).mkdir(mode=0o700, parents=True)
        shutil.chown(folder / name, settings.user, settings.user)
    (folder / AMBASSADOR_FILE).write_text(control_settings.render(settings))


@contextlib.asynccontextmanager
async def _relayed(network: Network, path: Path) -> AsyncIterator[str]:
    """Bring connections to a Unix socket to the ambassador inside the network."""
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            connection = namespaces.socket_in(network.path)
            connection.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", CONTROL_PORT))
            except OSError:
                connection.close()
                return
            there, back = await asyncio.open_connection(sock=connection)
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(_pump(reader, back))
                    pumps.create_task(_pump(there, writer))
            finally:
                back.close()
        except (asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(relay, path)
    try:
        yield f"unix:{path}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Over(Exception):
    """One side closed the connection."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    raise _Over


def wait_until(true: Callable[[], bool], *, what: Callable[[], str] = str) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"it does not happen: {what()}"
        time.sleep(0.01)


def _accepts(network: Network, port: int) -> bool:
    with namespaces.socket_in(network.path) as connection:
        connection.settimeout(10)
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _killed(process: subprocess.Popen[bytes] | Copy | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}", **(more or {})}


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
