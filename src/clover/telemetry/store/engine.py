"""The embedded engine: chDB, which is ClickHouse as a library, behind the little that the store needs of it.

chDB's own connections are used, not `clickhouse-connect`: its chDB backend writes each insert to a temporary file
first, adds half a second of import and a handshake to every start, and asks for a distribution that brings pandas and
pyarrow along. A ClickHouse server instead of the library is another `Session`: the statements, the
formats and the parameters are plain ClickHouse.

One process can have one store open, and one store can be open in one process.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_CLONE_FS = 0x200

CONFIGURATION = """<clickhouse>
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
  <mark_cache_size>16777216</mark_cache_size>
  <primary_index_cache_size>16777216</primary_index_cache_size>
  <index_mark_cache_size>8388608</index_mark_cache_size>
  <query_condition_cache_size>4194304</query_condition_cache_size>
  <compiled_expression_cache_size>8388608</compiled_expression_cache_size>
  <max_thread_pool_size>64</max_thread_pool_size>
  <max_thread_pool_free_size>8</max_thread_pool_free_size>
  <background_pool_size>1</background_pool_size>
  <background_schedule_pool_size>1</background_schedule_pool_size>
</clickhouse>
"""
"""A guest in somebody's process: small caches, few threads, and a limit on memory."""


class EngineError(Exception):
    """The engine refused a statement; the message is the engine's own, without its stack."""

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(message))
        found = re.search(r"Code: (\d+)", message)
        self.code = int(found.group(1)) if found else 0
        self.no_space = self.code == 243 or "No space left" in message or "Disk quota exceeded" in message
        self.bad_data = self.code in _BAD_DATA


_BAD_DATA = frozenset({6, 26, 27, 32, 33, 34, 72, 117, 131, 137, 190, 434, 436, 444, 691})
"""The engine's codes for input that it cannot read; anything else is not the sender's fault."""


def _shortened(message: str) -> str:
    return re.sub(r"\s+", " ", message.split(" (version ")[0]).strip()[:400]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A table that takes data in one of the engine's formats."""

    table: str
    format: str
    settings: str
    """`name = value, ...` of the engine, for this input."""


class Session(Protocol):
    """A conversation with the engine; used by one thread at a time."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT; values in it are bound as `{name:Type}`, never written into the text."""
        ...

    def command(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        ...

    def insert(self, into: Input, data: Sequence[bytes]) -> None:
        """Insert `data`, which is in the input's format; all of it or nothing."""
        ...

    def close(self) -> None:
        """End the conversation."""
        ...


class EmbeddedSession:
    """A session with the engine inside this process."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows, as JSON has them: 64-bit integers are integers, times are text."""
        try:
            bound = {name: _bound(value) for name, value in (parameters or {}).items()}
            answer = self._connection.query(sql, "JSONCompact", params=bound)
        except RuntimeError as failure:
            raise EngineError(str(failure)) from failure
        # Attribute values are whatever bytes somebody sent.
        document = json.loads(answer.bytes().decode("utf-8", "replace"))
        names = [column["name"] for column in document["meta"]]
        return [dict(zip(names, row, strict=True)) for row in document["data"]]

    def command(self, sql: str) -> None:
        """Run one statement."""
        try:
            self._connection.query(sql, "Null")
        except RuntimeError as failure:
            raise EngineError(str(failure)) from failure

    def insert(self, into: Input, data: Sequence[bytes]) -> None:
        """
        Insert; after an error nothing of it is stored.

        The data is read from a file that exists in memory only. chDB's streaming insert would take it directly, but
        reports success when the disk is full (chdb-core 26.9.0).
        """
        with open(os.memfd_create("clover-insert"), "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
            file.writelines(data)
            file.flush()
            self.command(
                f"INSERT INTO {into.table} FROM INFILE '/proc/self/fd/{file.fileno()}' "
                f"SETTINGS {into.settings} FORMAT {into.format}"
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _bound(value: Any) -> Any:
    """The engine reads the text of a parameter as it reads a field of TabSeparated: with escapes."""
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return value


def open_session(directory: Path, *, memory_bytes: int) -> EmbeddedSession:
    """
    Open the store below `directory`, a folder that exists; takes about half a second the first time.

    Call it in a thread of its own: importing chDB changes the working directory for a moment, which is the whole
    process's unless the thread is given one of its own first.
    """
    ctypes.CDLL(None, use_errno=True).unshare(_CLONE_FS)
    from chdb.state.sqlitelike import Connection

    configuration = directory / "engine.xml"
    beside = directory / "engine.xml.new"
    beside.write_text(CONFIGURATION.format(memory_bytes=memory_bytes), encoding="utf-8")
    beside.replace(configuration)
    try:
        connection = Connection(f"{os.path.realpath(directory / 'data')}?config-file={configuration.absolute()}")
        session = EmbeddedSession(connection)
        session.command("SET output_format_json_quote_64bit_integers = 0")
    except RuntimeError as failure:
        raise EngineError(str(failure)) from failure
    return session
