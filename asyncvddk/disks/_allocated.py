"""What is allocated on a disk: the limits of QueryAllocatedBlocks hidden, one answer of it in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncvddk._events import Events
from asyncvddk.disks import _sectors
from asyncvddk.errors import NotSupportedError
from asyncvddk.models import SECTOR_SIZE
from asyncvddk.native import _marshal, _memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from asyncvddk.models import Block
    from asyncvddk.threads._calls import HandleCall

_logger: Final = Events("asyncvddk")


class Allocated:
    """Asks for the blocks of one disk, until the library has said that it cannot tell."""

    def __init__(self, path: str, free: Callable[[str, int], object]) -> None:
        """Take the disk's name for the log, and how lists of the library are freed: ``Calls.free``."""
        self._path = path
        self._free = free
        self._told = True

    async def blocks(
        self, call: HandleCall, start: int, end: int, size: int, chunk: int
    ) -> AsyncGenerator[Block, None]:
        """Yield what is allocated in bytes ``[start, end)`` of a disk of ``size`` bytes; ``chunk`` is in sectors.

        Nothing is held across a yield but a copy of the library's list, so a loop that is left early leaves nothing.
        """
        if start == end:
            return
        first, count = _sectors.cover(start, end - start)
        windows, tail = _sectors.plan_queries(first, first + count, size // SECTOR_SIZE, chunk)
        merger = _sectors.Merger(start, end)
        for window in windows:
            for block in merger.add(await self._query(call, window, chunk)):
                yield block
        for block in merger.finish(tail):
            yield block

    async def _query(self, call: HandleCall, window: _sectors.Window, chunk: int) -> Iterator[tuple[int, int]]:
        """Return (offset, length) in bytes of what is allocated in one window."""
        cell = _memory.Cell()
        try:
            if self._told:
                await call("QueryAllocatedBlocks", *window, chunk, cell.address, keep=cell)
                return _marshal.block_pairs(cell.value)
        except NotSupportedError as exc:
            if self._told:  # no other loop has said it meanwhile
                _logger.warning(
                    "allocated_blocks_unknown", disk=self._path, reason=str(exc), effect="everything is read"
                )
            self._told = False
        finally:
            self._free("FreeBlockList", cell.value)
        return iter([(window.first_sector * SECTOR_SIZE, window.num_sectors * SECTOR_SIZE)])
