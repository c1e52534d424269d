"""Backups of many disks: every byte comes back, only what is new is stored, and no disk's failure is another's."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

import pytest

from asyncvddk.backup import BackupFailedError, BackupLimits, BackupOptions, ChangedBlocks, backup
from asyncvddk.backup._buffers import Buffers
from asyncvddk.models import Block
from asyncvddk.repository import Repository, StoreError
from asyncvddk.repository.checking._verify import verify
from asyncvddk.repository.format import _layout
from tests.backup.fakes import MemoryDisk
from tests.repository.faults import Countdown, DictStore, Killed, calm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from asyncvddk.backup import BackupDisk, BackupProgress
    from asyncvddk.repository import DiskEntry, Snapshot

CHUNK = 1 << 18
CHANCE = random.Random(7)


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    """Return a repository with small chunks."""
    await Repository.init(tmp_path / "repository", password=None, chunk_size=CHUNK)
    async with Repository.open(tmp_path / "repository", password=None, cache="") as opened:
        yield opened


def some_data(chunks: int, tail: int = 0) -> bytearray:
    """Return random chunks, and ``tail`` more bytes."""
    return bytearray(CHANCE.randbytes(chunks * CHUNK + tail))


async def stored(repository: Repository, snapshot: Snapshot, key: str) -> bytes:
    """Return a disk of a snapshot, whole."""
    async with await repository.open_disk(snapshot, key) as disk:
        return await disk.read_at(0, disk.size)


async def test_every_generation_of_many_disks_comes_back(repository: Repository) -> None:
    """Three disks of odd sizes, five generations of random changes: each snapshot has the bytes of its time."""
    disks = [MemoryDisk(some_data(count, tail)) for count, tail in ((40, 0), (3, 513), (0, 1))]
    history: list[tuple[Snapshot, list[bytes]]] = []
    for _ in range(5):
        snapshot = await backup(repository, [disk.disk(str(n)) for n, disk in enumerate(disks)], source="vm")
        history.append((snapshot, [bytes(disk.data) for disk in disks]))
        for disk in disks:
            start = CHANCE.randrange(disk.size)
            length = min(CHANCE.randrange(1, 3 * CHUNK), disk.size - start)
            disk.data[start : start + length] = CHANCE.randbytes(length) if CHANCE.random() < 0.7 else bytes(length)
    for snapshot, contents in history:
        for number, content in enumerate(contents):
            assert await stored(repository, snapshot, str(number)) == content
    assert all(disk.opened == disk.closed == 5 for disk in disks)


async def test_a_second_backup_stores_what_is_new_only(repository: Repository) -> None:
    """The rest is found to be the same, without a list of changes."""
    disk = MemoryDisk(some_data(8))
    await backup(repository, [disk.disk("a")], source="vm")
    disk.data[3 * CHUNK] ^= 1
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    stats = snapshot.disk("a").stats
    assert (stats.new, stats.same, stats.read) == (CHUNK, 7 * CHUNK, 8 * CHUNK)


async def test_only_what_is_allocated_is_read(repository: Repository) -> None:
    """The rest reads as zeros in the snapshot; ``full`` reads it."""
    data = bytearray(9 * CHUNK + 100)
    data[2 * CHUNK : 2 * CHUNK + 5] = b"hello"
    disk = MemoryDisk(data, allocated=[Block(2 * CHUNK, 5)])
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    assert disk.reads == [Block(2 * CHUNK, CHUNK)]
    assert await stored(repository, snapshot, "a") == data
    assert snapshot.disk("a").mode == "allocated"
    disk.reads.clear()
    snapshot = await backup(repository, [disk.disk("a")], source="vm", options=BackupOptions(mode="full"))
    assert sum(block.length for block in disk.reads) == disk.size
    assert snapshot.disk("a").mode == "full"


async def test_with_a_list_of_changes_nothing_else_is_read_but_a_sample(repository: Repository) -> None:
    """Time goes with the change, not with the disk; what vanished from the disk is zero."""
    disk = MemoryDisk(some_data(200))
    await backup(repository, [disk.disk("a", change_id="1")], source="vm")
    disk.data[50 * CHUNK + 7] ^= 1
    disk.data[190 * CHUNK :] = bytes(10 * CHUNK)
    disk.allocated = [Block(0, 190 * CHUNK)]
    disk.reads.clear()
    changed = ChangedBlocks([Block(50 * CHUNK + 7, 1)], since="1")
    snapshot = await backup(repository, [disk.disk("a", change_id="2", changed=changed)], source="vm")
    assert len(disk.reads) == 1 + 10
    assert await stored(repository, snapshot, "a") == disk.data
    entry = snapshot.disk("a")
    assert (entry.mode, entry.change_id, entry.mistrusted, entry.stats.read) == ("changed", "2", False, CHUNK)


async def test_a_list_that_lies_is_found_out(repository: Repository) -> None:
    """Every chunk changed and none was listed: a sample shows it, and the disk is read whole."""
    disk = MemoryDisk(some_data(30))
    first = await backup(repository, [disk.disk("a", change_id="1")], source="vm")
    disk.data[:] = some_data(30)
    lie = disk.disk("a", change_id="2", changed=ChangedBlocks([], since="1"))
    notes = Notes()
    snapshot = await backup(repository, [lie], source="vm", observer=notes)
    assert notes.done[-1] == disk.size
    assert await stored(repository, snapshot, "a") == disk.data
    entry = snapshot.disk("a")
    assert (entry.mode, entry.mistrusted) == ("allocated", True)
    assert entry.read_whole > first.disk("a").read_whole > 0


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
@pytest.mark.parametrize("what", ["root", "page"])
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "damaged"])
@pytest.mark.parametrize("with_changes", [True, False])
async def test_a_damaged_index_of_the_parent_costs_time_and_nothing_else(
    what: str, *, local: bool, lost: bool, with_changes: bool
) -> None:
    """All that is allocated is read, and what was damaged is whole again where the new snapshot uses it."""
    store = DictStore(local=local)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    disk = MemoryDisk(some_data(20))
    async with Repository.open(store, password=None, cache="") as repository:
        first = await backup(repository, [disk.disk("a", change_id="1")], source="vm")
        root = first.disk("a").root
        pages = [name for name in store.objects if name.startswith("meta/") and root.hex() not in name]
        name = _layout.meta(root) if what == "root" else pages[0]
        if lost:
            del store.objects[name]
        else:
            store.objects[name] = store.objects[name][:20] + b"??" + store.objects[name][22:]
    async with Repository.open(store, password=None, cache="") as repository:
        changed = ChangedBlocks([], since="1") if with_changes else None
        snapshot = await backup(repository, [disk.disk("a", change_id="2", changed=changed)], source="vm")
        assert await stored(repository, snapshot, "a") == disk.data
        entry = snapshot.disk("a")
        assert (entry.mode, entry.mistrusted, entry.root) == ("allocated", with_changes, root)
        assert (await repository.verify(2)).findings == ()


async def test_a_list_that_begins_elsewhere_is_not_used(repository: Repository) -> None:
    """Neither one of another state, nor one without a parent, nor when reading all is due."""
    disk = MemoryDisk(some_data(4))
    entry = disk.disk("a", change_id="1", changed=ChangedBlocks([], since="0"))
    for options in (BackupOptions(), BackupOptions(), BackupOptions(read_whole_every_s=-1)):
        snapshot = await backup(repository, [entry], source="vm", options=options)
        assert snapshot.disk("a").mode == "allocated"
        assert snapshot.disk("a").stats.read == disk.size
    usable = disk.disk("a", change_id="2", changed=ChangedBlocks([], since="1"))
    due = await backup(repository, [usable], source="vm", options=BackupOptions(read_whole_every_s=-1))
    assert due.disk("a").mode == "allocated"
    unusable = disk.disk("a", change_id="3", changed=ChangedBlocks([Block(0, disk.size + 1)], since="2"))
    with pytest.raises(BackupFailedError, match="outside a disk"):
        await backup(repository, [unusable], source="vm")


async def test_a_disk_that_fails_does_not_stop_the_others(repository: Repository) -> None:
    """The snapshot is partial, names the disk and why; all are closed."""

    async def fail(block: Block) -> None:
        if block.offset:
            raise OSError(5, "Input/output error", "bad.vmdk")

    good, bad = MemoryDisk(some_data(9)), MemoryDisk(some_data(99), before_read=fail)
    observer = Notes()
    snapshot = await backup(repository, [bad.disk("bad"), good.disk("good")], source="vm", observer=observer)
    assert snapshot.partial
    assert [(disk.key, "Input/output error" in disk.reason) for disk in snapshot.failed] == [("bad", True)]
    assert [disk.key for disk in snapshot.disks] == ["good"]
    assert await stored(repository, snapshot, "good") == good.data
    assert (bad.opened, bad.closed) == (1, 1)
    assert isinstance(observer.results["bad"], OSError)


async def test_if_no_disk_can_be_read_there_is_no_snapshot(repository: Repository) -> None:
    """The error has the reason of each."""

    async def fail(_: Block) -> None:
        raise OSError(5, "Input/output error", "bad.vmdk")

    with pytest.raises(BackupFailedError, match=r"a: .*Input/output error") as caught:
        await backup(repository, [MemoryDisk(some_data(1), before_read=fail).disk("a")], source="vm")
    assert list(caught.value.errors) == ["a"]
    assert await repository.snapshots() == []


@pytest.mark.parametrize(("keys", "reason"), [([], "no disk"), (["a", "b", "a"], "several disks have the key 'a'")])
async def test_bad_lists_of_disks_are_refused(repository: Repository, keys: list[str], reason: str) -> None:
    """Before anything is opened."""
    disk = MemoryDisk(some_data(1))
    with pytest.raises(ValueError, match=reason):
        await backup(repository, [disk.disk(key) for key in keys], source="vm")
    assert disk.opened == 0


async def test_no_more_disks_are_open_at_once_than_allowed(repository: Repository) -> None:
    """In all, and of one host; who waits for a host keeps no other from running."""
    disks = {f"{number // 6}-{number}": MemoryDisk(some_data(1)) for number in range(12)}
    most = {"0": 0, "1": 0, "": 0}

    async def count(_: Block) -> None:
        for host, before in most.items():
            now = sum(disk.opened - disk.closed for key, disk in disks.items() if key.startswith(host))
            most[host] = max(before, now)
        await asyncio.sleep(0)

    for disk in disks.values():
        disk.before_read = count
    wanted = [disk.disk(key, host=key[0]) for key, disk in disks.items()]
    await backup(repository, wanted, source="vm", limits=BackupLimits(jobs=3, jobs_per_host=2))
    assert most["0"] <= 2
    assert most["1"] <= 2
    assert most[""] <= 3


async def test_memory_has_a_limit_whatever_the_number_of_disks_and_backups(repository: Repository) -> None:
    """With room for one piece, one piece of all disks of all backups is on its way at a time."""
    under_way = 0

    async def count(_: Block) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await asyncio.sleep(0)
        under_way -= 1

    limits = BackupLimits(jobs=6, memory_limit=1)
    disks = [MemoryDisk(some_data(40), before_read=count) for _ in range(6)]
    found = [disk.disk(str(n)) for n, disk in enumerate(disks)]
    snapshots = await asyncio.gather(
        backup(repository, found[:3], source="one", limits=limits),
        backup(repository, found[3:], source="two", limits=limits),
    )
    for number, disk in enumerate(disks):
        assert await stored(repository, snapshots[number // 3], str(number)) == disk.data


async def test_a_cancelled_backup_leaves_no_snapshot_and_closes_its_disks(repository: Repository) -> None:
    """And the next one stores nothing again that is there."""
    reached = asyncio.Event()

    async def stop(block: Block) -> None:
        if block.offset >= 64 * CHUNK:
            reached.set()
            await asyncio.Event().wait()

    disk = MemoryDisk(some_data(80), before_read=stop)
    task = asyncio.create_task(backup(repository, [disk.disk("a")], source="vm"))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (disk.opened, disk.closed) == (1, 1)
    assert await repository.snapshots() == []
    disk.before_read = None
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    stats = snapshot.disk("a").stats
    assert stats.known >= 16 * CHUNK
    assert stats.known + stats.new == disk.size
    assert await stored(repository, snapshot, "a") == disk.data


async def test_what_the_store_raises_ends_the_backup_and_is_no_disks_fault() -> None:
    """The error comes as it is; there is no snapshot, no disk is left open."""
    store = DictStore(local=True)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    room = Countdown(5, StoreError("no room"))
    disks = [MemoryDisk(some_data(20)) for _ in range(2)]
    async with Repository.open(store, password=None, cache="") as repository:
        store.before = lambda operation, name: room(operation, name) if name.startswith("chunks/") else None
        with pytest.raises(StoreError, match="no room"):
            await backup(repository, [disk.disk(str(n)) for n, disk in enumerate(disks)], source="vm")
        assert await repository.snapshots() == []
    assert all(disk.opened == disk.closed for disk in disks)


async def test_chunks_that_vanish_before_the_commit_are_read_again() -> None:
    """As when a check beside the backup puts a damaged one aside."""
    store = DictStore(local=True)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    disk = MemoryDisk(some_data(6))
    async with Repository.open(store, password=None, cache="") as repository:
        await backup(repository, [disk.disk("a")], source="vm")
        quarantined = []

        class Checker(Notes):
            """Lets a check find a damaged chunk when the disk is done."""

            def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
                """Damage and check."""
                super().ended(disk, result)
                store.objects[min(name for name in store.objects if name.startswith("chunks/"))] = b"damaged"
                quarantined.append(verify(repository._vault, level=1, subset=(1, 1), quarantine=True, wanted=None))

        notes = Checker()
        snapshot = await backup(repository, [disk.disk("a")], source="other", observer=notes)
        assert quarantined[0].quarantined == 1
        assert disk.opened == disk.closed == 3
        assert await stored(repository, snapshot, "a") == disk.data
        assert (await repository.verify(2)).findings == ()


async def test_killed_at_any_operation_of_the_store_nothing_is_lost() -> None:
    """Earlier snapshots are whole, the next backup succeeds, and what no snapshot uses is freed."""
    disk = MemoryDisk(some_data(3, 5))
    store = DictStore(local=True)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    async with Repository.open(store, password=None, cache="") as repository:
        first = await backup(repository, [disk.disk("a")], source="vm")
    old, before = bytes(disk.data), dict(store.objects)
    disk.data[CHUNK : 3 * CHUNK] = some_data(2)
    for operations in itertools.count():
        store = DictStore(local=True, objects=before)
        async with Repository.open(store, password=None, cache="") as repository:
            store.before = Countdown(operations)
            if not await is_killed(backup(repository, [disk.disk("a")], source="vm")):
                assert operations > 10
                break
            store.before = calm
        async with Repository.open(store, password=None, cache="") as repository:
            assert (await repository.verify(2)).findings == ()
            assert await stored(repository, first, "a") == old
            snapshot = await backup(repository, [disk.disk("a")], source="vm")
            assert await stored(repository, snapshot, "a") == disk.data
            assert (await repository.verify(2)).findings == ()
    assert disk.opened == disk.closed


async def is_killed(task: Coroutine[object, object, object]) -> bool:
    """Await; tell whether it ended by ``Killed``, alone or in a group."""
    try:
        await task
    except BaseException as error:
        if isinstance(error, Killed) or (isinstance(error, BaseExceptionGroup) and error.split(Killed)[1] is None):
            return True
        raise
    return False


async def test_buffers_are_used_again() -> None:
    """Memory is taken once."""
    buffers = Buffers(limit=8192)
    async with buffers.lend(4096) as first:
        pass
    async with buffers.lend(4096) as second, buffers.lend(4096) as third:
        assert second is first
        assert third is not first


async def test_buffers_of_other_sizes_do_not_add_up() -> None:
    """Free ones go when there would be more than the limit; within it they stay."""
    buffers = Buffers(limit=16384)
    async with buffers.lend(4096):
        pass
    async with buffers.lend(12288):
        assert held(buffers) == [4096]
    async with buffers.lend(8192):
        assert held(buffers) == []
    async with buffers.lend(8192), buffers.lend(8192):
        pass
    assert held(buffers) == [8192, 8192]


def held(buffers: Buffers) -> list[int]:
    """Return the sizes of the buffers that nobody uses."""
    return [len(buffer) for free in buffers._free.values() for buffer in free]


class Notes:
    """An observer that notes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.done: list[int] = []
        self.results: dict[str, DiskEntry | Exception] = {}
        self.size = 0

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Note."""
        del disk
        self.size = progress.size
        self.done.append(progress.bytes_done)

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Note."""
        del disk
        self.done.append(progress.bytes_done)

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Note."""
        self.results[disk.key] = result


async def test_an_observer_sees_the_bytes_grow_to_the_size(repository: Repository) -> None:
    """From what need not be read to all."""
    data = some_data(50, 77)
    data[: 10 * CHUNK] = bytes(10 * CHUNK)
    disk = MemoryDisk(data, allocated=[Block(10 * CHUNK, 40 * CHUNK + 77)])
    notes = Notes()
    await backup(repository, [disk.disk("a")], source="vm", observer=notes)
    assert notes.done[0] == 10 * CHUNK
    assert notes.done == sorted(notes.done)
    assert notes.done[-1] == notes.size == disk.size
