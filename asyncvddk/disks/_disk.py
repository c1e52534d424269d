"""AsyncDisk: an open virtual disk, read and written at any byte."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from asyncvddk._events import Events
from asyncvddk.disks import _sectors
from asyncvddk.disks._allocated import Allocated
from asyncvddk.disks._closing import Busy, CloseOnce, Steps
from asyncvddk.disks._metadata import DiskMetadata
from asyncvddk.disks._operation import Operation
from asyncvddk.disks._ranges import RangeLocks
from asyncvddk.disks._stream import CHUNK_SIZE, DiskStream
from asyncvddk.errors import ChainError, ClosedError
from asyncvddk.models import SECTOR_SIZE, Block, DiskType
from asyncvddk.native import _core, _marshal, _memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from typing_extensions import Buffer

    from asyncvddk.disks._operation import Tell
    from asyncvddk.models import DiskInfo
    from asyncvddk.threads._calls import Calls
    from asyncvddk.threads._worker import Hold

_LOCAL_REQUEST_SECTORS: Final = 32 * 1024 * 1024 // SECTOR_SIZE
"""Largest request to a local disk; longer ranges are cut, so that cancelling one does not wait for gigabytes."""

_NETWORK_REQUEST_SECTORS: Final = 2 * 1024 * 1024 // SECTOR_SIZE
"""Largest request over NFC: ESXi hosts refuse larger ones when memory is short (virt-v2v and CDI cap at the same)."""

_logger = Events("asyncvddk")


class AsyncDisk:
    """An open virtual disk. Made by ``Connection.open`` and ``Vddk.open_disk``.

    Any number of tasks may read and write at once. Writes that touch the same sectors happen one after the other, in
    the order of their asking, so that unaligned ones are exact; a read beside a write of the same bytes may see either.

    Cancellation, of every method: a call that has not started never runs; one that runs is waited for, because C still
    uses the buffer, then ``CancelledError`` is raised. The disk stays usable.

    Every method raises CallTimeoutError when a call of the connection ran longer than its ``call_timeout_s``, and
    AbortedError after ``abort``; then the disk can only be closed, see ``Connection.abort``.
    """

    def __init__(
        self,
        calls: Calls,
        handle: int,
        path: str,
        on_close: Callable[[AsyncDisk], None],
        unlink: Callable[[str, Hold], Awaitable[None]],
    ) -> None:
        """Belongs to ``Connection.open``; ``unlink`` deletes a disk of the connection."""
        self.path = path
        """Name it was opened by."""
        self._calls = calls
        self._handle = handle  # 0: nothing but the close may be asked
        self._to_close = handle
        self._attached = False  # belongs to a child
        self._on_close = on_close
        self._unlink = unlink
        self._lent = Busy()
        self._writes = RangeLocks()
        self._owned = Steps()
        self._closing = CloseOnce()
        self._closing_all = CloseOnce()
        self._size = 0
        self._transport_mode = ""
        self._request_sectors = _LOCAL_REQUEST_SECTORS
        self._mode = _core.ASYNC if calls.library.can_async else 0
        suffix = "Async" if self._mode else ""
        self._read, self._write = calls.address("Read" + suffix), calls.address("Write" + suffix)
        self._transfer = calls.worker.transfer
        self._allocated = Allocated(path, calls.free)
        calls.worker.paths[handle] = path

    async def load(self) -> None:
        """Learn size and transport mode: the last step of opening."""
        self._size = (await self.info()).size
        mode = await self._calls.raw("GetTransportMode", self._handle)
        self._transport_mode = _memory.text_at(mode if self._handle else 0) or ""
        if self._transport_mode.startswith("nbd"):
            self._request_sectors = _NETWORK_REQUEST_SECTORS

    def close_after(self, owned: Steps) -> None:
        """Have ``aclose`` close what ``owned`` holds as well, after the disk."""
        self._owned = owned

    @property
    def handle(self) -> int:
        """What the library calls the disk, until it has closed it; 0 then."""
        return self._to_close

    @property
    def size(self) -> int:
        """Capacity in bytes, a multiple of 512."""
        return self._size

    @property
    def transport_mode(self) -> str:
        """How the data comes: ``file``, ``nbd``, ``nbdssl``, ``san`` or ``hotadd``."""
        return self._transport_mode

    @property
    def closed(self) -> bool:
        """True once ``aclose`` has begun."""
        return self._closing.begun or self._closing_all.begun

    @property
    def metadata(self) -> DiskMetadata:
        """The disk database: ``await disk.metadata["uuid"]``, ``await disk.metadata.set(key, value)``, ..."""
        return DiskMetadata(self._call)

    async def info(self) -> DiskInfo:
        """Return size, geometry, adapter, links and identifiers. Raises NativeError by code, ClosedError."""
        cell = _memory.Cell()
        try:
            await self._call("GetInfo", cell.address, keep=cell)
            return _marshal.disk_info(cell.value, self._calls.library.major)
        finally:
            self._calls.free("FreeInfo", cell.value)

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from byte ``offset``; any alignment.

        Raises ValueError (the range leaves ``[0, size]``), ClosedError, NativeError by code.
        """
        if offset < 0 or length <= 0 or offset + length > self._size or not self._handle:
            return self._read_nothing(offset, length)
        first = offset // SECTOR_SIZE
        count = (offset + length - 1) // SECTOR_SIZE - first + 1
        data, address = _memory.new_bytes(count * SECTOR_SIZE)
        if count <= self._request_sectors:
            if answer := await self._transfer(self._read, self._handle, first, count, address, self._mode, data):
                raise await self._calls.error("Read", answer, self.path)
        else:
            await self._transfer_parts(self._read, first, count, address, data)
        if length == len(data):
            return data
        skip = offset % SECTOR_SIZE
        return data[skip : skip + length]

    def _read_nothing(self, offset: int, length: int) -> bytes:
        """Say why ``read_at`` reads nothing, if it is an error."""
        _sectors.check_range(offset, length, self._size)
        self._open_handle("read_at")
        return b""

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Fill all of ``buffer`` from byte ``offset`` on; any alignment. Return its length in bytes.

        ``buffer`` is any writable contiguous object (bytearray, memoryview, mmap, array). It stays the caller's; until
        this returns or raises it can be neither resized nor reused. With ``offset`` and length multiples of 512 the
        library writes into it directly, else through a copy. Large reads are fastest into memory that begins with a
        page, as that of ``mmap.mmap(-1, length)`` does and that of a ``bytearray`` does not.

        Raises ValueError (the range leaves ``[0, size]``), BufferError (read-only or not contiguous), ClosedError,
        NativeError by code; then the content of ``buffer`` is unspecified.
        """
        pinned = _memory.Pinned(buffer, writable=True)
        length = pinned.length
        _sectors.check_range(offset, length, self._size)
        self._open_handle("readinto_at")
        if (offset | length) % SECTOR_SIZE:
            _memory.copy_to(pinned.address, await self.read_at(offset, length))
            return length
        first, count = offset // SECTOR_SIZE, length // SECTOR_SIZE
        if 0 < count <= self._request_sectors:
            if answer := await self._transfer(
                self._read, self._handle, first, count, pinned.address, self._mode, pinned
            ):
                raise await self._calls.error("Read", answer, self.path)
        else:
            await self._transfer_parts(self._read, first, count, pinned.address, pinned)
        return length

    async def write_at(self, offset: int, data: Buffer) -> int:
        """Write all of ``data`` at byte ``offset``; any alignment. Return its length in bytes.

        ``data`` is any contiguous object and must not change until this returns. Sectors that it covers in part are
        read, changed and written back, with no other write of this object in between. It is on storage after
        ``flush``.

        Raises ValueError (the range leaves ``[0, size]``), ClosedError, DiskFullError, AccessDeniedError, NativeError
        by code; then the range may hold old and new bytes. Cancelled: the same.
        """
        pinned = _memory.Pinned(data)
        _sectors.check_range(offset, pinned.length, self._size)
        self._open_handle("write_at")
        if not pinned.length:
            return 0
        first, count = _sectors.cover(offset, pinned.length)
        held = await self._writes.acquire(first, first + count)
        try:
            for piece in _sectors.plan_write(offset, pinned.length):
                await self._write_piece(piece, pinned)
        finally:
            self._writes.release(held)
        return pinned.length

    async def _write_piece(self, piece: _sectors.Piece, pinned: _memory.Pinned) -> None:
        address, keep = pinned.address + piece.start, (pinned,)
        if piece.partial:
            sector = bytearray(await self.read_at(piece.first_sector * SECTOR_SIZE, SECTOR_SIZE))
            sector[piece.skip : piece.skip + piece.end - piece.start] = pinned.copy(piece.start, piece.end)
            whole = _memory.Pinned(sector)
            address, keep = whole.address, (whole,)
        await self._transfer_parts(self._write, piece.first_sector, piece.num_sectors, address, keep)

    async def _transfer_parts(self, function: int, first: int, count: int, address: int, keep: object) -> None:
        """Read or write whole sectors, in requests that the transport takes."""
        name = "Read" if function == self._read else "Write"
        while count:
            part = min(count, self._request_sectors)
            handle = self._open_handle(name)
            if answer := await self._transfer(function, handle, first, part, address, self._mode, keep):
                raise await self._calls.error(name, answer, self.path)
            first, count, address = first + part, count - part, address + part * SECTOR_SIZE

    async def flush(self) -> None:
        """Return when everything written before is on storage. Raises NativeError by code, ClosedError."""
        if self._mode:
            await self._call("Wait")
        await self._call("Flush")

    def stream(self, position: int = 0, *, chunk_size: int = CHUNK_SIZE) -> DiskStream:
        """Return a stream over the disk: read, write, seek as in a file, beginning at byte ``position``.

        ``async for`` over it gives ``chunk_size`` bytes at a time. Closing it leaves the disk open, and there may be
        several. Raises ValueError, ClosedError.
        """
        self._open_handle("stream")
        return DiskStream(self, position, chunk_size)

    def allocated_blocks(
        self, start: int = 0, length: int | None = None, *, chunk_size: int = 65536
    ) -> AsyncGenerator[Block, None]:
        """Iterate over what is allocated in ``length`` bytes (default: to the end) from byte ``start``.

        Blocks ascend, do not touch each other and lie within the range; between them the disk reads as zeros (with
        ``SINGLE_LINK``: as the parent). ``chunk_size`` is the granularity in bytes: a power of two from 64 KiB
        to 64 MiB. A last chunk beyond a multiple of it counts as allocated, as the library cannot be asked for it. A
        library that cannot tell has everything allocated; the log says so once.

        Memory is bounded whatever the disk's size, by some 30 MiB at the worst: one native call for at most 524288
        chunks at a time. A loop that is left early leaves nothing behind.

        Raises ValueError, ClosedError, NativeError by code.
        """
        length = self._size - start if length is None else length
        _sectors.check_range(start, length, self._size)
        chunk = _sectors.check_chunk(chunk_size)
        self._open_handle("allocated_blocks")
        return self._allocated.blocks(self._call, start, start + length, self._size, chunk)

    def create_child(
        self,
        path: str | os.PathLike[str],
        *,
        disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
        progress: Callable[[int], object] | None = None,
    ) -> Operation[None]:
        """Create an empty local disk at ``path`` that shows this one's content until it is written to (a redo log).

        ``disk_type`` is MONOLITHIC_SPARSE or SPLIT_SPARSE. Write to this disk no more afterwards: its children could
        not be opened.

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop.

        Raises DiskExistsError, DiskFullError, ChainError (the chain is too long), another NativeError by code,
        ClosedError. Cancelled, the library is asked to stop, and a child that it has completed all the same is removed.
        """

        async def run(tell: Tell) -> None:
            name = os.path.abspath(os.fspath(path))  # noqa: ASYNC240, PTH100  (asks no disk; links stay as they are)
            native = _marshal.c_path(name)
            arguments = (self._open_handle("create_child"), _memory.bytes_address(native), int(disk_type))
            unmake = functools.partial(self._unlink, name)
            with self._lent:
                await self._calls.long("CreateChild", *arguments, path=name, keep=native, progress=tell, unmake=unmake)

        return Operation(run, progress)

    async def is_attach_possible(self, parent: AsyncDisk) -> bool:
        """Tell whether ``attach`` to ``parent`` would go well. Raises NativeError by code, ClosedError."""
        try:
            await self._call_with_parent("IsAttachPossible", parent, *self._handles_with(parent, "is_attach_possible"))
        except ChainError as exc:
            _logger.debug("attach_impossible", disk=self.path, parent=parent.path, reason=str(exc))
            return False
        return True

    async def attach(self, parent: AsyncDisk) -> None:
        """Put this disk, opened with ``SINGLE_LINK``, on top of ``parent`` and its parents; it then reads as the chain.

        Both are open for reading. ``parent`` can only be closed afterwards, also when this fails or is cancelled.

        Raises ChainError (the content or the size of the two does not fit), another NativeError by code, ClosedError
        (one of them is closed, or ``parent`` was attached before: nothing happened).
        """
        handles = self._handles_with(parent, "attach")
        try:
            await self._call_with_parent("Attach", parent, *handles)
        finally:
            parent._attached, parent._handle = True, 0

    def _handles_with(self, parent: AsyncDisk, what: str) -> tuple[int, int]:
        return parent._open_handle(what), self._open_handle(what)

    async def _call_with_parent(self, name: str, parent: AsyncDisk, *handles: int) -> None:
        with self._lent, parent._lent:
            await self._calls(name, *handles, path=f"{parent.path} as parent of {self.path}")

    async def space_needed_for_clone(self, disk_type: DiskType = DiskType.UNKNOWN) -> int:
        """Return bytes that a clone of ``disk_type`` would take; UNKNOWN: the type of this disk.

        Raises NativeError by code, ClosedError.
        """
        cell = _memory.Cell()
        await self._call("SpaceNeededForClone", int(disk_type), cell.address, keep=cell)
        return cell.value

    def shrink(self, *, progress: Callable[[int], object] | None = None) -> Operation[None]:
        """Give the grains of a local sparse base disk that hold only zeros back to the file system; the size stays.

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop. Raises UnsupportedError (a
        child, or not sparse), AccessDeniedError (open for reading only), another NativeError by code, ClosedError.
        Cancelled, the library is asked to stop; what it has done stays done.
        """
        return Operation(functools.partial(self._rebuild, "Shrink"), progress)

    def defragment(self, *, progress: Callable[[int], object] | None = None) -> Operation[None]:
        """Put the grains of a local sparse disk in the order of its content; flat disks have nothing to do.

        ``await`` the result, or watch it. ``progress`` gets percentages on the event loop. Raises AccessDeniedError
        (open for reading only), another NativeError by code, ClosedError. Cancelled, the library is asked to stop; what
        it has done stays done.
        """
        return Operation(functools.partial(self._rebuild, "Defragment"), progress)

    async def _rebuild(self, name: str, tell: Tell) -> None:
        if self._mode:
            await self._call("Wait")
        with self._lent:
            await self._calls.long(name, self._open_handle(name), path=self.path, progress=tell)

    async def _call(self, name: str, *args: int, keep: object = None, hold: Hold | None = None) -> None:
        await self._calls(name, self._open_handle(name), *args, path=self.path, keep=keep, hold=hold)

    def _open_handle(self, what: str) -> int:
        if not self._handle:
            state = "was attached to a child and can only be closed" if self._attached else "is closed"
            raise ClosedError(f"AsyncDisk.{what}: {self.path} {state}")
        if self._calls.worker.closed:
            raise self._calls.worker.refusal(f"AsyncDisk.{what}", self.path)
        return self._handle

    def abort(self, reason: str = "aborted by the program") -> None:
        """Give the disk up with its connection, and all other disks of that: see ``Connection.abort``."""
        self._calls.worker.abandon(reason)

    async def aclose(self) -> None:
        """Wait for what is in flight, close the disk and what was opened for it.

        Idempotent: a second caller waits for the first. Goes on past a failing step and raises its error at the end;
        runs to its end when cancelled, then goes on cancelling.
        """
        await self._closing_all.run(self._close_all)

    async def _close_all(self, _hold: Hold) -> None:
        self._owned.push(self.close_alone)
        await self._owned.aclose()

    async def close_alone(self) -> None:
        """As ``aclose``, but leave what was opened for the disk: its connection calls this when it is closed itself."""
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        await self._lent.over(hold)
        self._handle, handle = 0, self._to_close
        steps = Steps()
        steps.push(lambda: self._on_close(self))
        steps.push(lambda: self._calls.worker.forget_path(handle))
        steps.push(lambda: setattr(self, "_to_close", 0))
        steps.push(lambda: self._last_call("Close", handle, hold, keep=self))  # see Connection._given_up
        if self._mode and not self._attached:
            steps.push(lambda: self._last_call("Wait", handle, hold))
        await steps.aclose()

    async def _last_call(self, name: str, handle: int, hold: Hold, keep: object = None) -> None:
        if not self._calls.worker.closed:  # given up: no call can be made any more
            await self._calls(name, handle, path=self.path, keep=keep, hold=hold)
