"""Which bytes to read: allocated blocks cut into chunks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncvddk.models import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

GRANULE = 4096
"""Bytes in which zeros are told from data; a chunk has a multiple of it."""


class ReadPlan:
    """Reads that cover the allocated blocks of a disk, fed block by block: memory does not grow with it."""

    def __init__(self, size: int, *, chunk_size: int) -> None:
        """Plan for a disk of ``size`` bytes; no read is longer than ``chunk_size``.

        Raises ValueError unless ``chunk_size`` is a positive multiple of ``GRANULE``.
        """
        if chunk_size < GRANULE or chunk_size % GRANULE:
            raise ValueError(f"chunk_size={chunk_size}: a chunk has a positive multiple of {GRANULE} bytes")
        self.size = size
        self.chunk_size = chunk_size
        self.position = 0
        """All below it is either planned or skipped."""
        self.skipped = 0
        """Bytes below ``position`` that need no reading, because nothing was ever written there."""

    def feed(self, block: Block) -> Iterator[Block]:
        """Return the reads of ``block``, which lies behind all blocks fed before.

        Cuts lie at multiples of the chunk size of the disk, not of the block: whatever its ends are, the
        pieces start and end where grains and granules do. Raises ValueError for a block out of order or
        outside the disk.
        """
        if block.offset < self.position or block.length <= 0 or block.end > self.size:
            raise ValueError(f"{block} is out of order or outside a disk of {self.size} bytes, {self.position} planned")
        self.skipped += block.offset - self.position
        self.position = block.end
        return self._cut(block)

    def finish(self) -> None:
        """No block follows: the rest of the disk is skipped."""
        self.skipped += self.size - self.position
        self.position = self.size

    def _cut(self, block: Block) -> Iterator[Block]:
        """Yield the pieces of ``block``."""
        offset = block.offset
        while offset < block.end:
            end = min(block.end, offset - offset % self.chunk_size + self.chunk_size)
            yield Block(offset, end - offset)
            offset = end
