"""RetryingDisk: an open disk that tries again what failed, over a new connection if need be."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from asyncvddk._events import Events
from asyncvddk.disks import _sectors
from asyncvddk.disks._closing import CloseOnce, undo
from asyncvddk.disks._metadata import ReadableMetadata, check_key
from asyncvddk.disks._ranges import RangeLocks
from asyncvddk.disks._retry import Tries
from asyncvddk.disks._stream import CHUNK_SIZE, DiskStream
from asyncvddk.errors import (
    AbortedError,
    CallTimeoutError,
    ClosedError,
    DiskChangedError,
    MetadataKeyError,
    NativeError,
    NotSupportedError,
    VddkError,
)
from asyncvddk.native import _memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from typing_extensions import Buffer

    from asyncvddk.disks._closing import Steps
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._retry import RetryPolicy
    from asyncvddk.models import Block, DiskInfo
    from asyncvddk.threads._worker import Hold

T = TypeVar("T")

_CONTENT: Final = "longContentID"
"""Entry of the disk database that changes when the content does."""

_logger: Final = Events("asyncvddk")


class RetryingDisk:
    """An open virtual disk whose calls are tried again. Made by ``Vddk.open_disk`` with ``retry``.

    It is read as an ``AsyncDisk`` is; the policy says what is tried again and when. With ``RetryPolicy.reconnect`` a
    lost connection, or one given up because a call ran longer than ``call_timeout_s``, is made again, once for all
    reads under way; the disk found then must have the size and identity of the first one and, if opened for reading
    only, its content, else DiskChangedError is raised. Writes that were not flushed may be lost with a connection, so
    then nothing is connected again: the error is raised.

    Cancellation: as of ``AsyncDisk``; while waiting for a further try, at once. What is under way for other
    tasks goes on.
    """

    def __init__(  # noqa: PLR0913  (each is a choice of its own)
        self,
        reopen: Callable[[], Awaitable[AsyncDisk]],
        disk: AsyncDisk,
        policy: RetryPolicy,
        owned: Steps,
        *,
        read_only: bool,
        timed: bool,
    ) -> None:
        """Belongs to ``Vddk.open_disk``; ``reopen`` connects and opens again, ``timed``: calls have a time limit.

        ``owned`` is closed after the disk.
        """
        self.path = disk.path
        """Name it was opened by."""
        self._reopen = reopen
        self._disk = disk
        self._policy = policy
        self._read_only = read_only
        self._timed = timed
        self._size = disk.size
        self._identity: tuple[object, ...] = ()
        self._lost = False
        self._task: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[Exception | None] | None = None
        self._aborted = ""
        self._writes = RangeLocks()
        self._written = self._flushed = 0
        self._owned = owned
        self._closing = CloseOnce()

    async def load(self) -> None:
        """Learn how to know the disk again: the last step of opening."""
        if self._policy.reconnect:
            self._identity = await self._identity_of(self._disk)

    @property
    def size(self) -> int:
        """Capacity in bytes, a multiple of 512."""
        return self._size

    @property
    def transport_mode(self) -> str:
        """How the data comes now: ``file``, ``nbd``, ``nbdssl``, ``san`` or ``hotadd``."""
        return self._disk.transport_mode

    @property
    def closed(self) -> bool:
        """True once ``aclose`` has begun."""
        return self._closing.begun

    @property
    def metadata(self) -> ReadableMetadata:
        """The disk database for reading: ``await disk.metadata["uuid"]``, ...; each call is tried again by itself."""
        return _RetryingMetadata(self._tried)

    async def info(self) -> DiskInfo:
        """As ``AsyncDisk.info``."""
        return await self._tried("info", lambda disk: disk.info())

    async def read_at(self, offset: int, length: int) -> bytes:
        """As ``AsyncDisk.read_at``. The last error is raised, those of earlier tries are its notes."""
        return await self._tried("read_at", lambda disk: disk.read_at(offset, length))

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """As ``AsyncDisk.readinto_at``; with a ``call_timeout_s`` always through a copy.

        A call that is given up may still write to its memory, which must not be the caller's then: he uses it on.
        """
        if not self._timed:
            return await self._tried("readinto_at", lambda disk: disk.readinto_at(offset, buffer))
        pinned = _memory.Pinned(buffer, writable=True)
        _memory.copy_to(pinned.address, await self.read_at(offset, pinned.length))
        return pinned.length

    async def write_at(self, offset: int, data: Buffer) -> int:
        """As ``AsyncDisk.write_at``; tried again if ``RetryPolicy.writes`` is set, before later writes to the place."""
        length = _memory.Pinned(data).length
        _sectors.check_range(offset, length, self._size)
        if not length:
            return 0
        first, count = _sectors.cover(offset, length)
        held = await self._writes.acquire(first, first + count)
        try:
            written = await self._tried("write_at", lambda disk: disk.write_at(offset, data), writes=True)
        finally:
            self._writes.release(held)
        self._written += 1
        return written

    async def flush(self) -> None:
        """As ``AsyncDisk.flush``; tried again if ``RetryPolicy.writes`` is set."""
        written = self._written
        await self._tried("flush", lambda disk: disk.flush(), writes=True)
        self._flushed = max(self._flushed, written)

    def stream(self, position: int = 0, *, chunk_size: int = CHUNK_SIZE) -> DiskStream:
        """As ``AsyncDisk.stream``: its reads and writes are those of this object."""
        self._check_open("stream")
        return DiskStream(self, position, chunk_size)

    def allocated_blocks(
        self, start: int = 0, length: int | None = None, *, chunk_size: int = 65536
    ) -> AsyncGenerator[Block, None]:
        """As ``AsyncDisk.allocated_blocks``; goes on behind the last block that was given."""
        length = self._size - start if length is None else length
        _sectors.check_range(start, length, self._size)
        _sectors.check_chunk(chunk_size)
        self._check_open("allocated_blocks")
        return self._blocks(start, start + length, chunk_size)

    async def _blocks(self, start: int, end: int, chunk_size: int) -> AsyncGenerator[Block, None]:
        tries = Tries(self._policy, "allocated_blocks", self.path)
        while start < end:
            disk = None
            try:
                disk = await self._current("allocated_blocks")
                async for block in disk.allocated_blocks(start, end - start, chunk_size=chunk_size):
                    yield block
                    start = block.end
                    tries = Tries(self._policy, "allocated_blocks", self.path)
                start = end
            except (NativeError, ClosedError, DiskChangedError) as error:
                await self._judge(error, disk, tries)

    async def _tried(self, what: str, call: Callable[[AsyncDisk], Awaitable[T]], *, writes: bool = False) -> T:
        tries = Tries(self._policy, what, self.path)
        while True:
            disk = None
            try:
                disk = await self._current(what)
                return await call(disk)
            except (NativeError, ClosedError, DiskChangedError) as error:
                if writes and (not self._policy.writes or isinstance(error, CallTimeoutError)):
                    tries.give_up(error)
                await self._judge(error, disk, tries)

    async def _judge(self, error: Exception, disk: AsyncDisk | None, tries: Tries) -> None:
        """Return when it is time for another try. Raises ``error`` when there shall be none."""
        if disk is not None and self._was_replaced(disk, error):
            return
        if self._closing.begun or not (self._note_loss(error, disk) or self._policy.heals(error)):
            tries.give_up(error)
        await tries.again(error)

    def _was_replaced(self, disk: AsyncDisk, error: Exception) -> bool:
        """Tell whether ``disk`` was closed under a call because of another one's failure."""
        closed = isinstance(error, ClosedError) and not isinstance(error, AbortedError)
        return closed and not self._closing.begun and (self._lost or disk is not self._disk)

    def _note_loss(self, error: Exception, disk: AsyncDisk | None) -> bool:
        """Tell whether a new connection shall be made, if it has not been already."""
        if not self._policy.reconnects(error) or self._aborted:
            return False
        if self._written > self._flushed:
            error.add_note("writes since the last flush may be lost with the connection: it is not made again")
            return False
        self._lost = self._lost or disk is self._disk
        return True

    async def _current(self, what: str) -> AsyncDisk:
        """Return the disk; make the connection again if it is lost, or wait for the one who does."""
        self._check_open(what)
        if not self._lost:
            return self._disk
        if self._outcome is None:
            self._outcome = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._reconnect(self._outcome))
        error = await asyncio.shield(self._outcome)
        if error is not None:
            raise _of_ones_own(error)
        self._check_open(what)
        return self._disk

    async def _reconnect(self, outcome: asyncio.Future[Exception | None]) -> None:
        """Close what is lost and open it again. It is a task of its own: who waits for it may be cancelled."""
        error: Exception | None = None
        _logger.warning("reconnecting", disk=self.path)
        try:
            try:
                await self._disk.aclose()
            except VddkError as exc:
                _logger.debug("lost_disk_not_closed", disk=self.path, reason=str(exc))
            self._disk = await self._same_disk_again()
            self._lost = False
        except Exception as exc:  # noqa: BLE001  (raised by everybody who waits)
            error = exc
        finally:
            self._outcome = None
            if not outcome.done():
                outcome.set_result(error)

    async def _same_disk_again(self) -> AsyncDisk:
        disk = await self._reopen()
        try:
            self._compare(await self._identity_of(disk))
        except BaseException as exc:
            await undo(disk.aclose, exc)
            raise
        return disk

    def _compare(self, identity: tuple[object, ...]) -> None:
        if identity != self._identity:
            raise DiskChangedError(
                f"{self.path}: connected again, another disk was found: size, uuid and content were "
                f"{self._identity}, and are {identity}"
            )

    async def _identity_of(self, disk: AsyncDisk) -> tuple[object, ...]:
        """Return size, uuid and content identifier; ``None`` for what library or disk do not tell."""
        content = None
        if self._read_only:
            try:
                content = await disk.metadata[_CONTENT]
            except (MetadataKeyError, NotSupportedError):
                content = None
        return disk.size, (await disk.info()).uuid, content

    def _check_open(self, what: str) -> None:
        if self._aborted:
            raise self._abortion(what)
        if self._closing.begun:
            raise ClosedError(f"RetryingDisk.{what}: {self.path} is closed")

    def _abortion(self, what: str | None) -> AbortedError:
        call = f"RetryingDisk.{what}" if what else "connecting again"
        return AbortedError(
            f"{call} of {self.path!r}: {self._aborted}", call=call, path=self.path, reason=self._aborted
        )

    def abort(self, reason: str = "aborted by the program") -> None:
        """Give the disk up with its connection, as ``Connection.abort``; nothing is tried any more.

        A new connection that is just being made is given up by ``Vddk.abort``, or by ``call_timeout_s``.
        """
        if self._aborted or self._closing.begun:
            return
        self._aborted = reason
        self._disk.abort(reason)
        if self._task is not None:
            self._task.cancel()  # what it is just making is undone
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(self._abortion(None))

    async def aclose(self) -> None:
        """As ``AsyncDisk.aclose``; a new connection that is just being made is closed again."""
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        if self._task is not None:
            self._task.cancel()
        while self._task is not None and not self._task.done() and not self._aborted:
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as exc:
                hold.append(exc)
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)  # the task was cancelled before it began
        self._owned.push(self._disk.aclose)
        await self._owned.aclose()


class _Tried(Protocol):
    """Makes a call, again if need be."""

    def __call__(self, what: str, call: Callable[[AsyncDisk], Awaitable[T]], /) -> Awaitable[T]: ...


class _RetryingMetadata(ReadableMetadata):
    """The disk database of whichever disk is open."""

    def __init__(self, tried: _Tried) -> None:
        self._tried = tried

    async def _keys(self) -> list[str]:
        return await self._tried("metadata", lambda disk: disk.metadata.keys())

    async def _read(self, key: str) -> str:
        check_key(key)  # before anything is connected again
        return await self._tried("metadata", lambda disk: disk.metadata[key])


def _of_ones_own(error: Exception) -> Exception:
    """Return a copy of an error that several tasks raise: each adds its own notes."""
    mine = copy.copy(error)
    if notes := getattr(error, "__notes__", None):
        mine.__notes__ = list(notes)
    mine.__cause__ = error
    return mine
