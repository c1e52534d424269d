"""Which chunks to read, which are zero, which are taken from the parent. Pure.

A chunk of which nothing is allocated reads as zeros: it is neither read nor inherited, whatever a list of changes says.
Of the others, those that a list of changes touches are read, and without such a list all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from asyncvddk.models import Block
    from asyncvddk.repository import Grid

Mask: TypeAlias = npt.NDArray[np.bool_]
"""A flag for each chunk of a disk."""


class ChunkMask:
    """Marks the chunks that blocks touch, even in a single byte; takes one byte of memory for each chunk."""

    def __init__(self, grid: Grid) -> None:
        """Begin with none."""
        self.mask: Mask = np.zeros(grid.count, np.bool_)
        self._grid = grid

    def add(self, block: Block) -> None:
        """Mark what ``block`` touches. Raises ValueError if it leaves the disk or has no bytes."""
        if block.offset < 0 or block.length <= 0 or block.end > self._grid.capacity:
            raise ValueError(f"{block} is empty or outside a disk of {self._grid.capacity} bytes")
        size = self._grid.chunk_size
        self.mask[block.offset // size : -(-block.end // size)] = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each chunk; exactly one of the three masks has it."""

    read: Mask
    zero: Mask
    """Known to be zero without reading."""
    inherit: Mask
    """As in the parent."""


def plan_whole(grid: Grid) -> Plan:
    """Read every chunk."""
    nothing = np.zeros(grid.count, np.bool_)
    return Plan(~nothing, nothing, nothing)


def plan_allocated(allocated: Mask) -> Plan:
    """Read what is allocated."""
    return Plan(allocated, ~allocated, np.zeros(len(allocated), np.bool_))


def plan_changed(allocated: Mask, changed: Mask) -> Plan:
    """Read what is allocated and changed; take what is allocated and did not change from the parent."""
    return Plan(allocated & changed, ~allocated, allocated & ~changed)


def changed_chunks(grid: Grid, ranges: Iterable[Block]) -> Mask:
    """Return the chunks that a list of changes touches. Raises ValueError for a range outside the disk."""
    chunks = ChunkMask(grid)
    for block in ranges:
        chunks.add(block)
    return chunks.mask


def runs(mask: Mask, *, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Iterate over the marked runs as (first chunk, chunks), ascending; none has more than ``most``.

    Long runs are cut at multiples of ``most``, so that pieces begin where they would in any other run.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False]))))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        first = start
        while first < end:
            stop = end if most is None else min(end, first - first % most + most)
            yield first, stop - first
            first = stop


def sample(mask: Mask, *, part: float, least: int, chance: random.Random) -> list[int]:
    """Return some of the marked chunks, ascending: ``part`` of them (0..1), but ``least`` if there are as many."""
    marked = np.flatnonzero(mask)
    count = min(len(marked), max(least, round(len(marked) * part)))
    return sorted(int(marked[place]) for place in chance.sample(range(len(marked)), count))


def bytes_of(grid: Grid, mask: Mask) -> int:
    """Return the bytes of the marked chunks; the last one of a disk may be shorter."""
    count = int(np.count_nonzero(mask))
    short = grid.count * grid.chunk_size - grid.capacity if count and mask[-1] else 0
    return count * grid.chunk_size - short
