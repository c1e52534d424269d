"""Connection: one native connection and the one thread that makes all its calls."""

from __future__ import annotations

import asyncio
import functools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from asyncvddk.disks import _sectors
from asyncvddk.disks._access import NativeParams
from asyncvddk.disks._closing import Busy, CloseOnce, Steps, undo
from asyncvddk.disks._disk import AsyncDisk
from asyncvddk.disks._opening import Opening
from asyncvddk.disks._operation import Operation
from asyncvddk.disks._retry import retried
from asyncvddk.disks._runtime import RUNTIME
from asyncvddk.errors import ClosedError, NotSupportedError
from asyncvddk.models import AdapterType, DiskType, OpenFlags
from asyncvddk.native import _marshal, _memory
from asyncvddk.native._connect_params import read_connect_params
from asyncvddk.threads._calls import Calls
from asyncvddk.threads._worker import Hold, Worker, hold_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncvddk._params import ConnectParams
    from asyncvddk.disks._closing import Abortable
    from asyncvddk.disks._operation import Tell
    from asyncvddk.disks._retry import RetryPolicy
    from asyncvddk.models import CreateParams
    from asyncvddk.native._loader import Library


class Connection:
    """A connection to local disks or to a server. Made by ``Vddk.connect``; belongs to the event loop it was made on.

    All calls of the connection and its disks are made by one thread of its own, in the order of their asking; reads and
    writes are in flight together where the library can do that. Any number of tasks may use it at once.
    """

    def __init__(  # noqa: PLR0913  (each is a choice of its own)
        self,
        library: Library,
        params: NativeParams,
        live: set[Abortable],
        *,
        server: str | None,
        call_timeout_s: float | None,
        retry: RetryPolicy | None,
    ) -> None:
        """Belongs to ``connect``."""
        label = f"connection to {server or 'local disks'}"
        self._calls = Calls(library, Worker("vddk-connection", label=label, call_timeout_s=call_timeout_s))
        self._calls.worker.on_abandon = self._given_up
        self._params = params
        self._live = live
        self._local = server is None
        self._retry = retry
        self._flags = OpenFlags.NONE
        self._handle = 0
        self._cells: list[tuple[str, _memory.Cell]] = []  # what Open and ConnectEx are just making
        self._disks: set[AsyncDisk] = set()
        self._steps = Busy()
        self._closing = CloseOnce()
        live.add(self)

    @classmethod
    async def connect(  # noqa: PLR0913  (each is a choice of its own)
        cls,
        library: Library,
        params: ConnectParams | None,
        live: set[Abortable],
        *,
        read_only: bool,
        snapshot: str | None,
        transport_modes: str | None,
        call_timeout_s: float | None,
        retry: RetryPolicy | None,
    ) -> Self:
        """Connect; see ``Vddk.connect``. ``live`` holds the connection until it is closed."""
        texts = [
            _marshal.c_text(text, name) if text is not None else None
            for text, name in ((snapshot, "snapshot"), (transport_modes, "transport_modes"))
        ]
        native = NativeParams(params, library)
        try:
            server = params.server if params else None
            connection = cls(library, native, live, server=server, call_timeout_s=call_timeout_s, retry=retry)
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
        options = [int(read_only), *(_memory.bytes_address(text) if text is not None else 0 for text in texts)]
        name = "ConnectEx" if "VixDiskLib_ConnectEx" in self._calls.library.bound else "Connect"
        if name == "Connect":
            self._connect_simply(texts, read_only=read_only)
            options.clear()
        lent = self._params.lent(self._calls.worker)
        with self._steps, lent as address, self._makes("Disconnect", cell):
            try:
                await self._calls(name, address, *options, cell.address, keep=(cell, texts, self._params))
            finally:
                self._handle = cell.value

    def _connect_simply(self, texts: list[bytes | None], *, read_only: bool) -> None:
        """Do without ConnectEx: disks are opened for reading one by one; what Connect cannot say is refused."""
        if any(texts):
            raise NotSupportedError(
                f"snapshot, transport_modes: they need VixDiskLib_ConnectEx, which {self._calls.library.file} lacks"
            )
        self._flags = OpenFlags.READ_ONLY if read_only else OpenFlags.NONE

    @contextmanager
    def _makes(self, ending: str, cell: _memory.Cell) -> Iterator[None]:
        """Note what a call is just making, and how it is ended, for the case that the call is given up."""
        self._cells.append((ending, cell))
        try:
            yield
        finally:
            self._cells.remove((ending, cell))

    def _given_up(self, running: list[object]) -> None:
        """Leave what the library has open for us to the one who ends it, but nothing that it is just closing."""
        disks = [("Close", disk.handle) for disk in self._disks if disk not in running]
        RUNTIME.left_open += [*disks, *self._cells, ("Disconnect", 0 if self in running else self._handle)]

    async def connect_params(self) -> ConnectParams | None:
        """Return the parameters of this connection as the library has them, ``None`` for a local one.

        They are good for connecting once more; their secrets are new ones, which the caller wipes. VMware's
        documentation does not say whether the library overwrites its own copy when it frees it (the open engine does).

        Raises NotSupportedError (the library lacks the function, or tells less than a connection needs), another
        NativeError by code, ClosedError.
        """
        handle, cell = self._connected("connect_params"), _memory.Cell()
        if self._local:
            return None
        self._calls.address("FreeConnectParams")  # without it there is no way to give them back
        try:
            await self._calls("GetConnectParams", handle, cell.address, keep=cell)
            return read_connect_params(cell.value, self._calls.library) if cell.value else None
        finally:
            self._calls.free("FreeConnectParams", cell.value)

    def open(self, path: str | os.PathLike[str], flags: OpenFlags = OpenFlags.NONE) -> Opening[AsyncDisk]:
        """Open a disk; ``async with`` or ``await`` the result.

        ``path`` is a local file (relative ones from the current folder) or ``[datastore] folder/disk.vmdk``.

        Raises DiskNotFoundError, DiskLockedError, AccessDeniedError, InvalidDiskError, ChainError, another NativeError
        by code; ClosedError. Cancelled, no handle is left.
        """
        return Opening(
            lambda: retried(self._retry, lambda: self._open(path, flags), "open", os.fspath(path), anew=False)
        )

    async def _open(self, path: str | os.PathLike[str], flags: OpenFlags) -> AsyncDisk:
        name = self._path(path)
        if not 0 <= flags < 1 << 32:
            raise ValueError(f"flags={flags}: a combination of OpenFlags is needed")
        native, cell = _marshal.c_path(name), _memory.Cell()
        arguments = (self._connected("open"), _memory.bytes_address(native), int(flags | self._flags), cell.address)
        with self._steps:
            try:
                with self._makes("Close", cell):
                    await self._calls("Open", *arguments, path=name, keep=(native, cell))
            except asyncio.CancelledError as exc:
                if cell.value:
                    await undo(lambda: self._close_handle(cell.value), exc)
                raise
            disk = AsyncDisk(self._calls, cell.value, name, self._disks.discard, self._unlink)
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

    def create(
        self,
        path: str | os.PathLike[str],
        params: CreateParams,
        *,
        progress: Callable[[int], object] | None = None,
    ) -> Operation[None]:
        """Create a local disk of zeros.

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop. Raises DiskExistsError,
        DiskFullError, AccessDeniedError, another NativeError by code. Cancelled, the library is asked to stop, and a
        disk that it has completed all the same is removed.
        """

        async def run(tell: Tell) -> None:
            name = self._path(path)
            native, struct = _marshal.c_path(name), _marshal.create_params(params, self._calls.library)
            arguments = (self._connected("create"), _memory.bytes_address(native), _memory.address_of(struct))
            unmake = functools.partial(self._unlink, name)
            with self._steps:
                await self._calls.long(
                    "Create", *arguments, path=name, keep=(native, struct), progress=tell, unmake=unmake
                )

        return Operation(run, progress)

    def clone(  # noqa: PLR0913  (each is a choice of its own)
        self,
        path: str | os.PathLike[str],
        source: str | os.PathLike[str],
        *,
        source_connection: Connection | None = None,
        disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
        adapter: AdapterType = AdapterType.SCSI_LSILOGIC,
        hw_version: int = 13,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Operation[None]:
        """Copy the disk ``source``, its parents' content included, to a new one of ``disk_type`` at ``path``.

        ``source`` is opened through ``source_connection`` (default: this one). The copy has the size of the source and
        no parent. With ``overwrite`` a disk at ``path`` is replaced, else its presence is an error. On a server
        the last five choices mean nothing: the server decides (VMware's guide).

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop.

        Raises DiskExistsError, DiskNotFoundError, DiskFullError, DiskLockedError, another NativeError by code,
        ClosedError. Cancelled, the library is asked to stop; no copy is left, and a disk that was to be overwritten
        is as it was, unless the copy was complete already. A complete copy on a server stays.
        """

        async def run(tell: Tell) -> None:
            name = self._path(path)
            origin = source_connection or self
            source_name = origin._path(source)  # noqa: SLF001  (of the same class, here and below)
            natives = _marshal.c_path(name), _marshal.c_path(source_name)
            struct = _marshal.clone_params(disk_type, adapter, hw_version)
            to = self._connected("clone"), _memory.bytes_address(natives[0])
            of = origin._connected("clone"), _memory.bytes_address(natives[1])  # noqa: SLF001
            with self._steps, origin._steps:  # noqa: SLF001
                await self._calls.long(
                    *("Clone", *to, *of, _memory.address_of(struct)),
                    last=(int(overwrite),),
                    path=f"{source_name} to {name}",
                    keep=(natives, struct),
                    progress=tell,
                    unmake=functools.partial(self._unlink, name) if self._local and not overwrite else None,
                )

        return Operation(run, progress)

    def grow(
        self,
        path: str | os.PathLike[str],
        size: int,
        *,
        update_geometry: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> Operation[None]:
        """Give a local disk that is not open, and has neither parent nor children, a larger size.

        ``size`` is the new capacity in bytes, a multiple of 512; what is added reads as zeros. ``update_geometry``
        brings the cylinders noted in the disk in line.

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop.

        Raises ValueError, DiskNotFoundError, DiskLockedError, DiskFullError, another NativeError by code, ClosedError.
        Cancelled, the library is asked to stop: the disk has its old size then, or the new one.
        """

        async def run(tell: Tell) -> None:
            name = self._path(path)
            native = _marshal.c_path(name)
            sectors = _sectors.whole_sectors(size)
            arguments = (self._connected("grow"), _memory.bytes_address(native), sectors, int(update_geometry))
            with self._steps:
                await self._calls.long("Grow", *arguments, path=name, keep=native, progress=tell)

        return Operation(run, progress)

    async def rename(self, path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        """Rename a local disk that is not open, its extents with it; children of it do not learn its new name.

        Raises DiskNotFoundError, DiskExistsError, DiskLockedError, another NativeError by code, ClosedError.
        """
        names = self._path(path), self._path(target)
        natives = tuple(map(_marshal.c_path, names))
        self._connected("rename")
        await self._calls(
            "Rename", *map(_memory.bytes_address, natives), path=f"{names[0]} to {names[1]}", keep=natives
        )

    async def check_repair(self, path: str | os.PathLike[str], *, repair: bool = False) -> None:
        """Check the tables of a local sparse disk; with ``repair`` mend what can be mended.

        Returns when the disk is sound, or has been mended. Without ``repair`` nothing is written.

        Raises NeedsRepairError (``repair`` can mend it), InvalidDiskError (it cannot, or is no disk),
        DiskNotFoundError, DiskLockedError, another NativeError by code, ClosedError. The error's text has the findings.
        """
        name = self._path(path)
        native = _marshal.c_path(name)
        arguments = (self._connected("check_repair"), _memory.bytes_address(native), int(repair))
        await self._calls("CheckRepair", *arguments, path=name, keep=native)

    async def unlink(self, path: str | os.PathLike[str]) -> None:
        """Delete a local disk with all its extents; its parents stay.

        Raises DiskNotFoundError, DiskLockedError, another NativeError by code.
        """
        self._connected("unlink")
        await self._unlink(self._path(path))

    async def _unlink(self, path: str, hold: Hold | None = None) -> None:
        native = _marshal.c_path(path)
        await self._calls("Unlink", self._handle, _memory.bytes_address(native), path=path, keep=native, hold=hold)

    def abort(self, reason: str = "aborted by the program") -> None:
        """Give the connection up at once, with all its disks: the way out of a library that hangs.

        Everybody who waits for one of their calls, a close included, gets AbortedError now, with ``reason``; so does
        whoever uses them later. ``aclose`` then returns without asking the library for anything. The thread and the
        memory that its call may still use stay behind until the library comes back, if it ever does: until then a
        buffer given to ``readinto_at`` cannot be resized, and may yet be written to; data given to ``write_at`` may yet
        be written to the disk. Other connections, and access locks, go on. Closed or aborted before, a no-op.

        From the event loop's thread only: in a task, or by ``loop.add_signal_handler(signal.SIGTERM,
        connection.abort)``; from elsewhere by ``loop.call_soon_threadsafe(connection.abort)``.
        """
        self._calls.worker.abandon(reason)

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
        steps = Steps()
        steps.push(lambda: self._live.discard(self))
        steps.push(self._params.wipe)
        steps.push(self._calls.worker.aclose)
        steps.push(lambda: self._disconnect(hold))
        for disk in self._disks:
            steps.push(disk.close_alone)
        await steps.aclose()

    async def _disconnect(self, hold: Hold) -> None:
        if self._calls.worker.closed or not self._handle:
            return
        try:
            await self._calls("Disconnect", self._handle, keep=self, hold=hold)
        finally:
            self._handle = 0

    def _connected(self, what: str) -> int:
        if self._calls.worker.given_up:
            raise self._calls.worker.refusal(f"Connection.{what}", None)
        if self._closing.begun or not self._handle:
            raise ClosedError(f"Connection.{what}: the connection is closed")
        return self._handle

    def _path(self, path: str | os.PathLike[str]) -> str:
        name = os.fspath(path)
        return os.path.abspath(name) if self._local and name else name  # noqa: PTH100  (links stay as they are)
