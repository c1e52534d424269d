"""Every generation of every disk comes back bit for bit: any place, any chunk size, encrypted or not, lists or none."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from asyncvddk import CreateParams
from asyncvddk.backup import ChangedBlocks, RawTarget, VmdkTarget, backup, restore
from asyncvddk.models import Block
from asyncvddk.repository import Argon2Cost, Repository
from tests.backup.fakes import MemoryDisk

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import BackupDisk
    from asyncvddk.repository import Snapshot
    from tests.fix_repository import Place

CHEAP = Argon2Cost(64, 1, 1)
SIZES = (9 * (1 << 20) + 513, 512, 5 * (1 << 20))
"""Bytes of the disks; no multiples of most chunks."""
GENERATIONS = 3


class Guest:
    """A disk that changes, tells what changed, and remembers how it was."""

    def __init__(self, size: int, chance: random.Random, *, tells: bool) -> None:
        """Begin with some data, the rest not allocated; ``tells``: it has changed-block information."""
        self.disk = MemoryDisk(bytearray(size), allocated=[])
        self.history: list[bytes] = []
        self._chance = chance
        self._tells = tells
        self._changed: list[Block] = []
        self.write()

    def write(self) -> None:
        """Write to a few places: data, or zeros."""
        for _ in range(self._chance.randrange(1, 6)):
            start = self._chance.randrange(self.disk.size)
            length = min(self._chance.choice((1, 512, 70_000, 2 << 20)), self.disk.size - start)
            zeros = self._chance.random() < 0.2
            self.disk.data[start : start + length] = bytes(length) if zeros else self._chance.randbytes(length)
            self._changed.append(Block(start, length))
            assert self.disk.allocated is not None
            self.disk.allocated = merged([*self.disk.allocated, Block(start, length)])

    def next(self, key: str) -> BackupDisk:
        """Return the disk as it is now, for a backup; what changes from now on is told to the next one."""
        number = len(self.history)
        self.history.append(bytes(self.disk.data))
        changed, self._changed = self._changed, []
        known = ChangedBlocks(changed, since=str(number - 1)) if self._tells and number else None
        return self.disk.disk(key, change_id=str(number), changed=known)


def merged(blocks: list[Block]) -> list[Block]:
    """Return the same bytes as ascending blocks that do not touch."""
    found: list[Block] = []
    for block in sorted(blocks, key=lambda one: one.offset):
        if found and block.offset <= found[-1].end:
            first = found.pop()
            block = Block(first.offset, max(first.end, block.end) - first.offset)  # noqa: PLW2901
        found.append(block)
    return found


@pytest.mark.parametrize(
    ("chunk_size", "password", "tells"),
    [(1 << 18, "secret", True), (1 << 20, None, False), (1 << 20, "secret", True), (1 << 22, "secret", False)],
)
async def test_every_generation_comes_back(
    place: Place, tmp_path: Path, chunk_size: int, password: str | None, *, tells: bool
) -> None:
    """Read from the repository as it is opened anew, and once through a file."""
    chance = random.Random(f"{chunk_size} {password} {tells}")
    guests = [Guest(size, chance, tells=tells) for size in SIZES]
    await Repository.init(place.url, password=password, chunk_size=chunk_size, cost=CHEAP, options=place.options)
    snapshots: list[Snapshot] = []
    for _ in range(GENERATIONS):
        async with Repository.open(
            place.url, password=password, options=place.options, cache=tmp_path / "cache"
        ) as repository:
            disks = [guest.next(str(number)) for number, guest in enumerate(guests)]
            snapshots.append(await backup(repository, disks, source="vm"))
        for guest in guests:
            guest.write()
    assert [disk.mode for disk in snapshots[-1].disks] == ["changed" if tells else "allocated"] * len(SIZES)
    async with Repository.open(place.url, password=password, options=place.options, cache="") as repository:
        for generation, snapshot in enumerate(snapshots):
            for number, guest in enumerate(guests):
                async with await repository.open_disk(snapshot, str(number)) as disk:
                    assert await disk.read_at(0, disk.size) == guest.history[generation]
        async with (
            await repository.open_disk(snapshots[1], "0") as disk,
            RawTarget(tmp_path / "a", disk.size) as target,
        ):
            await restore(disk, target)
        assert (await repository.verify(2)).findings == ()
    content = await asyncio.to_thread((tmp_path / "a").read_bytes)
    assert hashlib.sha256(content).digest() == hashlib.sha256(guests[0].history[1]).digest()


async def test_a_restored_vmdk_is_what_qemu_reads(vddk: Vddk, place: Place, tmp_path: Path, qemu_img: str) -> None:
    """Compared by qemu-img, which knows nothing of us."""
    guest = Guest(6 << 20, random.Random(11), tells=False)
    await Repository.init(place.url, password="secret", cost=CHEAP, options=place.options)  # noqa: S106
    async with Repository.open(place.url, password="secret", options=place.options, cache="") as repository:  # noqa: S106
        snapshot = await backup(repository, [guest.next("0")], source="vm")
        disk = await repository.open_disk(snapshot, "0")
        params = CreateParams(size=disk.size)
        async with disk, VmdkTarget(vddk, tmp_path / "a.vmdk", params) as target:
            await restore(disk, target)
    (tmp_path / "a.raw").write_bytes(guest.history[0])
    process = await asyncio.create_subprocess_exec(qemu_img, "compare", "a.vmdk", "a.raw", cwd=tmp_path)
    assert await process.wait() == 0
