"""Backups beside each other and beside collections: nobody waits for ever, nobody loses a byte."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from typing import TYPE_CHECKING

import pytest

from asyncvddk.backup import BackupOptions, backup
from asyncvddk.repository import Repository, Snapshot
from asyncvddk.repository.collection import _gc, _sessions
from tests.backup.fakes import MemoryDisk
from tests.repository.faults import DictStore, calm
from tests.repository.helpers import CHEAP, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.fix_repository import Place

CHUNK = 1 << 18


def some_data(seed: int, chunks: int, tail: int = 0) -> bytes:
    """Return random chunks, and ``tail`` more bytes."""
    return random.Random(seed).randbytes(chunks * CHUNK + tail)


def opened(store: DictStore) -> AbstractAsyncContextManager[Repository]:
    """Return the repository as a process sees it that has just begun."""
    return Repository.open(store, password=None, cache="")


async def stored(repository: Repository, snapshot: Snapshot, key: str) -> bytes:
    """Return a disk of a snapshot, whole."""
    async with await repository.open_disk(snapshot, key) as disk:
        return await disk.read_at(0, disk.size)


async def dropped_and_planned(contents: Sequence[bytes], *, local: bool) -> dict[str, bytes]:
    """Return a repository in which all but the last content was forgotten, and is about to be freed."""
    store = DictStore(local=local)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    async with opened(store) as repository:
        made = [
            await backup(repository, [MemoryDisk(bytearray(content)).disk("a")], source="vm") for content in contents
        ]
        await repository.forget(made[:-1])
        await repository.gc(grace_s=0, trash_s=0)
        assert [name for name in store.objects if name.startswith("gc/") and name.endswith("/plan")]
    return store.objects


class Collector:
    """A hook that lets another machine collect at the n-th operation of the store, and then now and then."""

    _EVERY = 7
    """Operations from one collection to the next."""

    def __init__(self, store: DictStore, other: Repository, operations: int) -> None:
        """Let ``operations`` of them pass; ``other`` is open at ``store``."""
        self._store = store
        self._other = other
        self._left = operations
        self._lock = threading.Lock()
        self._at_work: int | None = None
        self.swept = 0

    @property
    def reached(self) -> bool:
        """True once it has collected."""
        return self._left < 0

    def __call__(self, operation: str, name: str) -> None:
        """Count one operation; those of the collection itself are none."""
        del operation, name
        if self._at_work == threading.get_ident():
            return
        with self._lock:
            self._left -= 1
            if self._left < 0 and self._left % self._EVERY == self._EVERY - 1:
                self._at_work = threading.get_ident()
                for _ in range(2):
                    report = _gc.collect(self._other._vault, grace_s=0, trash_s=0, expiry_s=_sessions.EXPIRY_S)
                    self.swept += report.swept
                self._at_work = None


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_a_collection_at_any_moment_of_a_backup_takes_nothing_from_it(*, local: bool) -> None:
    """The backup writes what was forgotten and is about to be freed: it is there afterwards, whoever was first."""
    past, now = some_data(1, 3, 5), some_data(2, 3, 5)
    again = past[: 2 * CHUNK] + now[2 * CHUNK :]
    objects = await dropped_and_planned([past, now], local=local)
    swept = set()
    for operations in itertools.count():
        store = DictStore(local=local, objects=objects)
        async with opened(store) as repository, Repository.open(store, password=None, cache="", threads=1) as other:
            (kept,) = await repository.snapshots()
            store.before = collector = Collector(store, other, operations)
            snapshot = await backup(repository, [MemoryDisk(bytearray(again)).disk("a")], source="vm")
            store.before = calm
            assert await stored(repository, snapshot, "a") == again
            assert await stored(repository, kept, "a") == now
            for _ in range(2):
                await other.gc(grace_s=0, trash_s=0)
            assert (await other.verify(2)).findings == ()
            assert len([name for name in store.objects if name.startswith("chunks/")]) == 6
            assert not [name for name in store.objects if name.startswith("sessions/")]
        swept.add(collector.swept)
        if not collector.reached:
            assert operations > 10
            assert len(swept) > 1, "some collections came before the backup, some had to leave things to it"
            return


async def test_backups_of_one_source_at_once_are_snapshots_of_their_own(place: Place) -> None:
    """Two writers with one parent, partly with the same new data: each snapshot has what its writer read."""
    await Repository.init(place.url, password=PASSWORD, chunk_size=CHUNK, cost=CHEAP, options=place.options)
    first, shared = some_data(1, 12, 9), some_data(2, 5)
    contents = [shared + first[len(shared) : -1] + bytes([number]) for number in range(3)]

    def writer() -> AbstractAsyncContextManager[Repository]:
        return Repository.open(place.url, password=PASSWORD, cache="", options=place.options)

    async with writer() as one, writer() as two, writer() as three:
        parent = await backup(one, [MemoryDisk(bytearray(first)).disk("a")], source="vm")
        together = asyncio.Barrier(3)

        async def meet(_: object) -> None:
            await together.wait()

        disks = [MemoryDisk(bytearray(content), before_read=meet) for content in contents]
        often = BackupOptions(checkpoint_every_s=0)
        made = await asyncio.gather(
            *(
                backup(repository, [disk.disk("a")], source="vm", options=often)
                for repository, disk in zip((one, two, three), disks, strict=True)
            )
        )
        assert {snapshot.parent for snapshot in made} == {parent.id}
        assert len({snapshot.id for snapshot in made}) == 3
        for snapshot, content in zip(made, contents, strict=True):
            assert await stored(one, snapshot, "a") == content
        assert await stored(two, parent, "a") == first
        listed = await one.snapshots("vm")
        assert {snapshot.id for snapshot in listed} == {parent.id, *(snapshot.id for snapshot in made)}
        stats = await one.stats()
        assert stats.chunks == 13 + 5 + 3
        assert await one.find(source="vm") == listed[-1]
        disks[0].before_read = None
        after = await backup(two, [disks[0].disk("a")], source="vm")
        assert after.parent == listed[-1].id
        assert await stored(three, after, "a") == contents[0]
        assert (await three.verify(2)).findings == ()
        assert not list(one._vault.store.list("sessions"))
