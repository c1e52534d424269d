"""The two-level index of a disk: ids of chunks in pages, ids of pages in a root. Pure.

The id of a root is a digest of the whole disk: equal roots mean equal disks, and two disks are compared by the pages
that differ. A chunk, or a page, that is all zero has the id of zeros and is stored nowhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncvddk.models import Block
from asyncvddk.repository.format._ids import ID_SIZE, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from asyncvddk.repository.format._ids import Rows

ZERO_ID: Final = bytes(ID_SIZE)
PAGE_ENTRIES: Final = 1024

_ROOT: Final = struct.Struct("<4sIQII")
_MAGIC: Final = b"root"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Grid:
    """How a disk is cut: ``count`` chunks of ``chunk_size`` bytes, the last one maybe shorter."""

    capacity: int
    """Bytes."""
    chunk_size: int
    page_entries: int = PAGE_ENTRIES

    @property
    def count(self) -> int:
        """Chunks of the disk."""
        return -(-self.capacity // self.chunk_size)

    @property
    def pages(self) -> int:
        """Pages of the disk."""
        return -(-self.count // self.page_entries)

    def length(self, number: int) -> int:
        """Return the bytes of a chunk."""
        return min(self.chunk_size, self.capacity - number * self.chunk_size)

    def page_span(self, page: int) -> tuple[int, int]:
        """Return the first chunk of a page, and the one behind its last."""
        return page * self.page_entries, min((page + 1) * self.page_entries, self.count)

    def check(self, number: int) -> None:
        """Raise ValueError unless there is a chunk of that number."""
        if not 0 <= number < self.count:
            raise ValueError(f"chunk {number}: a disk of {self.capacity} bytes has chunks 0..{self.count - 1}")


@dataclass(frozen=True, slots=True)
class Root:
    """What a root object holds."""

    grid: Grid
    pages: bytes
    """Ids of the pages, one behind the other."""

    def page(self, number: int) -> bytes:
        """Return the id of a page."""
        return self.pages[number * ID_SIZE : (number + 1) * ID_SIZE]

    def encode(self) -> bytes:
        """Return the object's content."""
        grid = self.grid
        return _ROOT.pack(_MAGIC, _VERSION, grid.capacity, grid.chunk_size, grid.page_entries) + self.pages

    @classmethod
    def decode(cls, data: Buffer) -> Root:
        """Read an object's content. Raises ValueError."""
        view = memoryview(data).cast("B")
        if len(view) < _ROOT.size:
            raise ValueError("a root that is cut")
        magic, version, capacity, chunk_size, entries = _ROOT.unpack(view[: _ROOT.size])
        if (magic, version) != (_MAGIC, _VERSION) or not chunk_size or not entries:
            raise ValueError("no root, or one of a newer version")
        root = cls(Grid(capacity, chunk_size, entries), bytes(view[_ROOT.size :]))
        if len(root.pages) != root.grid.pages * ID_SIZE:
            raise ValueError(f"a root with {len(root.pages)} bytes of pages for {root.grid.pages} pages")
        return root


def new_ids(grid: Grid) -> Rows:
    """Return the index of a disk of zeros; pages of memory that stay zero take none."""
    return np.zeros((grid.count, ID_SIZE // 8), np.uint64)


def pages_of(ids: Rows, entries: int) -> Iterator[tuple[int, memoryview | None]]:
    """Iterate over the pages of an index: number and content, None for a page of zeros."""
    for number, start in enumerate(range(0, len(ids), entries)):
        part = ids[start : start + entries]
        yield number, np.ascontiguousarray(part).data.cast("B") if part.any() else None


def read_ids(root: Root, pages: Iterator[tuple[int, Buffer]]) -> Rows:
    """Return the index of a disk from its pages that are not zero. Raises ValueError for one of another length."""
    ids = new_ids(root.grid)
    for number, data in pages:
        start, end = root.grid.page_span(number)
        ids[start:end] = page_rows(root.grid, number, data)
    return ids


def page_rows(grid: Grid, number: int, data: Buffer) -> Rows:
    """Return the ids of a page. Raises ValueError if it has another length."""
    start, end = grid.page_span(number)
    if memoryview(data).nbytes != (end - start) * ID_SIZE:
        raise ValueError(f"a page with {memoryview(data).nbytes} bytes for {end - start} chunks")
    return rows(data)


def stored_pages(root: Root) -> list[int]:
    """Return the numbers of the pages that are not zero."""
    return [int(number) for number in np.flatnonzero(rows(root.pages).any(axis=1))]


def changed_pages(old: Root, new: Root) -> list[int]:
    """Return the numbers of the pages that differ, those that only one of the disks has included.

    Raises ValueError for disks that are cut differently.
    """
    if (old.grid.chunk_size, old.grid.page_entries) != (new.grid.chunk_size, new.grid.page_entries):
        raise ValueError("disks with chunks or pages of different sizes cannot be compared by their indexes")
    one, two = rows(old.pages), rows(new.pages)
    common = min(len(one), len(two))
    changed = [int(number) for number in np.flatnonzero((one[:common] != two[:common]).any(axis=1))]
    return changed + list(range(common, max(len(one), len(two))))


def differences(old: Root, new: Root, page: Callable[[Root, int], Rows]) -> Iterator[Block]:
    """Iterate over the ranges of ``new`` whose chunks are others than those of ``old``; what ``old`` lacks is zero.

    ``page`` returns the ids of a page. Only pages that differ are read; blocks ascend and do not touch.
    """
    grid = new.grid

    def numbers() -> Iterator[int]:
        for number in changed_pages(old, new):
            if number >= grid.pages:
                return
            start, end = grid.page_span(number)
            before = np.zeros((end - start, ID_SIZE // 8), np.uint64)
            if number < old.grid.pages:
                known = page(old, number)[: end - start]
                before[: len(known)] = known
            yield from (start + int(place) for place in np.flatnonzero((page(new, number) != before).any(axis=1)))

    yield from merged(grid, numbers())


def merged(grid: Grid, numbers: Iterator[int]) -> Iterator[Block]:
    """Return the byte ranges of chunks in ascending order, neighbours as one."""
    start = end = -1
    for number in numbers:
        if number != end and end >= 0:
            yield _block(grid, start, end)
        start, end = (start, number + 1) if number == end else (number, number + 1)
    if end >= 0:
        yield _block(grid, start, end)


def _block(grid: Grid, start: int, end: int) -> Block:
    offset = start * grid.chunk_size
    return Block(offset, min(end * grid.chunk_size, grid.capacity) - offset)
