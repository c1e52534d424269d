"""Stores that refuse, fill up, answer late or never: a backup says so, hurts nothing, and the next one succeeds."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import stat
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from asyncvddk.backup import BackupLimits, BackupOptions, backup
from asyncvddk.repository import Repository, SessionLostError, StoreAccessError, StoreError, StoreFullError
from asyncvddk.repository.store._remote import Patience, remote_store
from tests.backup.fakes import MemoryDisk
from tests.fix_repository import s3_place
from tests.repository.faults import Countdown, DictStore, calm, unavailable
from tests.repository.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from asyncvddk.models import Block
    from asyncvddk.repository import Snapshot

CHUNK = 1 << 18
CHANCE = random.Random(23)


@asynccontextmanager
async def opened(store: DictStore) -> AsyncIterator[Repository]:
    """Open a repository as a new process does."""
    async with Repository.open(store, password=None, cache="") as repository:
        yield repository


async def stored(repository: Repository, snapshot: Snapshot, key: str) -> bytes:
    """Return a disk of a snapshot, whole."""
    async with await repository.open_disk(snapshot, key) as disk:
        return await disk.read_at(0, disk.size)


def some_data(chunks: int, tail: int = 0) -> bytearray:
    """Return random chunks, and ``tail`` more bytes."""
    return bytearray(CHANCE.randbytes(chunks * CHUNK + tail))


async def check_life_goes_on(repository: Repository, disk: MemoryDisk, before: list[tuple[Snapshot, bytes]]) -> None:
    """Check what was there, back up once more, and collect: no session is left."""
    for snapshot, content in before:
        assert await stored(repository, snapshot, "a") == content
    disk.before_read = None
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    assert await stored(repository, snapshot, "a") == disk.data
    await repository.gc(session_expiry_s=-1, grace_s=0)
    await repository.gc(grace_s=0)
    report = await repository.verify(2)
    assert report.findings == ()
    assert disk.opened == disk.closed


@pytest.mark.parametrize("once", [True, False], ids=["once", "for good"])
@pytest.mark.parametrize("answer_lost", [True, False], ids=["answer lost", "refused"])
@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_an_error_at_any_operation_is_the_backups_error(*, local: bool, once: bool, answer_lost: bool) -> None:
    """It comes as it is, in no group, and there is no snapshot; or the backup can do without, and there is one.

    Where the store cannot say whether it has the snapshot, nor remove it, there may be one: then it is whole.
    """
    disk = MemoryDisk(some_data(3, 5), state="1")
    store = DictStore(local=local)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    async with opened(store) as repository:
        first = await backup(repository, [disk.disk("a")], source="vm")
    old, objects = bytes(disk.data), dict(store.objects)
    disk.data[CHUNK : 3 * CHUNK] = some_data(2)
    for operations in itertools.count():
        store = DictStore(local=local, objects=objects)
        async with opened(store) as repository:
            countdown = Countdown(operations, unavailable("object"), once=once)
            setattr(store, "after" if answer_lost else "before", countdown)
            snapshot, told = None, "no answer"
            try:
                snapshot = await backup(repository, [disk.disk("a")], source="vm")
            except StoreError as error:
                told = str(error)
            store.before = store.after = calm
            assert "no answer" in told
        async with opened(store) as repository:
            made = [one for one in await repository.snapshots() if one != first]
            assert made == ([snapshot] if snapshot else []) or (snapshot is None and (answer_lost or not once))
            before = [(first, old), *((one, bytes(disk.data)) for one in made)]
            await check_life_goes_on(repository, disk, before)
        left = [name for name in store.objects if name.startswith(("sessions/", "probe/", "gc/lock"))]
        assert left == []
        if not countdown.reached:
            assert snapshot is not None
            assert operations > 5
            return


@pytest.mark.parametrize("nameless", [True, False], ids=["nameless files", "named files"])
async def test_a_disk_that_is_full_at_any_write_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    """No unfinished file; earlier snapshots are whole; with room again the backup goes on."""
    if not nameless:
        monkeypatch.setattr(os, "open", without_nameless(os.open))
    place = tmp_path / "repository"
    await Repository.init(place, password=None, chunk_size=CHUNK)
    disk = MemoryDisk(some_data(2, 7))
    async with Repository.open(place, password=None, cache="") as repository:
        before = [(await backup(repository, [disk.disk("a")], source="vm"), bytes(disk.data))]
        for writes in itertools.count():
            disk.data[:] = some_data(2, 7)
            full = FullDisk(writes)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "write", full.write)
                try:
                    await backup(repository, [disk.disk("a")], source="vm")
                except StoreFullError as error:
                    told = str(error)
                else:
                    break
            assert str(place) in told
            assert "No space left" in told
            assert [path for path in place.rglob("*") if ".pending" in path.name] == []
            assert [path for path in (place / "sessions").rglob("*") if path.is_file()] == []
            assert len(await repository.snapshots()) == 1
        assert writes > 5
        await check_life_goes_on(repository, disk, before)


class FullDisk:
    """A file system that takes some writes, the last one in part, and then none."""

    def __init__(self, writes: int) -> None:
        """Let ``writes`` of them pass."""
        self.left = writes
        self._write = os.write
        self._lock = threading.Lock()

    def write(self, fd: int, data: bytes) -> int:
        """Stand in for ``os.write``."""
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return self._write(fd, data)  # to wake the loop
        with self._lock:
            self.left -= 1
            if self.left < -1 or (self.left == -1 and len(data) < 100):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data[: len(data) // 2] if self.left == -1 else data)


def without_nameless(right: Callable[..., int]) -> Callable[..., int]:
    """Return an ``os.open`` of a file system that has no nameless files."""

    def wrong(path: str, flags: int, *arguments: int, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return right(path, flags, *arguments, **more)

    return wrong


async def test_a_slow_store_holds_up_reading_and_nothing_else() -> None:
    """While it answers nothing, no more is read than memory is allowed for; when it answers again, all goes on."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=CHUNK)
    gate, limits = threading.Event(), BackupLimits(jobs=3, memory_limit=12 << 20)
    stuck = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def slow(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("chunks/") and not gate.is_set():
            loop.call_soon_threadsafe(stuck.release)
            gate.wait()

    disks = [MemoryDisk(some_data(60, number)) for number in range(3)]
    async with opened(store) as repository:
        store.before = slow
        wanted = [disk.disk(str(number)) for number, disk in enumerate(disks)]
        running = asyncio.create_task(backup(repository, wanted, source="vm", limits=limits))
        for _ in range(3):  # all the memory that there is waits for the store
            await stuck.acquire()
        for _ in range(100):
            await asyncio.sleep(0)
        assert sum(block.length for disk in disks for block in disk.reads) <= limits.memory_limit
        gate.set()
        snapshot = await running
        for number, disk in enumerate(disks):
            assert await stored(repository, snapshot, str(number)) == disk.data


async def test_a_backup_cancelled_while_the_store_does_not_answer_ends_when_it_does() -> None:
    """The request under way is waited for, since it uses the backup's memory; nothing is left."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=CHUNK)
    gate, stuck = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("chunks/"):
            loop.call_soon_threadsafe(stuck.set)
            gate.wait()

    disk = MemoryDisk(some_data(9))
    async with opened(store) as repository:
        store.before = slow
        running = asyncio.create_task(backup(repository, [disk.disk("a")], source="vm"))
        await stuck.wait()
        running.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not running.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await repository.snapshots() == []
        await check_life_goes_on(repository, disk, [])


@pytest.fixture
def wire(s3_endpoint: str) -> Iterator[Wire]:
    """Return a network to the S3 server."""
    with Wire(s3_endpoint) as wire:
        yield wire


@asynccontextmanager
async def behind(wire: Wire, url: str, *, attempts: int = 3) -> AsyncIterator[Repository]:
    """Open a repository behind the network; between attempts there is no pause."""
    options = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "endpoint": wire.endpoint}
    store = remote_store(url, options, Patience(attempts=attempts, pause_s=0.0, request_retries=0))
    async with Repository.open(store, password=None, cache="") as repository:
        yield repository


async def new_place(wire: Wire) -> str:
    """Make a repository in the bucket; return its URL."""
    place = s3_place(wire.endpoint)
    await Repository.init(place.url, password=None, chunk_size=CHUNK, options=place.options)
    return place.url


@pytest.mark.parametrize("how", ["cut", "503 Slow Down", "403 Forbidden", "500 Internal Server Error"])
async def test_a_connection_that_ends_in_the_middle_ends_the_backup_with_its_reason(wire: Wire, how: str) -> None:
    """The error names the place; when the server is back, all that was there is, and the backup is made again."""
    url = await new_place(wire)
    disk = MemoryDisk(some_data(40))
    async with behind(wire, url) as repository:
        before = [(await backup(repository, [disk.disk("a")], source="vm"), bytes(disk.data))]
        disk.data[:] = some_data(40)

        async def end(block: Block) -> None:
            if block.offset == 16 * CHUNK:
                await asyncio.to_thread(wire.cut if how == "cut" else lambda: wire.answer(how))

        disk.before_read = end
        with pytest.raises(StoreAccessError if how.startswith("403") else StoreError, match=url) as caught:
            await backup(repository, [disk.disk("a")], source="vm")
        assert "could not be removed" in caught.value.__notes__[0]
        assert disk.opened == disk.closed
        wire.mend()
        assert [snapshot.id for snapshot in await repository.snapshots()] == [before[0][0].id]
        await check_life_goes_on(repository, disk, before)
        assert not list(repository._vault.store.list("sessions"))


async def test_answers_that_are_lost_now_and_then_are_asked_for_again(wire: Wire) -> None:
    """What the server did although nobody heard of it counts: the backup is made, and nothing is stored twice."""
    url = await new_place(wire)
    disk = MemoryDisk(some_data(40, 3))
    async with behind(wire, url, attempts=99) as repository:  # more than answers are lost

        async def lose(_: Block) -> None:
            wire.lose_answers(2)

        disk.before_read = lose
        snapshot = await backup(repository, [disk.disk("a")], source="vm")
        assert await stored(repository, snapshot, "a") == disk.data
        assert len(list(repository._vault.store.list("chunks"))) == 41
        await check_life_goes_on(repository, disk, [(snapshot, bytes(disk.data))])


async def test_a_session_that_a_collection_took_for_dead_says_so_at_the_end() -> None:
    """A store out of reach for days: the backup does not commit what may be gone, and the next one is whole."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=CHUNK)
    disk = MemoryDisk(some_data(20))
    async with opened(store) as repository, opened(store) as other:

        async def collect(block: Block) -> None:
            if block.offset == 16 * CHUNK:
                await other.gc(session_expiry_s=-1, grace_s=0)

        disk.before_read = collect
        with pytest.raises(SessionLostError, match="start the backup again"):
            await backup(
                repository, [disk.disk("a")], source="vm", options=BackupOptions(checkpoint_every_s=float("inf"))
            )
        assert await repository.snapshots() == []
        await check_life_goes_on(repository, disk, [])
