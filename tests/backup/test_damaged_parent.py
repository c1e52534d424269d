"""Whatever is damaged of the snapshot that a backup begins from: the backup is made, and can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog.testing

from asyncvddk.backup import ChangedBlocks, backup, find_parent
from asyncvddk.repository import Repository
from tests.backup.fakes import MemoryDisk
from tests.backup.test_backup import CHUNK, some_data, stored
from tests.repository.faults import DictStore
from tests.repository.helpers import CHEAP, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


def opened(store: DictStore) -> AbstractAsyncContextManager[Repository]:
    """Return the repository as a process sees it that has just begun."""
    return Repository.open(store, password=PASSWORD, cache="")


def flip(objects: dict[str, bytes], names: list[str]) -> None:
    """Change a bit in the middle of each."""
    for name in names:
        data = bytearray(objects[name])
        data[len(data) // 2] ^= 1
        objects[name] = bytes(data)


def lose(objects: dict[str, bytes], names: list[str]) -> None:
    """Remove all."""
    for name in names:
        del objects[name]


def exchange(objects: dict[str, bytes], names: list[str]) -> None:
    """Put each in the place of another one: all are whole, and none is what its name says."""
    contents = [objects[name] for name in names]
    objects |= zip(names, [*contents[1:], contents[0]], strict=True)


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
@pytest.mark.parametrize("damage", [flip, lose, exchange])
@pytest.mark.parametrize("with_changes", [True, False])
async def test_an_index_of_which_all_is_damaged_is_made_anew(
    damage: Callable[[dict[str, bytes], list[str]], None], *, local: bool, with_changes: bool
) -> None:
    """Of a root that cannot be read nobody knows the pages; the new snapshot relies on none of them unseen."""
    store = DictStore(local=local)
    await Repository.init(store, password=PASSWORD, chunk_size=CHUNK, cost=CHEAP)
    disks = {key: MemoryDisk(some_data(5, number)) for number, key in enumerate("ab", 1)}
    async with opened(store) as repository:
        whole = [disk.disk(key, change_id="1") for key, disk in disks.items()]
        first = await backup(repository, whole, source="vm")
    damage(store.objects, [name for name in store.objects if name.startswith("meta/")])
    changed = ChangedBlocks([], since="1") if with_changes else None
    async with opened(store) as repository:
        with structlog.testing.capture_logs() as logs:
            again = [disk.disk(key, change_id="2", changed=changed) for key, disk in disks.items()]
            snapshot = await backup(repository, again, source="vm")
        told = {log["event"] for log in logs if log["log_level"] == "warning"}
        assert told == ({"changes_mistrusted", "parent_damaged"} if with_changes else {"parent_damaged"})
        for key, disk in disks.items():
            assert snapshot.disk(key).mode == "allocated"
            assert await stored(repository, snapshot, key) == disk.data
            assert await stored(repository, first, key) == disk.data
        assert (await repository.verify(2)).findings == ()


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_a_snapshot_that_cannot_be_read_is_no_parent(*, local: bool) -> None:
    """Nobody knows what its disks were: they are read anew, and stored only where they are new."""
    store = DictStore(local=local)
    await Repository.init(store, password=PASSWORD, chunk_size=CHUNK, cost=CHEAP)
    disk = MemoryDisk(some_data(5, 1))
    async with opened(store) as repository:
        await backup(repository, [disk.disk("a", change_id="1")], source="vm")
    flip(store.objects, [name for name in store.objects if name.startswith("snapshots/")])
    async with opened(store) as repository:
        with structlog.testing.capture_logs() as logs:
            assert await find_parent(repository, "vm") is None
        assert [(log["event"], log["source"]) for log in logs] == [("parent_damaged", "vm")]
        changed = ChangedBlocks([], since="1")
        snapshot = await backup(repository, [disk.disk("a", change_id="2", changed=changed)], source="vm")
        assert (snapshot.parent, snapshot.disk("a").mode, snapshot.disk("a").stats.new) == (None, "allocated", 0)
        assert await stored(repository, snapshot, "a") == disk.data
