"""Byte ranges <-> sectors: checks and plans. Pure functions; the only place outside ``native`` that counts sectors."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncvddk.models import SECTOR_SIZE, Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIN_CHUNK_SECTORS: Final = 128
"""Smallest chunk of QueryAllocatedBlocks (VIXDISKLIB_MIN_CHUNK_SIZE)."""

MAX_CHUNK_SECTORS: Final = 131072
"""Largest one (VIXDISKLIB_MAX_CHUNK_SIZE)."""

MAX_CHUNKS: Final = 524288
"""Most chunks in one query (VIXDISKLIB_MAX_CHUNK_NUMBER)."""


def check_range(offset: int, length: int, size: int) -> None:
    """Refuse a range that leaves ``[0, size)``; an empty range may lie at the end."""
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError(
            f"range offset={offset}, length={length}: it must lie within the disk's {size} bytes (0..{size})"
        )


def cover(offset: int, length: int) -> tuple[int, int]:
    """Return (first sector, number of sectors) of the sectors that a byte range touches."""
    first = offset // SECTOR_SIZE
    return first, (offset + length + SECTOR_SIZE - 1) // SECTOR_SIZE - first


class Piece(NamedTuple):
    """A part of a write: whole sectors that go out as they are, or one sector of which the data covers a part."""

    first_sector: int
    num_sectors: int
    skip: int
    """Bytes of the first sector that stay as they are."""
    start: int
    """First byte of the caller's data that belongs here."""
    end: int

    @property
    def partial(self) -> bool:
        """True when the sector must be read, changed and written back."""
        return self.end - self.start != self.num_sectors * SECTOR_SIZE


def plan_write(offset: int, length: int) -> list[Piece]:
    """Split a write of ``length`` > 0 bytes at ``offset`` into a partial head, whole sectors and a partial tail."""
    end = offset + length
    body_start = min(-(-offset // SECTOR_SIZE) * SECTOR_SIZE, end)
    if body_start == end and end % SECTOR_SIZE:  # inside one sector
        cuts = [offset, end]
    else:
        body_end = max(end // SECTOR_SIZE * SECTOR_SIZE, body_start)
        cuts = [offset, body_start, body_end, end]
    return [_piece(start, stop, offset) for start, stop in pairwise(cuts) if start < stop]


def _piece(start: int, stop: int, offset: int) -> Piece:
    first, count = cover(start, stop - start)
    return Piece(first, count, start - first * SECTOR_SIZE, start - offset, stop - offset)


class Window(NamedTuple):
    """One query of allocated blocks, in sectors."""

    first_sector: int
    num_sectors: int


def plan_queries(first: int, end: int, capacity: int, chunk: int) -> tuple[list[Window], Block | None]:
    """Return the queries for sectors ``[first, end)`` and the tail that no query can reach, in bytes.

    All arguments are sectors; ``first`` and ``end`` are widened to whole chunks, and the last chunk of a capacity that
    is no multiple of ``chunk`` cannot be asked (the library answers VIX_E_INVALID_ARG): it counts as allocated.
    """
    first -= first % chunk
    whole_end = capacity - capacity % chunk
    query_end = min(-(-end // chunk) * chunk, whole_end)
    step = chunk * MAX_CHUNKS
    windows = [Window(at, min(step, query_end - at)) for at in range(first, query_end, step)]
    tail_start = max(whole_end, first)
    tail = Block(tail_start * SECTOR_SIZE, (end - tail_start) * SECTOR_SIZE) if end > tail_start else None
    return windows, tail


def whole_sectors(size: int) -> int:
    """Return the sectors of a disk of ``size`` bytes. Raises ValueError unless they are whole and at least one."""
    if not 0 < size < 1 << 63 or size % SECTOR_SIZE:
        raise ValueError(f"size={size}: a disk has a positive multiple of {SECTOR_SIZE} bytes, below 2**63")
    return size // SECTOR_SIZE


def check_chunk(chunk_size: int) -> int:
    """Return a chunk size in sectors. Raises ValueError for one that a library may refuse: no power of two, too."""
    smallest, largest = MIN_CHUNK_SECTORS * SECTOR_SIZE, MAX_CHUNK_SECTORS * SECTOR_SIZE
    if not smallest <= chunk_size <= largest or chunk_size & (chunk_size - 1):
        raise ValueError(f"chunk_size={chunk_size}: a power of two in {smallest}..{largest} bytes is needed")
    return chunk_size // SECTOR_SIZE


class Merger:
    """Blocks of several queries, cut to the range asked for, those that touch each other made one."""

    def __init__(self, start: int, end: int) -> None:
        """Keep what lies in ``[start, end)``."""
        self._start, self._end = start, end
        self._offset, self._stop = 0, 0

    def add(self, pairs: Iterable[tuple[int, int]]) -> Iterator[Block]:
        """Take ascending (offset, length) pairs in bytes; give the blocks that are complete."""
        for offset, length in pairs:
            low, high = max(offset, self._start), min(offset + length, self._end)
            if low >= high:
                continue
            if low == self._stop and self._stop > self._offset:
                self._stop = high
                continue
            yield from self._complete()
            self._offset, self._stop = low, high

    def finish(self, tail: Block | None) -> Iterator[Block]:
        """Take the part of the disk that no query could reach; give the rest."""
        if tail is not None:
            yield from self.add([(tail.offset, tail.length)])
        yield from self._complete()

    def _complete(self) -> Iterator[Block]:
        if self._stop > self._offset:
            yield Block(self._offset, self._stop - self._offset)
