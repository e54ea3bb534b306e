"""The calls about the files that a server serves.

A content lies in the workload's folder under its SHA-256, once, and each generation has hard links to those that it
serves: whoever is sent a file while it is replaced gets the old one to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.calls import apply_response
from clover.control.generations import FILES
from clover.control.handlers import Call, CallError, Code, Handlers, Surroundings, Violation, call_error
from clover.control.transaction import Content, Transactions
from clover.functions.state import State
from clover.spec.nearest import did_you_mean

MOST_BYTES = 16 << 20
MOST_FILES = 1000
_PART = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}"
_PATH = re.compile(rf"{_PART}(?:/{_PART}){{0,15}}", re.ASCII)
LONGEST_PATH = 200


class Uploads:
    """`UploadFile`, `DeleteFile` and `ListFiles`."""

    def __init__(self, surroundings: Surroundings, transactions: Transactions) -> None:
        self._function = surroundings.settings.function
        self._directory = Path(surroundings.settings.directory)
        self._transactions = transactions

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"UploadFile": self.upload, "DeleteFile": self.delete, "ListFiles": self.list_files}

    async def upload(
        self, requests: AsyncIterator[control_pb2.UploadFileRequest], call: Call
    ) -> control_pb2.ApplyResponse:
        """Take a file in parts, and serve it when it is whole."""
        first = await anext(requests, None)
        if first is None:
            raise convert.invalid((Violation(field="path", what="is missing: no message came"),))
        path = _vetted(first.path)
        folder = self._directory / FILES
        try:
            folder.mkdir(mode=0o711, exist_ok=True)
            folder.chmod(0o711)
            with _temporary(folder) as (file, temporary):
                digest = await self._received(file, first, requests)
                await asyncio.to_thread(_finish, file)

                def wanted(state: State) -> Content:
                    content = self._with(state, path, digest)
                    # Here, because between changes what no generation has is removed.
                    with contextlib.suppress(FileExistsError):
                        (folder / digest).hardlink_to(temporary)
                    return content

                result = await self._transactions.apply(wanted, call=call, expected=first.expected_generation)
        except OSError as failure:
            what = f"{path!r} cannot be kept, and nothing was changed: {failure.strerror}"
            raise call_error(Code.RESOURCE_EXHAUSTED, "CLV3310", what, where=self._function, hint="df -h") from failure
        return apply_response(result)

    async def delete(self, request: control_pb2.DeleteFileRequest, call: Call) -> control_pb2.ApplyResponse:
        """Serve a file no more."""
        path = _vetted(request.path)

        def wanted(state: State) -> Content:
            if path not in state.files:
                raise call_error(
                    Code.NOT_FOUND,
                    "CLV3315",
                    f"{self._function!r} has no uploaded file {path!r}",
                    where=self._function,
                    hint=did_you_mean(path, state.files),
                )
            return state.configuration, {name: content for name, content in state.files.items() if name != path}

        result = await self._transactions.apply(wanted, call=call, expected=request.expected_generation)
        return apply_response(result)

    async def list_files(self, _: control_pb2.ListFilesRequest, call: Call) -> control_pb2.ListFilesResponse:
        """Return the uploaded files that are served."""
        del call
        response = control_pb2.ListFilesResponse()
        for path, content in sorted(self._transactions.in_force.state.files.items()):
            file = self._directory / content
            response.files.add(path=path, bytes=file.stat().st_size, sha256=file.name)
        return response

    def _with(self, state: State, path: str, digest: str) -> Content:
        others = state.files.keys() - {path}
        if len(others) >= MOST_FILES:
            what = f"{self._function!r} has {len(others)} uploaded files, which is as many as it can have"
            raise call_error(Code.RESOURCE_EXHAUSTED, "CLV3317", what, where=self._function, hint="delete some")
        for other in others:
            if other.startswith(f"{path}/") or path.startswith(f"{other}/"):
                raise _wrong(f"{path!r} cannot be a file beside {other!r}: one of them would have to be a folder")
        return state.configuration, {**state.files, path: f"{FILES}/{digest}"}

    async def _received(
        self,
        file: BinaryIO,
        first: control_pb2.UploadFileRequest,
        rest: AsyncIterator[control_pb2.UploadFileRequest],
    ) -> str:
        """Write what comes, and return its SHA-256."""
        digest, size = hashlib.sha256(), 0
        message: control_pb2.UploadFileRequest | None = first
        while message is not None:
            if message is not first and message.path:
                raise _wrong("is in a later message, too; expected it in the first alone")
            size += len(message.chunk)
            if size > MOST_BYTES:
                what = f"the file is larger than {MOST_BYTES >> 20} MiB, which is the most that a file may have"
                raise call_error(Code.RESOURCE_EXHAUSTED, "CLV3317", what, where=self._function)
            digest.update(message.chunk)
            await asyncio.to_thread(file.write, message.chunk)
            message = await anext(rest, None)
        return digest.hexdigest()


def _vetted(path: str) -> str:
    if len(path) > LONGEST_PATH or _PATH.fullmatch(path) is None:
        raise _wrong(
            f"found {path[:LONGEST_PATH]!r}, expected a path such as 'css/site.css': letters, digits and ._~-, no part"
            " beginning with a dot"
        )
    return path


def _wrong(what: str) -> CallError:
    return convert.invalid((Violation(field="path", what=what),))


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Return a file that is gone with the block; what is to stay has another name by then."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".upload-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _finish(file: BinaryIO) -> None:
    """Bring what was written to the disk; an engine's workers may read it."""
    file.flush()
    os.fchmod(file.fileno(), 0o644)
    os.fsync(file.fileno())
