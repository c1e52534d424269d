"""Plans: every chunk has one fate, and it is the right one; against a model that thinks in bytes."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.backup._plan import (
    ChunkMask,
    bytes_of,
    changed_chunks,
    plan_allocated,
    plan_changed,
    plan_whole,
    runs,
    sample,
)
from asyncvddk.models import Block
from asyncvddk.repository import Grid

CHUNK = 16
GRIDS = st.integers(1, 400).map(lambda capacity: Grid(capacity, CHUNK))


@st.composite
def grids_with_blocks(draw: st.DrawFn) -> tuple[Grid, list[Block], list[Block]]:
    """Return a small disk, what is allocated of it, and what changed."""
    grid = draw(GRIDS)

    def blocks() -> list[Block]:
        cuts = st.tuples(st.integers(0, grid.capacity - 1), st.integers(1, 40))
        pairs = draw(st.lists(cuts, max_size=8))
        return [Block(start, min(length, grid.capacity - start)) for start, length in pairs]

    return grid, blocks(), blocks()


def touched(grid: Grid, blocks: list[Block]) -> set[int]:
    """Return the chunks of which blocks have a byte, byte by byte."""
    return {byte // grid.chunk_size for block in blocks for byte in range(block.offset, block.end)}


@given(grids_with_blocks())
def test_a_chunk_is_read_inherited_or_zero_as_its_bytes_say(case: tuple[Grid, list[Block], list[Block]]) -> None:
    """Allocated and changed: read. Allocated only: inherited. Not allocated: zero, whatever is said."""
    grid, allocated, changed = case
    plan = plan_changed(changed_chunks(grid, allocated), changed_chunks(grid, changed))
    data, news = touched(grid, allocated), touched(grid, changed)
    assert set(np.flatnonzero(plan.read).tolist()) == data & news
    assert set(np.flatnonzero(plan.inherit).tolist()) == data - news
    assert set(np.flatnonzero(plan.zero).tolist()) == set(range(grid.count)) - data


@given(grids_with_blocks())
def test_without_changes_all_that_is_allocated_is_read(case: tuple[Grid, list[Block], list[Block]]) -> None:
    """Nothing is inherited; what is not allocated is zero without being read."""
    grid, allocated, _ = case
    plan = plan_allocated(changed_chunks(grid, allocated))
    assert set(np.flatnonzero(plan.read).tolist()) == touched(grid, allocated)
    assert (plan.read ^ plan.zero).all()
    assert not plan.inherit.any()
    assert plan_whole(grid).read.all()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 7))
def test_runs_cover_what_is_marked_and_nothing_else(flags: list[bool], most: int) -> None:
    """Pieces ascend, have at most so many chunks, and do not lie across a multiple of that."""
    mask = np.array(flags)
    for limit in (None, most):
        pieces = list(runs(mask, most=limit))
        covered = [number for first, count in pieces for number in range(first, first + count)]
        assert covered == np.flatnonzero(mask).tolist()
        if limit:
            assert all(first // limit == (first + count - 1) // limit for first, count in pieces)
    whole = list(runs(mask))
    assert all(first + count < after for (first, count), (after, _) in pairwise(whole))


@given(grids_with_blocks())
def test_bytes_of_marked_chunks_count_a_short_last_one_right(case: tuple[Grid, list[Block], list[Block]]) -> None:
    """The sum of the chunks' lengths."""
    grid, allocated, _ = case
    mask = changed_chunks(grid, allocated)
    assert bytes_of(grid, mask) == sum(grid.length(int(number)) for number in np.flatnonzero(mask))


def test_a_sample_is_a_part_but_not_less_than_asked_for() -> None:
    """One in a thousand, ten at least, all if there are fewer."""
    chance = random.Random(1)
    many, few = np.ones(50_000, np.bool_), np.array([True, False, True])
    assert len(sample(many, part=0.001, least=10, chance=chance)) == 50
    assert len(sample(many[:100], part=0.001, least=10, chance=chance)) == 10
    assert sample(few, part=0.001, least=10, chance=chance) == [0, 2]


@pytest.mark.parametrize("block", [Block(-1, 5), Block(0, 0), Block(90, 11)])
def test_a_range_outside_the_disk_is_refused(block: Block) -> None:
    """A list of changes of another disk must not pass for this one's."""
    with pytest.raises(ValueError, match="outside a disk of 100 bytes"):
        ChunkMask(Grid(100, CHUNK)).add(block)
