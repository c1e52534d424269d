"""One disk's copy: what is read, how much at once, what happens when something fails."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.copy import CopyProgress, copy_disk
from asyncvddk.models import Block
from tests.copy.fakes import MemoryDisk, MemoryTarget

CHUNK = 4096


@st.composite
def disks(draw: st.DrawFn) -> tuple[bytes, list[Block]]:
    """Draw a disk's content and allocated blocks; some blocks hold zeros."""
    content = bytearray(draw(st.integers(1, 200)) * 512)
    edges = draw(st.lists(st.integers(0, len(content) // 512), unique=True, max_size=12).map(sorted))
    blocks = []
    for start, end in zip(edges[::2], edges[1::2], strict=False):
        blocks.append(Block(start * 512, (end - start) * 512))
        if draw(st.booleans()):
            content[start * 512 : end * 512] = random.Random(start).randbytes((end - start) * 512)
    return bytes(content), blocks


@given(disks(), st.integers(1, 5))
def test_copy_equals_the_disk_and_its_figures_add_up(disk: tuple[bytes, list[Block]], in_flight: int) -> None:
    """Whatever is allocated; and nothing is read twice or outside."""
    content, blocks = disk
    source, target = MemoryDisk(content, blocks), MemoryTarget(len(content))
    result = asyncio.run(copy_disk(source.as_disk, target, chunk_size=CHUNK, in_flight=in_flight))
    assert target.content == content
    assert result.bytes_read == sum(block.length for block in blocks)
    assert result.bytes_read + result.bytes_skipped == result.size == len(content)
    assert result.bytes_written <= result.bytes_read
    assert source.most_in_flight <= in_flight
    assert sum(read.length for read in source.reads) == result.bytes_read


async def test_all_lanes_are_used() -> None:
    """Reads are in flight together, not one after the other."""
    source = MemoryDisk(bytes(CHUNK * 16), [Block(0, CHUNK * 16)])
    source.gate = asyncio.Barrier(4)
    await copy_disk(source.as_disk, MemoryTarget(source.size), chunk_size=CHUNK, in_flight=4)
    assert source.most_in_flight == 4


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_target_that_needs_it_is_written_from_front_to_back(*, ordered: bool) -> None:
    """Although the pieces are read in any order; others take them as they come."""
    content = random.Random(2).randbytes(CHUNK * 16)
    places: list[int] = []

    class Disk(MemoryDisk):
        async def readinto_at(self, offset: int, buffer: memoryview) -> int:
            for _ in range(40 - 30 * (offset // CHUNK % 4 > 0)):  # every fourth takes longer than the others
                await asyncio.sleep(0)
            return await super().readinto_at(offset, buffer)

    class Target(MemoryTarget):
        async def write(self, offset: int, data: memoryview) -> int:
            places.append(offset)
            return await super().write(offset, data)

    target = Target(len(content))
    target.ordered = ordered  # type: ignore[attr-defined]
    await copy_disk(Disk(content, [Block(0, len(content))]).as_disk, target, chunk_size=CHUNK, in_flight=4)
    assert (places == sorted(places)) is ordered
    assert target.content == content


async def test_every_written_byte_is_counted_whatever_the_lanes_do() -> None:
    """Counters survive that several lanes wait between reading and adding."""
    content = random.Random(1).randbytes(CHUNK * 64)
    target = MemoryTarget(len(content))
    disk = MemoryDisk(content, [Block(0, len(content))])
    result = await copy_disk(disk.as_disk, target, chunk_size=CHUNK, in_flight=8)
    assert result.bytes_written == len(content)


async def test_progress_rises_to_the_disk_s_size() -> None:
    """Holes count as done, at the latest with the last chunk."""
    seen: list[int] = []
    source = MemoryDisk(bytes(CHUNK * 8), [Block(0, CHUNK), Block(CHUNK * 6, CHUNK)])

    def progress(now: CopyProgress) -> None:
        seen.append(now.bytes_done)

    await copy_disk(source.as_disk, MemoryTarget(source.size), progress=progress, chunk_size=CHUNK, in_flight=1)
    assert seen == sorted(seen)
    assert seen[0] == CHUNK


async def test_first_error_comes_as_itself_and_ends_all_lanes() -> None:
    """No group around it, and no read is left running."""
    source = MemoryDisk(bytes(CHUNK * 64), [Block(0, CHUNK * 64)], fail_at=CHUNK * 9)
    with pytest.raises(OSError, match="medium error"):
        await copy_disk(source.as_disk, MemoryTarget(source.size), chunk_size=CHUNK, in_flight=4)
    assert source.in_flight == 0
    assert len(source.reads) < 20


async def test_cancelled_copy_leaves_no_read_running() -> None:
    """It ends when the reads have."""
    source = MemoryDisk(bytes(CHUNK * 8), [Block(0, CHUNK * 8)])
    source.gate = asyncio.Barrier(5)
    copying = asyncio.create_task(copy_disk(source.as_disk, MemoryTarget(source.size), chunk_size=CHUNK))
    await source.four_in_flight.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert source.in_flight == 0


async def test_at_least_one_chunk_is_in_flight() -> None:
    """Zero would wait for ever."""
    with pytest.raises(ValueError, match="in_flight"):
        await copy_disk(MemoryDisk(b"", []).as_disk, MemoryTarget(0), in_flight=0)
