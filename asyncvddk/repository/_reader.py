"""A disk of a snapshot, read as if it were a disk."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import numpy as np

from asyncvddk.errors import ClosedError
from asyncvddk.models import Block
from asyncvddk.repository import _threads
from asyncvddk.repository.errors import DamagedError, ObjectMissingError
from asyncvddk.repository.format._ids import ID_SIZE
from asyncvddk.repository.format._index import merged, stored_pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from typing_extensions import Buffer

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.format._index import Grid, Root
    from asyncvddk.repository.format._manifests import DiskEntry
    from asyncvddk.repository.store._vault import Vault

T = TypeVar("T")

CACHE_SIZE: Final = 64 << 20
"""Bytes of chunks that an open disk keeps."""
_AHEAD: Final = 4
_LARGE: Final = 2
"""Chunks from which on a read gains nothing from the cache."""
_PAGES: Final = 64
"""Pages of the index that an open disk keeps: 32 KiB each."""


class SnapshotDisk:
    """A disk of a snapshot: read-only, with the reading half of ``AsyncDisk``'s interface.

    Made by ``Repository.open_disk``; used as ``async with``, or closed by ``aclose``. Reads may run at once. What is
    read is checked: every byte belongs to a chunk whose content has the id that the snapshot names. Memory: the chunk
    cache (``cache_size``) and the chunks of the reads under way.
    """

    def __init__(self, vault: Vault, entry: DiskEntry, root: Root, cache_size: int) -> None:
        """Open; the index is read when it is needed."""
        self._vault = vault
        self._entry = entry
        self._root = root
        self._most = max(1, cache_size // root.grid.chunk_size)
        self._cache: OrderedDict[int, Buffer] = OrderedDict()
        self._running: dict[int, asyncio.Task[Buffer]] = {}
        self._under_way: set[asyncio.Task[Any]] = set()
        self._pages: OrderedDict[int, Rows] = OrderedDict()
        self._next = -1
        self._closed = False

    @property
    def size(self) -> int:
        """Capacity in bytes."""
        return self._root.grid.capacity

    @property
    def entry(self) -> DiskEntry:
        """What the snapshot says of the disk."""
        return self._entry

    @property
    def grid(self) -> Grid:
        """How the disk is cut into chunks."""
        return self._root.grid

    @property
    def closed(self) -> bool:
        """True once ``aclose`` has begun."""
        return self._closed

    @property
    def local(self) -> bool:
        """True if the repository is a folder: then several reads at once gain nothing but processors."""
        return self._vault.store.local

    @property
    def threads(self) -> int:
        """Threads of the repository, which all its disks share."""
        return self._vault.threads

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, from one of the repository's threads, where ``fill`` and ``chunk`` may be used.

        ``aclose`` waits for it. Cancelled: once it has begun, its end is waited for.
        """
        [result] = await _threads.all_of([self._begun(call)])
        return result

    def _begun(self, call: Callable[[], T]) -> asyncio.Task[T]:
        """Return a task that has a thread make a call; ``aclose`` waits for it."""
        task = asyncio.create_task(_threads.run_in(self._vault.pool, call))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def chunk(self, number: int) -> Buffer:
        """Return chunk ``number``, checked. Blocks, for threads; keeps nothing.

        Raises ValueError (no such chunk), ClosedError, DamagedError, ObjectMissingError, StoreError.
        """
        self._check_open("chunk")
        self.grid.check(number)
        data = bytearray(self.grid.length(number))
        with memoryview(data) as view:
            self._fill_chunk(number, view)
        return data

    def fill(self, offset: int, view: memoryview) -> None:
        """Fill all of ``view``, which is writable bytes, from byte ``offset`` on. Blocks, for threads; keeps nothing.

        Whole chunks are decompressed to where they belong. Raises as ``read_at``; then the content is undefined.
        """
        self._check_range("fill", offset, len(view))
        size = self.grid.chunk_size
        for number in range(offset // size, -(-(offset + len(view)) // size)):
            start, length = number * size - offset, self.grid.length(number)
            with view[max(0, start) : start + length] as part:  # what an error keeps alive holds no buffer any more
                if len(part) == length:
                    self._fill_chunk(number, part)
                else:
                    part[:] = memoryview(self.chunk(number))[max(0, -start) : max(0, -start) + len(part)]

    def _fill_chunk(self, number: int, target: memoryview) -> None:
        """Write a chunk to ``target``, which has its length."""
        try:
            self._vault.get_chunk(self._id(number), target)
        except (DamagedError, ObjectMissingError) as error:
            offset = number * self.grid.chunk_size
            error.add_note(f"it holds {len(target)} bytes from {offset} on of disk {self._entry.key!r}")
            raise

    def ids(self) -> Rows:
        """Return the ids of all chunks, 32 bytes each as four words a row; zero for a chunk of zeros. Blocks."""
        self._check_open("ids")
        return self._vault.get_ids(self._root)

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from byte ``offset``; any alignment.

        Raises ValueError (the range leaves ``[0, size]``), ClosedError, DamagedError, ObjectMissingError, StoreError.
        """
        self._check_range("read_at", offset, length)
        return b"".join(await self._pieces(offset, length))

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Fill all of ``buffer``, which is writable and contiguous, from byte ``offset`` on; return its length.

        Reads of several chunks go around the cache. Cancelled, threads that fill the buffer are waited for; then, as
        after an error, its content is undefined. Raises as ``read_at``.
        """
        with memoryview(buffer).cast("B") as view:
            if view.readonly:
                raise BufferError("the buffer is read-only")
            self._check_range("readinto_at", offset, len(view))
            if len(view) >= _LARGE * self.grid.chunk_size:
                await self._fill(offset, view)
                return len(view)
            place = 0
            for piece in await self._pieces(offset, len(view)):
                view[place : place + len(piece)] = piece
                place += len(piece)
            return place

    async def _fill(self, offset: int, view: memoryview) -> None:
        """Fill a buffer of several chunks by threads, each some of them."""
        size = self.grid.chunk_size
        first, end = offset // size, -(-(offset + len(view)) // size)
        step = -(-(end - first) // self._vault.threads)
        cuts = [max(0, start * size - offset) for start in range(first, end, step)]

        def fill(start: int, stop: int) -> None:
            with view[start:stop] as part:
                self.fill(offset + start, part)

        await _threads.all_of([self._begun(partial(fill, *cut)) for cut in pairwise([*cuts, len(view)])])

    async def _pieces(self, offset: int, length: int) -> list[memoryview]:
        """Return the parts of chunks that make up a range; fetch those that follow when reads are in sequence."""
        if not length:
            return []
        size = self.grid.chunk_size
        first, last = offset // size, (offset + length - 1) // size
        wanted = [self._fetch(number) for number in range(first, last + 1)]
        if offset == self._next:
            self._prefetch(last + 1)
        self._next = offset + length
        chunks = await asyncio.gather(*wanted)
        return [
            memoryview(chunk)[max(0, offset - number * size) : offset + length - number * size]
            for number, chunk in enumerate(chunks, first)
        ]

    def _fetch(self, number: int) -> asyncio.Future[Buffer]:
        """Return a chunk from the cache, from a read under way, or from the store."""
        if (found := self._cache.get(number)) is None:
            return asyncio.shield(self._start(number))  # others may wait for it, too
        self._cache.move_to_end(number)
        ready: asyncio.Future[Buffer] = asyncio.get_running_loop().create_future()
        ready.set_result(found)
        return ready

    def _prefetch(self, first: int) -> None:
        """Fetch some chunks that nobody asked for yet."""
        for number in range(first, min(first + min(_AHEAD, self._most // 2), self.grid.count)):
            if number not in self._cache:
                self._start(number)

    def _start(self, number: int) -> asyncio.Task[Buffer]:
        task = self._running.get(number)
        if task is None:
            task = self._running[number] = self._begun(partial(self.chunk, number))
            task.add_done_callback(partial(self._ended, number))
        return task

    def _ended(self, number: int, task: asyncio.Task[Buffer]) -> None:
        """Keep what was fetched; an error is for those who wait, and the next one tries again."""
        self._running.pop(number, None)
        if task.cancelled() or task.exception() is not None or self._closed:
            return
        self._cache[number] = task.result()
        while len(self._cache) > self._most:
            self._cache.popitem(last=False)

    def allocated_blocks(
        self, start: int = 0, length: int | None = None, *, chunk_size: int | None = None
    ) -> AsyncIterator[Block]:
        """Iterate over what is not known to be zero in ``length`` bytes (default: to the end) from byte ``start``.

        Blocks ascend, do not touch each other and lie within the range; they are no finer than the repository's
        chunks, whatever ``chunk_size`` is, which is there for ``AsyncDisk``'s sake. Raises as ``read_at``.
        """
        del chunk_size
        self._check_open("allocated_blocks")
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise ValueError(f"start={start}, length={length}: outside a disk of {self.size} bytes")
        return self._allocated(start, start + length)

    async def _allocated(self, start: int, end: int) -> AsyncIterator[Block]:
        blocks = (
            self._blocks(start // self.grid.chunk_size, -(-end // self.grid.chunk_size)) if start < end else iter(())
        )
        while (block := await self.in_thread(partial(next, blocks, None))) is not None:
            first = max(block.offset, start)
            yield Block(first, min(block.end, end) - first)

    def _blocks(self, first: int, end: int) -> Iterator[Block]:
        """Iterate over the blocks of chunks that are not zero. Blocks."""

        def numbers() -> Iterator[int]:
            for page in stored_pages(self._root):
                start, stop = self.grid.page_span(page)
                if stop > first and start < end:
                    places = np.flatnonzero(self._page(page).any(axis=1))
                    yield from (start + int(place) for place in places if first <= start + place < end)

        return merged(self.grid, numbers())

    def _id(self, number: int) -> bytes:
        page, entry = divmod(number, self.grid.page_entries)
        if self._root.page(page) == bytes(ID_SIZE):
            return bytes(ID_SIZE)
        identifier: bytes = self._page(page)[entry].tobytes()
        return identifier

    def _page(self, number: int) -> Rows:
        found = self._pages.get(number)
        if found is None:
            found = self._pages[number] = self._vault.get_page(self._root, number)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return found

    async def aclose(self) -> None:
        """Close: wait for reads under way, drop the cache. A second time does nothing."""
        self._closed = True
        while self._under_way:
            await asyncio.wait(list(self._under_way))
        self._cache.clear()

    async def __aenter__(self) -> Self:
        """Return the disk itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    def _check_range(self, call: str, offset: int, length: int) -> None:
        self._check_open(call)
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"offset={offset}, length={length}: outside a disk of {self.size} bytes")

    def _check_open(self, call: str) -> None:
        if self._closed:
            raise ClosedError(f"SnapshotDisk.{call}(): disk {self._entry.key} is closed")
