"""Reads cover what is allocated, once, in pieces that fit a buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.copy._plan import GRANULE, ReadPlan
from asyncvddk.models import Block


@st.composite
def disks(draw: st.DrawFn) -> tuple[int, list[Block]]:
    """Draw a disk's size and its allocated blocks: ascending, apart, inside."""
    edges = draw(st.lists(st.integers(0, 1 << 20), unique=True, max_size=20).map(sorted))
    blocks = [Block(start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=len(edges) % 2 == 0)]
    return max([1, *edges]) + draw(st.integers(0, 1 << 16)), blocks


@given(disks(), st.integers(1, 32).map(lambda count: count * GRANULE))
def test_reads_cover_exactly_the_blocks_in_order(disk: tuple[int, list[Block]], chunk_size: int) -> None:
    """Joined, the reads of a block are the block; none crosses a multiple of the chunk size."""
    size, blocks = disk
    plan = ReadPlan(size, chunk_size=chunk_size)
    for block in blocks:
        offset = block.offset
        for read in plan.feed(block):
            assert read.offset == offset
            assert read.length > 0
            assert read.offset // chunk_size == (read.end - 1) // chunk_size
            offset = read.end
        assert offset == block.end


@given(disks())
def test_every_byte_is_either_planned_or_skipped(disk: tuple[int, list[Block]]) -> None:
    """At the end, the blocks and what was skipped add up to the disk."""
    size, blocks = disk
    plan = ReadPlan(size, chunk_size=GRANULE)
    for block in blocks:
        plan.feed(block)
    plan.finish()
    assert plan.skipped + sum(block.length for block in blocks) == size
    assert plan.position == size


@pytest.mark.parametrize("block", [Block(0, 8192), Block(4096, 0), Block(8192, 8193)])
def test_block_out_of_order_or_outside_is_refused(block: Block) -> None:
    """A library that tells nonsense makes an error, not a copy with wrong figures."""
    plan = ReadPlan(16384, chunk_size=GRANULE)
    plan.feed(Block(0, 4096))
    with pytest.raises(ValueError, match="out of order or outside"):
        plan.feed(block)


@pytest.mark.parametrize("chunk_size", [0, -GRANULE, 512, GRANULE + 1])
def test_chunk_size_is_a_positive_multiple_of_the_granule(chunk_size: int) -> None:
    """Anything else is refused before a buffer is made."""
    with pytest.raises(ValueError, match="chunk_size"):
        ReadPlan(1 << 20, chunk_size=chunk_size)
