"""Disks that change from one backup to the next, as seeds decide, and that know what changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asyncvddk.backup import ChangedBlocks
from asyncvddk.models import Block
from tests.backup.fakes import MemoryDisk

if TYPE_CHECKING:
    import random

    from asyncvddk.backup import BackupDisk

GRAIN: Final = 1 << 16
"""Bytes of what is allocated or not."""


@dataclass
class ChangingDisk:
    """A disk whose content a seed decides; the rest of its life, too."""

    key: str
    chance: random.Random
    size: int
    told: bool
    """Whether it brings lists of changes."""
    disk: MemoryDisk = field(init=False)
    allocated: set[int] = field(default_factory=set)
    """Numbers of the grains; the others are zero."""
    changes: list[Block] = field(default_factory=list)
    """Since the last backup."""
    states: int = 0

    def __post_init__(self) -> None:
        """Write here and there."""
        self.disk = MemoryDisk(bytearray(self.size))
        for _ in range(4):
            self.write()
        self.write_at(self.size - 1, b"\x01")  # the last chunk is a short one, and has data

    def change(self) -> None:
        """Do some of what happens to a disk between two backups."""
        for _ in range(self.chance.randrange(4)):
            self.chance.choice((self.write, self.write, self.copy, self.zero, self.discard))()
        if self.chance.random() < 0.15:
            self.grow()

    def write(self) -> None:
        """Write noise or text."""
        length = self.chance.randrange(1, self.size // 3)
        data = self.chance.randbytes(length) if self.chance.random() < 0.5 else (b"text " * length)[:length]
        self.write_at(self.chance.randrange(self.size), data)

    def copy(self) -> None:
        """Write what is there already, elsewhere."""
        source = self.chance.randrange(self.size)
        self.write_at(self.chance.randrange(self.size), bytes(self.disk.data[source : source + self.size // 4]))

    def zero(self) -> None:
        """Write zeros, which are allocated from now on."""
        self.write_at(self.chance.randrange(self.size), bytes(self.size // 5))

    def discard(self) -> None:
        """Give a range back: it reads as zeros."""
        first = self.chance.randrange(-(-self.size // GRAIN))
        grains = range(first, min(first + 8, -(-self.size // GRAIN)))
        start, end = first * GRAIN, min(grains.stop * GRAIN, self.size)
        self.disk.data[start:end] = bytes(end - start)
        self.allocated -= set(grains)
        self.changes.append(Block(start, end - start))

    def grow(self) -> None:
        """Get more bytes, of which some are written."""
        more = self.chance.randrange(1, self.size // 4)
        self.disk.data += bytes(more)
        self.size += more
        self.write_at(self.size - more // 2 - 1, b"grown")

    def write_at(self, offset: int, data: bytes) -> None:
        """Write as much as fits, and take note."""
        data = data[: self.size - offset]
        self.disk.data[offset : offset + len(data)] = data
        self.changes.append(Block(offset, len(data)))
        self.allocated |= set(range(offset // GRAIN, (offset + len(data) - 1) // GRAIN + 1))

    def next(self) -> BackupDisk:
        """Return the disk as it is now, for a backup; the next list of changes begins here."""
        grains = sorted(self.allocated)
        self.disk.allocated = [Block(n * GRAIN, min(GRAIN, self.size - n * GRAIN)) for n in grains]
        self.chance.shuffle(self.changes)
        changed = ChangedBlocks(self.changes, since=str(self.states)) if self.told else None
        self.states += 1
        self.changes = []
        return self.disk.disk(self.key, change_id=str(self.states), changed=changed)
