"""Disks that change from day to day: every day of every disk comes back bit for bit, long after."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncvddk import CreateParams
from asyncvddk.backup import RawTarget, VmdkTarget, backup, restore, vmdk_disk
from asyncvddk.repository import Repository
from tests.backup.changing import ChangingDisk
from tests.repository.helpers import CHEAP, PASSWORD

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.repository import Snapshot
    from tests.fix_repository import Place

GENERATIONS = 5


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "encrypted"])
@pytest.mark.parametrize("chunk_size", [1 << 18, 1 << 20, 1 << 22], ids=["256 KiB", "1 MiB", "4 MiB"])
async def test_every_generation_comes_back(place: Place, chunk_size: int, password: str | None, tmp_path: Path) -> None:
    """Whatever was written, copied, zeroed, given back or added between backups, with lists of changes or without.

    And when the older half is forgotten and its space freed, the younger half is still whole.
    """
    chance = random.Random(f"{chunk_size} {password} {place.options is None}")
    sizes = [chance.randrange(chunk_size, 3 * chunk_size) | 1 for _ in range(2)] + [chance.randrange(1000, 99999) | 1]
    disks = [
        ChangingDisk(f"disk {number}", chance, size, told=told)
        for number, (size, told) in enumerate(zip(sizes, (False, True, True), strict=True))
    ]
    await Repository.init(place.url, password=password, chunk_size=chunk_size, cost=CHEAP, options=place.options)
    history: list[tuple[Snapshot, dict[str, bytes]]] = []
    for number in range(GENERATIONS):
        cache = tmp_path / "cache" if number % 2 else ""  # it knows nothing of the day before, or not all
        async with open_place(place, password, cache) as repository:
            grown = {disk.key: history and len(history[-1][1][disk.key]) != disk.size for disk in disks}
            snapshot = await backup(repository, [disk.next() for disk in disks], source="vm")
        for disk in disks:
            entry = snapshot.disk(disk.key)
            as_listed = disk.told and history and not grown[disk.key]
            assert (entry.mode, entry.mistrusted) == ("changed" if as_listed else "allocated", False)
        history.append((snapshot, {disk.key: bytes(disk.disk.data) for disk in disks}))
        for disk in disks:
            disk.change()
    async with open_place(place, password) as repository:
        for snapshot, contents in history:
            for key, content in contents.items():
                assert await stored(repository, snapshot, key) == content
        snapshot, contents = chance.choice(history)
        for number, (key, content) in enumerate(contents.items()):
            assert await restored(repository, snapshot, key, tmp_path / f"{number}.img") == content
        await repository.forget([snapshot for snapshot, _ in history[: GENERATIONS // 2]])
        for _ in range(2):
            await repository.gc(grace_s=0, trash_s=0)
        assert (await repository.verify(2)).findings == ()
        for snapshot, contents in history[GENERATIONS // 2 :]:
            for key, content in contents.items():
                assert await stored(repository, snapshot, key) == content


def open_place(place: Place, password: str | None, cache: Path | str = "") -> AbstractAsyncContextManager[Repository]:
    """Open the repository there."""
    return Repository.open(place.url, password=password, cache=cache, options=place.options)


async def stored(repository: Repository, snapshot: Snapshot, key: str) -> bytes:
    """Return a disk of a snapshot, whole."""
    async with await repository.open_disk(snapshot, key) as disk:
        return await disk.read_at(0, disk.size)


async def restored(repository: Repository, snapshot: Snapshot, key: str, path: Path) -> bytes:
    """Restore a disk of a snapshot to a file, and return what that holds."""
    async with await repository.open_disk(snapshot, key) as disk, RawTarget(path, disk.size) as target:
        await restore(disk, target)
    return path.read_bytes()


async def test_qemu_img_finds_every_generation_of_a_vmdk_identical(vddk: Vddk, tmp_path: Path, qemu_img: str) -> None:
    """A VMDK is written through the engine; its backups become VMDKs again, and another program compares them."""
    chance = random.Random(5)
    size = (9 << 20) + 512 * 77
    data = bytearray(size)
    await Repository.init(tmp_path / "repository", password=PASSWORD, cost=CHEAP)
    snapshots: list[Snapshot] = []
    async with Repository.open(tmp_path / "repository", password=PASSWORD, cache="") as repository:
        async with vddk.connect() as connection:
            await connection.create(tmp_path / "a.vmdk", CreateParams(size=size))
        for number in range(3):
            async with vddk.open_disk(tmp_path / "a.vmdk", read_only=False) as disk:
                for _ in range(5):
                    noise = chance.randbytes(chance.randrange(1, 600_000))
                    start = chance.randrange(size - len(noise))
                    data[start : start + len(noise)] = noise
                    await disk.write_at(start, noise)
            (tmp_path / f"{number}.img").write_bytes(data)
            snapshots.append(await backup(repository, [vmdk_disk(vddk, tmp_path / "a.vmdk", key="a")], source="vm"))
        for number, snapshot in enumerate(snapshots):
            async with (
                await repository.open_disk(snapshot, "a") as back,
                VmdkTarget(vddk, tmp_path / f"{number}.vmdk", CreateParams(size=back.size)) as target,
            ):
                await restore(back, target)
    for number in range(3):
        done = await anyio.run_process([qemu_img, "compare", tmp_path / f"{number}.img", tmp_path / f"{number}.vmdk"])
        assert b"identical" in done.stdout
