"""The threads of backups: there while somebody uses them, and enough of them for the store."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING

import pytest

from asyncvddk.backup import BackupFailedError, RawTarget, StreamTarget, backup, compare, raw_disk, restore
from asyncvddk.backup._pieces import pieces_for
from asyncvddk.backup._workers import Workers
from asyncvddk.repository import Repository
from tests.backup.fakes import MemoryDisk
from tests.repository.faults import DictStore, calm

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.backup import BackupDisk

CHANCE = random.Random(11)
MIB = 1 << 20


def workers_alive() -> list[threading.Thread]:
    """Return the threads of all workers."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("chunks")]


async def test_threads_end_with_their_last_user() -> None:
    """Those of two users are the same; each has memory of its own, always the same."""
    workers = Workers(local=True)
    both = threading.Barrier(workers.count)

    def memory() -> int:
        both.wait()
        view = workers.scratch(4096)
        assert len(view) == 4096
        return id(view.obj)

    for _ in range(2):
        with workers:
            first = await asyncio.gather(*(workers.run(memory) for _ in range(workers.count)))
            with workers:
                again = await asyncio.gather(*(workers.run(memory) for _ in range(workers.count)))
            assert sorted(first) == sorted(again)
            again = await asyncio.gather(*(workers.run(memory) for _ in range(workers.count)))
            assert sorted(first) == sorted(again)
            assert len(set(first)) == workers.count == len(workers_alive())
        assert workers_alive() == []


def test_a_piece_has_whole_chunks() -> None:
    """A chunk that is larger than a piece is one."""
    for local, size in ((True, 4 * MIB), (False, MIB)):
        for chunk in (1 << 18, MIB, 4 * MIB, 8 * MIB):
            assert pieces_for(chunk, local=local).size == max(chunk, size)


class Crowd:
    """A hook of a store that answers no request for a chunk before there are so many."""

    def __init__(self, operation: str, size: int) -> None:
        """Wait for ``size`` requests."""
        self.operation = operation
        self.barrier = threading.Barrier(size)

    def __call__(self, operation: str, name: str) -> None:
        """Let a request pass when enough others are there."""
        if operation == self.operation and name.startswith("chunks/"):
            self.barrier.wait(60)


@pytest.mark.parametrize("kind", ["image", "disk"])
async def test_a_store_behind_a_network_gets_many_requests_at_once(tmp_path: Path, kind: str) -> None:
    """Sixteen for one disk, stored, restored, compared: one after the other, latency would be all the time there is."""
    data = bytearray(CHANCE.randbytes(32 * MIB))
    (tmp_path / "a.img").write_bytes(data)
    store = DictStore(local=False)
    await Repository.init(store, password=None, chunk_size=MIB)
    async with Repository.open(store, password=None, cache="") as repository:
        store.before = Crowd("create", 16)
        disk = raw_disk(tmp_path / "a.img") if kind == "image" else MemoryDisk(data).disk("a")
        snapshot = await backup(repository, [disk], source="vm")
        store.before = calm
        async with await repository.open_disk(snapshot, disk.key) as stored:
            store.before = Crowd("get", 16)
            async with RawTarget(tmp_path / "b.img", len(data)) as target:
                await restore(stored, target)
            store.before = Crowd("get", 16)
            assert await compare(stored, MemoryDisk(data)) == []
            store.before = calm
            with (tmp_path / "c.img").open("wb") as out:
                await restore(stored, StreamTarget(out.fileno()))
    assert (tmp_path / "b.img").read_bytes() == (tmp_path / "c.img").read_bytes() == data
    assert workers_alive() == []


async def test_restores_and_comparisons_keep_to_the_threads_of_the_repository(tmp_path: Path) -> None:
    """However many there are at once."""
    data = bytearray(CHANCE.randbytes(20 * MIB))
    store = DictStore(local=False)
    await Repository.init(store, password=None, chunk_size=MIB)
    async with Repository.open(store, password=None, cache="") as repository:
        snapshot = await backup(repository, [MemoryDisk(data).disk("a")], source="vm")
    lock, both = threading.Lock(), threading.Barrier(2)
    at_once, most = 0, 0

    def before(operation: str, name: str) -> None:
        nonlocal at_once, most
        if operation != "get" or not name.startswith("chunks/"):
            return
        with lock:
            at_once += 1
            most = max(most, at_once)
        both.wait(60)
        with lock:
            at_once -= 1

    async def restored(number: int) -> None:
        async with await repository.open_disk(snapshot, "a") as disk:
            async with RawTarget(tmp_path / f"{number}.img", disk.size) as target:
                await restore(disk, target)
            with (tmp_path / f"{number}.out").open("wb") as out:
                await restore(disk, StreamTarget(out.fileno()))
            assert await compare(disk, MemoryDisk(data)) == []

    async with Repository.open(store, password=None, cache="", threads=2) as repository:
        store.before = before
        await asyncio.gather(*(restored(number) for number in range(3)))
        store.before = calm
    assert most == 2
    assert all(path.read_bytes() == data for path in tmp_path.iterdir())


@pytest.mark.parametrize("chunk_size", [1 << 18, 8 * MIB])
async def test_every_chunk_of_an_image_is_read_and_restored_once(tmp_path: Path, chunk_size: int) -> None:
    """Smaller than a piece or larger, on a disk that ends within one."""
    data = bytearray(CHANCE.randbytes(20 * MIB + 77))
    data[9 * MIB : 17 * MIB] = bytes(8 * MIB)
    (tmp_path / "a.img").write_bytes(data)
    store = DictStore(local=True)
    await Repository.init(store, password=None, chunk_size=chunk_size)
    async with Repository.open(store, password=None, cache="") as repository:
        disk = raw_disk(tmp_path / "a.img")
        snapshot = await backup(repository, [disk], source="vm")
        stats = snapshot.disk(disk.key).stats
        assert stats.read == len(data)
        gets: list[str] = []
        store.before = lambda operation, name: gets.append(name) if operation == "get" else None
        async with (
            await repository.open_disk(snapshot, disk.key) as stored,
            RawTarget(tmp_path / "b.img", len(data)) as target,
        ):
            result = await restore(stored, target)
    chunks = [name for name in gets if name.startswith("chunks/")]
    assert len(chunks) == len(set(chunks)) == sum(name.startswith("chunks/") for name in store.objects)
    assert (tmp_path / "b.img").read_bytes() == data
    assert result.bytes_written == len(data) - sum(
        4096 for start in range(0, len(data), 4096) if not any(data[start : start + 4096])
    )


async def test_an_image_that_is_cut_while_it_is_read_fails_alone(tmp_path: Path) -> None:
    """With its name and where it ended; the worker that found out goes on with others."""
    path = tmp_path / "a.img"
    path.write_bytes(CHANCE.randbytes(8 * MIB))
    await Repository.init(tmp_path / "repository", password=None, chunk_size=MIB)
    async with Repository.open(tmp_path / "repository", password=None, cache="") as repository:
        other = MemoryDisk(bytearray(CHANCE.randbytes(3 * MIB)))

        class Cutting:
            """An observer that cuts the image as soon as it is open."""

            def started(self, disk: BackupDisk, progress: object) -> None:
                """Cut."""
                del progress
                if disk.key == str(path):
                    os.truncate(path, 5 * MIB + 9)

            def progressed(self, disk: object, progress: object) -> None:
                """Take no notice."""

            def ended(self, disk: object, result: object) -> None:
                """Take no notice."""

        snapshot = await backup(repository, [raw_disk(path), other.disk("b")], source="vm", observer=Cutting())
        [failed] = snapshot.failed
        assert failed.key == str(path)
        assert f"ends at byte {5 * MIB + 9}" in failed.reason
        with pytest.raises(BackupFailedError, match=r"a\.img"):
            await backup(repository, [raw_disk(tmp_path / "gone" / "a.img")], source="vm")
    assert workers_alive() == []
