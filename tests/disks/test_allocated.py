"""Allocated blocks: the limits of the C call kept, every answer freed, everything allocated where nobody can tell."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from array import array
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from asyncvddk import AsyncDisk, Block, ConnectionFailedError, DiskError, Vddk
from asyncvddk.disks._allocated import Allocated
from asyncvddk.errors import native_error
from asyncvddk.native import _structs
from tests.fix_disks import DISK_SIZE, MIB

if TYPE_CHECKING:
    from tests.fix_stub import Stub

GIB_SECTORS = 2 << 20
CHUNK = 128


class Library:
    """QueryAllocatedBlocks as VMware documents it, over sectors that are allocated; fails on what that refuses."""

    def __init__(self, capacity: int, extents: list[tuple[int, int]]) -> None:
        """Take the capacity in sectors and what is allocated, as (first sector, sector behind the last)."""
        self.capacity, self.extents = capacity, extents
        self.calls = 0
        self.fail: dict[int, int] = {}
        self._lists: dict[int, object] = {}

    async def __call__(self, name: str, *args: int, keep: object = None) -> None:
        """Answer one query; ``fail`` says with which code the n-th one fails."""
        first, count, chunk, result = args
        assert keep is not None
        self.calls += 1
        await asyncio.sleep(0)
        if code := self.fail.get(self.calls):
            raise native_error(name, code, "told to fail")
        assert CHUNK <= chunk <= 131072
        assert chunk & (chunk - 1) == 0, "no power of two"
        assert first % chunk == count % chunk == 0
        assert 0 < count <= 524288 * chunk
        assert 0 <= first <= first + count <= self.capacity
        self._answer(self.widened(first, first + count, chunk), result)

    def widened(self, first: int, end: int, chunk: int) -> list[tuple[int, int]]:
        """Return the chunks in ``[first, end)`` that have something allocated, as runs."""
        runs: list[tuple[int, int]] = []
        for low, high in sorted(self.extents):
            start, stop = max(low - low % chunk, first), min(-(-high // chunk) * chunk, end)
            if start >= stop:
                continue
            if runs and start <= runs[-1][1]:
                start, stop = runs[-1][0], max(stop, runs.pop()[1])
            runs.append((start, stop))
        return runs

    def _answer(self, runs: list[tuple[int, int]], result: int) -> None:
        assert self.all_freed(), "answers are piled up"
        flat = [number for start, stop in runs for number in (start, stop - start)]
        offset = _structs.BlockList.blocks.offset
        memory = ctypes.create_string_buffer(
            array("Q", [len(runs)]).tobytes().ljust(offset) + array("Q", flat).tobytes()
        )
        self._lists[ctypes.addressof(memory)] = memory
        ctypes.c_uint64.from_address(result).value = ctypes.addressof(memory)

    def free(self, name: str, address: int) -> None:
        """Free one answer; 0 is none."""
        assert name == "FreeBlockList"
        if address:
            del self._lists[address]

    def all_freed(self) -> bool:
        """Tell whether no answer is left."""
        return not self._lists

    async def blocks(self, start: int, end: int, chunk: int = CHUNK) -> list[Block]:
        """Ask as a disk does."""
        allocated = Allocated("fake.vmdk", self.free)
        return [block async for block in allocated.blocks(self, start, end, self.capacity * 512, chunk)]


def expected(library: Library, start: int, end: int, chunk: int) -> list[Block]:
    """Say what is allocated in bytes ``[start, end)``: whole chunks that have anything, and the tail."""
    whole = library.capacity - library.capacity % chunk
    extents = [*library.widened(0, whole, chunk), (whole, library.capacity)]
    merged: list[Block] = []
    for low, high in extents:
        first, last = max(low * 512, start), min(high * 512, end)
        if first >= last:
            continue
        if merged and merged[-1].end == first:
            first = merged.pop().offset
        merged.append(Block(first, last - first))
    return merged


@given(st.data())
def test_blocks_are_what_is_allocated_and_the_library_is_asked_as_it_allows(data: st.DataObject) -> None:
    """Any size, range, granularity: ascending, merged also over the borders of queries, cut to the range."""
    chunk = data.draw(st.sampled_from([128, 256, 4096, 131072]))
    capacity = data.draw(st.integers(1, 5 * chunk) | st.integers(1, 100 * GIB_SECTORS))
    border = min(chunk * 524288, capacity)  # of two queries from the start
    near = st.integers(0, capacity) | st.integers(max(0, border - 3 * chunk), border)
    extents = data.draw(st.lists(st.tuples(near, st.integers(1, 3 * chunk)), max_size=8))
    library = Library(capacity, [(low, min(low + length, capacity)) for low, length in extents])
    start, end = sorted(data.draw(st.tuples(*[near.map(lambda sector: sector * 512)] * 2)))
    start = min(start + data.draw(st.integers(0, 700)), end)
    assert asyncio.run(library.blocks(start, end, chunk)) == expected(library, start, end, chunk)
    assert library.calls <= (end - start) // (524288 * chunk * 512) + 2
    assert library.all_freed()


async def test_an_empty_range_asks_nothing() -> None:
    """Wherever it lies."""
    library = Library(1024, [(0, 1024)])
    assert [await library.blocks(at, at) for at in (0, 100, 512 * 1024)] == [[], [], []]
    assert library.calls == 0


async def test_a_loop_that_is_left_early_asks_no_more_and_leaves_nothing() -> None:
    """By break, with and without closing the iterator."""
    capacity = 100 * GIB_SECTORS
    library = Library(capacity, [(at, at + 1) for at in range(0, capacity, GIB_SECTORS)])
    allocated = Allocated("fake.vmdk", library.free)
    async for _ in allocated.blocks(library, 0, capacity * 512, capacity * 512, CHUNK):
        break
    async with aclosing(allocated.blocks(library, 0, capacity * 512, capacity * 512, CHUNK)) as blocks:
        async for _ in blocks:
            break
    gc.collect()
    await asyncio.sleep(0)
    assert library.calls == 2
    assert library.all_freed()


async def test_a_library_that_cannot_tell_has_everything_allocated_and_the_log_says_so_once() -> None:
    """Two loops at once, and one later, which does not ask again."""
    library = Library(100 * GIB_SECTORS, [])
    library.fail = {1: 6, 2: 6}
    allocated = Allocated("fake.vmdk", library.free)
    size = library.capacity * 512

    async def loop(start: int) -> list[Block]:
        return [block async for block in allocated.blocks(library, start, size, size, CHUNK)]

    with capture_logs() as logs:
        assert list(await asyncio.gather(loop(0), loop(5))) == [[Block(0, size)], [Block(5, size - 5)]]
        assert await loop(7) == [Block(7, size - 7)]
    assert [(entry["event"], entry["disk"]) for entry in logs] == [("allocated_blocks_unknown", "fake.vmdk")]
    assert library.calls == 2


async def test_a_library_that_stops_telling_in_the_middle_has_the_rest_allocated() -> None:
    """What it told before stands."""
    library = Library(100 * GIB_SECTORS, [(256, 384)])
    library.fail = {2: 6}
    with capture_logs():
        blocks = await library.blocks(0, library.capacity * 512)
    border = 32 << 30
    assert blocks == [Block(256 * 512, 65536), Block(border, library.capacity * 512 - border)]


@pytest.mark.parametrize(("code", "error"), [(14009, ConnectionFailedError), (7, DiskError)])
async def test_other_errors_are_no_answer(code: int, error: type[Exception]) -> None:
    """A lost connection must not pass for a full disk."""
    library = Library(1024, [])
    library.fail = {1: code}
    with pytest.raises(error):
        await library.blocks(0, 1024 * 512)


async def test_a_real_library_is_asked_once_when_it_cannot_tell(stub: Stub) -> None:
    """The same through an open disk."""
    stub.fail("QueryAllocatedBlocks", 6)
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
        with capture_logs() as logs:
            for _ in range(2):
                assert [block async for block in disk.allocated_blocks()] == [Block(0, disk.size)]
    assert [entry["event"] for entry in logs].count("allocated_blocks_unknown") == 1
    assert stub.calls("QueryAllocatedBlocks") == 1


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1), (0, DISK_SIZE + 1), (DISK_SIZE + 1, None), (2**64, 1)])
async def test_a_range_outside_the_disk_is_refused_at_once(disk: AsyncDisk, start: int, length: int | None) -> None:
    """By the call, before anybody iterates."""
    with pytest.raises(ValueError, match=f"{DISK_SIZE} bytes"):
        disk.allocated_blocks(start, length)


@pytest.mark.parametrize("chunk_size", [0, 65535, 3 * 65536, 128 * MIB])
async def test_a_granularity_that_a_library_may_refuse_is_refused_at_once(disk: AsyncDisk, chunk_size: int) -> None:
    """Powers of two: the engine answers others with an error, and nobody knows of VMware's."""
    with pytest.raises(ValueError, match=f"chunk_size={chunk_size}: a power of two"):
        disk.allocated_blocks(chunk_size=chunk_size)


@pytest.mark.parametrize("chunk_size", [65536 << shift for shift in range(11)])
async def test_every_granularity_that_is_offered_works(disk: AsyncDisk, chunk_size: int) -> None:
    """Odd ends included: the data is always inside."""
    await disk.write_at(3 * MIB + 5, b"data")
    blocks = [block async for block in disk.allocated_blocks(MIB + 1, 6 * MIB, chunk_size=chunk_size)]
    assert all(MIB + 1 <= block.offset < block.end <= 7 * MIB + 1 for block in blocks)
    assert any(block.offset <= 3 * MIB + 5 < 3 * MIB + 9 <= block.end for block in blocks)
