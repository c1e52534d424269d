"""Connection: one native connection and the one thread that makes all its calls."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from asyncvddk._access import NativeParams
from asyncvddk._calls import Calls
from asyncvddk._closing import Busy, CloseOnce, undo
from asyncvddk._disk import AsyncDisk
from asyncvddk._opening import Opening
from asyncvddk._worker import Hold, Worker, hold_cancellation
from asyncvddk.errors import ClosedError
from asyncvddk.models import OpenFlags
from asyncvddk.native import _marshal, _memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk._opening import Closable
    from asyncvddk.models import ConnectParams, CreateParams
    from asyncvddk.native._loader import Library


class Connection:
    """A connection to local disks or to a server. Made by ``Vddk.connect``; belongs to the event loop it was made on.

    All calls of the connection and its disks are made by one thread of its own, in the order of their asking; reads and
    writes are in flight together where the library can do that. Any number of tasks may use it at once.
    """

    def __init__(self, library: Library, params: NativeParams, live: set[Closable], *, local: bool) -> None:
        """Belongs to ``connect``."""
        self._calls = Calls(library, Worker("vddk-connection"))
        self._params = params
        self._live = live
        self._local = local
        self._handle = 0
        self._disks: set[AsyncDisk] = set()
        self._steps = Busy()
        self._closing = CloseOnce()
        live.add(self)

    @classmethod
    async def connect(  # noqa: PLR0913  (each is a choice of its own)
        cls,
        library: Library,
        params: ConnectParams | None,
        live: set[Closable],
        *,
        read_only: bool,
        snapshot: str | None,
        transport_modes: str | None,
    ) -> Self:
        """Connect; see ``Vddk.connect``. ``live`` holds the connection until it is closed."""
        texts = [
            _marshal.c_text(text, name) if text is not None else None
            for text, name in ((snapshot, "snapshot"), (transport_modes, "transport_modes"))
        ]
        native = NativeParams(params)
        try:
            connection = cls(library, native, live, local=params is None)
        except BaseException:
            native.wipe()
            raise
        try:
            await connection._connect(texts, read_only=read_only)
        except BaseException as exc:
            await undo(connection.aclose, exc)
            raise
        return connection

    async def _connect(self, texts: list[bytes | None], *, read_only: bool) -> None:
        cell = _memory.Cell()
        addresses = [_memory.bytes_address(text) if text is not None else 0 for text in texts]
        arguments = (self._params.address, read_only, *addresses, cell.address)
        try:
            await self._calls("ConnectEx", *arguments, keep=(cell, texts, self._params))
        finally:
            self._handle = cell.value

    def open(self, path: str | os.PathLike[str], flags: OpenFlags = OpenFlags.NONE) -> Opening[AsyncDisk]:
        """Open a disk; ``async with`` or ``await`` the result.

        ``path`` is a local file (relative ones from the current folder) or ``[datastore] folder/disk.vmdk``.

        Raises DiskNotFoundError, DiskLockedError, AccessDeniedError, InvalidDiskError, ChainError, another NativeError
        by code; ClosedError. Cancelled, no handle is left.
        """
        return Opening(lambda: self._open(path, flags))

    async def _open(self, path: str | os.PathLike[str], flags: OpenFlags) -> AsyncDisk:
        name = self._path(path)
        if not 0 <= flags < 1 << 32:
            raise ValueError(f"flags={flags}: a combination of OpenFlags is needed")
        native, cell = _marshal.c_path(name), _memory.Cell()
        arguments = (self._connected("open"), _memory.bytes_address(native), int(flags), cell.address)
        with self._steps:
            try:
                await self._calls("Open", *arguments, path=name, keep=(native, cell))
            except asyncio.CancelledError as exc:
                if cell.value:
                    await undo(lambda: self._close_handle(cell.value), exc)
                raise
            disk = AsyncDisk(self._calls, cell.value, name, self._disks.discard)
            self._disks.add(disk)
            try:
                await disk.load()
            except BaseException as exc:
                await undo(disk.aclose, exc)
                raise
            return disk

    async def _close_handle(self, handle: int) -> None:
        with hold_cancellation() as hold:
            await self._calls("Close", handle, hold=hold)

    async def create(
        self,
        path: str | os.PathLike[str],
        params: CreateParams,
        *,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Create a local disk of zeros.

        ``progress`` gets percentages on the event loop. Raises DiskExistsError, DiskFullError, AccessDeniedError,
        another NativeError by code. Cancelled, the library is asked to stop, and a disk that it has completed all the
        same is removed.
        """
        name = self._path(path)
        native, struct = _marshal.c_path(name), _marshal.create_params(params)
        handle, text = self._connected("create"), _memory.bytes_address(native)
        worker = self._calls.worker
        with self._steps, hold_cancellation(shield=False) as hold, worker.progress(progress) as teller:
            arguments = (text, _memory.address_of(struct), *teller.arguments)
            await self._calls(
                "Create", handle, *arguments, path=name, keep=(native, struct), hold=hold, progress=teller
            )
            if hold:
                await self._calls("Unlink", handle, text, path=name, keep=native, hold=hold)

    async def unlink(self, path: str | os.PathLike[str]) -> None:
        """Delete a local disk with all its extents; its parents stay.

        Raises DiskNotFoundError, DiskLockedError, another NativeError by code.
        """
        name = self._path(path)
        native = _marshal.c_path(name)
        await self._calls("Unlink", self._connected("unlink"), _memory.bytes_address(native), path=name, keep=native)

    @property
    def closed(self) -> bool:
        """True once ``aclose`` has begun."""
        return self._closing.begun

    async def aclose(self) -> None:
        """Close the disks of this connection, disconnect, end the thread.

        Idempotent: a second caller waits for the first. Goes on past a failing step and raises its error at the end;
        runs to its end when cancelled, then goes on cancelling.
        """
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        await self._steps.over(hold)
        async with AsyncExitStack() as steps:
            steps.callback(self._live.discard, self)
            steps.callback(self._params.wipe)
            steps.push_async_callback(self._calls.worker.aclose)
            steps.push_async_callback(self._disconnect, hold)
            for disk in self._disks:
                steps.push_async_callback(disk.aclose)

    async def _disconnect(self, hold: Hold) -> None:
        handle, self._handle = self._handle, 0
        if handle and not self._calls.worker.closed:
            await self._calls("Disconnect", handle, hold=hold)

    def _connected(self, what: str) -> int:
        if self._closing.begun or not self._handle:
            raise ClosedError(f"Connection.{what}: the connection is closed")
        return self._handle

    def _path(self, path: str | os.PathLike[str]) -> str:
        name = os.fspath(path)
        return os.path.abspath(name) if self._local and name else name  # noqa: PTH100  (links stay as they are)
