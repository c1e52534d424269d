"""A backup that is interrupted, in whatever way, is gone on with: nothing is read or stored twice without need."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asyncvddk.backup import BackupOptions, _state, backup, find_disks, raw_disk
from asyncvddk.models import Block
from asyncvddk.repository import Repository, Session, StoreError
from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._manifests import Checkpoint
from tests.backup.fakes import MemoryDisk
from tests.backup.test_backup import some_data, stored
from tests.repository.faults import Countdown, DictStore, Killed, calm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from asyncvddk import Vddk

CHUNK = 1 << 18
OFTEN = BackupOptions(checkpoint_every_s=0.0)
"""A checkpoint after the other."""


def opened(store: DictStore, cache: Path | str = "") -> AbstractAsyncContextManager[Repository]:
    """Return the repository as a new process sees it."""
    return Repository.open(store, password=None, cache=cache)


async def new_store(*, local: bool) -> DictStore:
    """Return a store with an empty repository."""
    store = DictStore(local=local)
    await Repository.init(store, password=None, chunk_size=CHUNK)
    return store


def covered(repository: Repository) -> int:
    """Return how many chunks of the disk the newest checkpoint has; 0 without one."""
    vault = repository._vault
    live = [session for session in _sessions.list_sessions(vault.store) if session.checkpoint]
    if not live:
        return 0
    newest = max(live, key=_sessions.LiveSession.heard)
    part = vault.get_manifest(Kind.SESSION, _layout.part(newest.session, newest.checkpoint), Checkpoint)
    bits = [np.unpackbits(np.frombuffer(disk.covered, np.uint8)).sum() for disk in part.disks]
    return int(sum(bits))


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_killed_anywhere_the_next_one_reads_and_stores_only_the_rest(tmp_path: Path, *, local: bool) -> None:
    """At each operation of the store: what a checkpoint has is not read again, and what is stored not stored again."""
    data = some_data(40, 17)
    operations, most, all_operations = 0, 0, 10**6
    while operations < all_operations:
        store = await new_store(local=local)
        disk = MemoryDisk(data, state="as it was")
        store.before = countdown = Countdown(operations)
        try:
            async with opened(store, tmp_path / str(operations)) as repository:
                with noting(repository) as noted:
                    disk.before_read = lambda block, noted=noted: noted.wait() if block.offset else ready()
                    await backup(repository, [disk.disk("a")], source="vm", options=OFTEN)
            all_operations = operations
        except (Killed, BaseExceptionGroup):
            assert countdown.reached
        store.before, disk.before_read = calm, None
        there = {name for name in store.objects if name.startswith("chunks/")}
        creations: list[tuple[str, str]] = []
        async with opened(store, tmp_path / str(operations)) as repository:
            before = covered(repository)
            most = max(most, before)
            disk.reads.clear()
            store.before = lambda operation, name, seen=creations: seen.append((operation, name))  # type: ignore[misc]
            snapshot = await backup(repository, [disk.disk("a")], source="vm")
            store.before = calm
            assert await stored(repository, snapshot, "a") == data
            if operations < all_operations:
                assert sum(block.length for block in disk.reads) <= (41 - before) * CHUNK
                assert snapshot.disk("a").stats.resumed >= (before - 1) * CHUNK
        assert not {name for operation, name in creations if operation == "create"} & there
        assert not [name for name in store.objects if "/part-" in name]
        operations += 5
    assert most >= 16


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    """Return a repository with small chunks."""
    await Repository.init(tmp_path / "repository", password=None, chunk_size=CHUNK)
    async with Repository.open(tmp_path / "repository", password=None, cache="") as found:
        yield found


@contextmanager
def noting(repository: Repository) -> Iterator[asyncio.Event]:
    """Yield what is set when a checkpoint has some of the disk."""
    noted = asyncio.Event()
    checkpoint = Session.checkpoint

    async def watched(session: Session) -> None:
        await checkpoint(session)
        if covered(repository):
            noted.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "checkpoint", watched)
        yield noted


async def ready() -> None:
    """Let a read go on."""


async def interrupt(repository: Repository, disk: MemoryDisk) -> int:
    """Cancel a backup in its middle, after a checkpoint; return how many chunks it noted."""
    half = asyncio.Event()

    async def note(block: Block) -> None:
        if block.offset >= disk.size // 2:
            half.set()
            await asyncio.Event().wait()

    disk.before_read = note
    with noting(repository) as noted:
        task = asyncio.create_task(backup(repository, [disk.disk("a")], source="vm", options=OFTEN))
        await half.wait()
        await noted.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    disk.before_read = None
    disk.reads.clear()
    return covered(repository)


async def test_after_a_cancellation_only_a_checkpoint_stays_and_outlives_collections(repository: Repository) -> None:
    """It stops no sweep, keeps what it needs from it, and the next backup reads what is left."""
    disk = MemoryDisk(some_data(40), state="1")
    done = await interrupt(repository, disk)
    assert done >= 16
    left = [item.name for item in repository._vault.store.list("sessions")]
    assert len(left) == 1
    assert "/part-" in left[0]
    for _ in range(3):
        report = await repository.gc(grace_s=0, trash_s=0)
        assert not report.postponed
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    assert sum(block.length for block in disk.reads) == (40 - done) * CHUNK
    assert snapshot.disk("a").stats.resumed == done * CHUNK
    assert await stored(repository, snapshot, "a") == disk.data
    assert not list(repository._vault.store.list("sessions"))


@pytest.mark.parametrize("change", ["state", "source", "no state"])
async def test_another_state_or_source_begins_anew(repository: Repository, change: str) -> None:
    """What was read of other content is of no use."""
    disk = MemoryDisk(some_data(40), state="1")
    await interrupt(repository, disk)
    disk.data[:] = some_data(40)
    disk.state = {"state": "2", "source": "1", "no state": None}[change]
    snapshot = await backup(repository, [disk.disk("a")], source="other" if change == "source" else "vm")
    assert snapshot.disk("a").stats.resumed == 0
    assert await stored(repository, snapshot, "a") == disk.data


async def test_what_is_not_allocated_any_more_is_not_taken(repository: Repository) -> None:
    """Neither is what a list of changes lets the parent give: the plan decides, the checkpoint only saves reads."""
    disk = MemoryDisk(some_data(40), state="1")
    await interrupt(repository, disk)
    disk.data[: 2 * CHUNK] = bytes(2 * CHUNK)
    disk.allocated = [Block(2 * CHUNK, 38 * CHUNK)]
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    assert await stored(repository, snapshot, "a") == disk.data


async def test_a_damaged_checkpoint_costs_time_and_nothing_else(repository: Repository) -> None:
    """Its index is gone: all is read, and the log says why."""
    disk = MemoryDisk(some_data(40), state="1")
    await interrupt(repository, disk)
    store = repository._vault.store
    store.delete([item.name for item in store.list("meta")])
    snapshot = await backup(repository, [disk.disk("a")], source="vm")
    assert await stored(repository, snapshot, "a") == disk.data
    assert snapshot.disk("a").stats.read == disk.size


async def test_a_checkpoint_expires(repository: Repository) -> None:
    """As a silent session does; then its chunks are collected."""
    await interrupt(repository, MemoryDisk(some_data(40), state="1"))
    await repository.gc(grace_s=0, session_expiry_s=-10)
    await repository.gc(grace_s=0, session_expiry_s=-10)
    assert not [item.name for item in repository._vault.store.list("") if item.name.startswith(("sessions", "chunks"))]


async def test_a_checkpoint_that_cannot_be_stored_does_not_end_the_backup() -> None:
    """It is tried again, and the log says so."""
    store = await new_store(local=True)

    def refuse(operation: str, name: str) -> None:
        if operation == "create" and "/part-" in name:
            raise StoreError("no space left")

    store.before = refuse
    disk = MemoryDisk(some_data(40), state="1")
    async with opened(store) as repository:
        snapshot = await backup(repository, [disk.disk("a")], source="vm", options=OFTEN)
        assert await stored(repository, snapshot, "a") == disk.data


async def test_a_backup_without_checkpoints_leaves_nothing(repository: Repository) -> None:
    """One that is cancelled before its first checkpoint is not worth one."""
    disk = MemoryDisk(some_data(40), state="1")
    begun = asyncio.Event()

    async def block(_: Block) -> None:
        begun.set()
        await asyncio.Event().wait()

    disk.before_read = block
    task = asyncio.create_task(backup(repository, [disk.disk("a")], source="vm"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list(repository._vault.store.list("sessions"))


def test_the_state_of_a_file_changes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written to, replaced, gone, or changed so lately that its times would not tell: another name, or none."""
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1000))
    state = raw_disk(path).state
    assert state is not None
    assert state() is None, "just changed"
    monkeypatch.setattr(_state, "RACY_S", 0)
    first = state()
    assert first is not None
    assert state() == first
    os.utime(path, ns=(1, 1))
    assert state() not in {first, None}
    path.unlink()
    assert state() is None


async def test_the_state_of_a_vmdk_is_that_of_all_its_files(
    vddk: Vddk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its extents and its parents, too."""
    from asyncvddk import CreateParams, DiskType  # noqa: PLC0415

    monkeypatch.setattr(_state, "RACY_S", 0)
    parent, child = tmp_path / "parent.vmdk", tmp_path / "child.vmdk"
    async with vddk.connect() as connection:
        await connection.create(str(parent), CreateParams(size=1 << 20, disk_type=DiskType.SPLIT_SPARSE))
        async with connection.open(str(parent)) as disk:
            await disk.create_child(str(child))
    (found,) = [one for one in find_disks(vddk, [child]) if one.key == str(child)]
    assert found.state is not None
    before = found.state()
    extent = next(path for path in tmp_path.iterdir() if path.name.startswith("parent-s"))
    os.utime(extent, ns=(1, 1))
    assert found.state() not in {before, None}
