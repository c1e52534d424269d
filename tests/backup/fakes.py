"""A disk in memory that knows what was read of it, and that can fail."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncvddk.backup import BackupDisk, ChangedBlocks
from asyncvddk.models import Block

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from typing_extensions import Buffer


@dataclass
class MemoryDisk:
    """Bytes, of which those in ``allocated`` are; all others must be zero."""

    data: bytearray
    allocated: list[Block] | None = None
    reads: list[Block] = field(default_factory=list)
    before_read: Callable[[Block], Awaitable[object]] | None = None
    opened: int = 0
    closed: int = 0
    state: str | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read."""
        view = memoryview(buffer)
        block = Block(offset, len(view))
        if self.before_read:
            await self.before_read(block)
        self.reads.append(block)
        view[:] = self.data[offset : offset + len(view)]
        return len(view)

    async def allocated_blocks(self, start: int = 0, length: int | None = None) -> AsyncIterator[Block]:
        """Iterate over what is allocated."""
        assert (start, length) in {(0, None), (0, self.size)}
        for block in [Block(0, self.size)] if self.allocated is None else self.allocated:
            yield block

    def disk(
        self,
        key: str,
        *,
        host: str | None = None,
        change_id: str | None = None,
        changed: ChangedBlocks | None = None,
    ) -> BackupDisk:
        """Return what ``backup`` takes."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryDisk]:
            self.opened += 1
            try:
                yield self
            finally:
                self.closed += 1

        return BackupDisk(
            key=key,
            name=key,
            opened=opened,
            uuid=f"uuid-{key}",
            host=host,
            change_id=change_id,
            state=lambda: self.state,
            changed=changed,
        )
