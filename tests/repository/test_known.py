"""The table of known chunks saves work and never claims what the store does not have."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from asyncvddk.errors import ClosedError
from asyncvddk.repository import Put, Repository, SessionLostError, StoreError
from tests.repository.faults import DictStore, calm
from tests.repository.helpers import SMALL, back_up, new_repository, opened, put_all, restored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("small_chunks")

ONE, TWO = (bytes([number]) * SMALL for number in (1, 2))


@asynccontextmanager
async def cached(store: DictStore, cache: Path) -> AsyncIterator[Repository]:
    """Open a repository with a table in a folder."""
    async with Repository.open(store, password=None, cache=cache, threads=1) as repository:
        yield repository


async def put_again(repository: Repository, data: bytes) -> Put:
    """Back one chunk up without a parent, and return what became of it; the snapshot must read back."""
    async with repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
        put = disk.put(0, data)
        snapshot = await session.commit()
    assert await restored(repository, snapshot) == data
    return put


def uploads(store: DictStore) -> list[str]:
    """Return the list to which each chunk sent to the store is added from now on."""
    sent: list[str] = []
    store.before = lambda operation, name: sent.append(name) if (operation, name[:7]) == ("create", "chunks/") else None
    return sent


async def test_what_the_store_has_is_not_sent_again(tmp_path: Path) -> None:
    """Another process, with the table of the first one or with a new one, sends nothing."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path / "a") as repository:
        assert await put_again(repository, ONE) is Put.NEW
    sent = uploads(store)
    for cache in ("a", "b"):
        async with cached(store, tmp_path / cache) as repository:
            assert await put_again(repository, ONE) is Put.KNOWN
    assert sent == []


async def test_what_a_collection_deleted_is_not_known_any_more(tmp_path: Path) -> None:
    """Deleted from another machine: this one reads the lists before it believes its table."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as repository:
        first = await back_up(repository, ONE)
        await back_up(repository, TWO)  # the table looks whether the last ones are there
    async with opened(store) as other:
        await other.forget([first])
        for _ in range(2):
            await other.gc(grace_s=0, trash_s=0)
    assert len([name for name in store.objects if name.startswith("chunks/")]) == 1
    async with cached(store, tmp_path) as repository:
        assert await put_again(repository, ONE) is Put.NEW


async def test_deleted_while_a_session_runs_is_not_known_either(tmp_path: Path) -> None:
    """Plan and sweep come and go during a session: its table follows."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as repository, opened(store) as other:
        await repository.forget([await back_up(repository, ONE)])
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
            await other.gc(grace_s=0, trash_s=0)
            await session.heartbeat()
            await other.gc(grace_s=0, trash_s=0)
            await session.heartbeat()
            assert disk.put(0, ONE) is Put.NEW
            assert await restored(repository, await session.commit()) == ONE


async def test_an_older_copy_of_the_store_is_noticed(tmp_path: Path) -> None:
    """Somebody restores the store itself from a backup: the table is made anew."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    older = dict(store.objects)
    async with cached(store, tmp_path) as repository:
        await back_up(repository, ONE)
    store.objects = older
    async with cached(store, tmp_path) as repository:
        assert await put_again(repository, ONE) is Put.NEW


async def test_lists_that_are_gone_make_the_table_worthless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was away for too many collections starts anew."""
    monkeypatch.setattr("asyncvddk.repository.collection._gc._DONE_LISTS", 1)
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as repository:
        gone = [await back_up(repository, ONE)]
        await back_up(repository, TWO)  # the table looks whether the last ones are there
    async with opened(store) as other:
        for data in (b"a", b"b", b"c"):
            await other.forget(gone)
            for _ in range(2):
                await other.gc(grace_s=0, trash_s=0)
            gone = [await back_up(other, data)]
    async with cached(store, tmp_path) as repository:
        assert await put_again(repository, ONE) is Put.NEW


async def test_what_was_not_synced_is_not_remembered(tmp_path: Path) -> None:
    """When the store cannot bring chunks to stable storage, the next session does not rely on them."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)

    def fail(operation: str, name: str) -> None:
        del name
        if operation == "sync":
            raise StoreError("no sync")

    async with cached(store, tmp_path) as repository:
        store.before = fail
        with pytest.raises(StoreError, match="no sync"):
            await back_up(repository, ONE)
        store.before = calm
        store.objects = {name: data for name, data in store.objects.items() if not name.startswith("chunks/")}
        assert await put_again(repository, ONE) is Put.NEW


@pytest.mark.parametrize("damage", ["garbage", "read-only folder"])
async def test_a_table_that_cannot_be_used_costs_no_backup(tmp_path: Path, damage: str) -> None:
    """A damaged or impossible file is replaced by memory."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    cache = tmp_path / "cache"
    async with cached(store, cache) as repository:
        await back_up(repository, ONE)
    (file,) = cache.glob("*.sqlite")
    if damage == "garbage":
        file.write_bytes(b"garbage" * 1000)
    else:
        file.unlink()
        file.mkdir()
    async with cached(store, cache) as repository:
        assert await put_again(repository, TWO) is Put.NEW
        assert await put_again(repository, TWO) is Put.KNOWN


async def test_two_programs_use_one_table_at_once(tmp_path: Path) -> None:
    """Both write to it, neither waits for the other's backup to end."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with (
        cached(store, tmp_path) as one,
        cached(store, tmp_path) as two,
        one.session("a") as first,
        two.session("b") as second,
    ):
        disks = [await session.add_disk(key="1", name="disk", capacity=SMALL) for session in (first, second)]
        assert [disk.put(0, data) for disk, data in zip(disks, (ONE, TWO), strict=True)] == [Put.NEW, Put.NEW]
        await second.commit()
        await first.commit()
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as base:
        assert base.execute("SELECT count(*) FROM known").fetchone() == (2,)
    base.close()


async def test_two_processes_that_share_a_table_both_learn_of_collections(tmp_path: Path) -> None:
    """What one of them has read of the lists, the other one still has to forget in its memory."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as one, cached(store, tmp_path) as two:
        async with one.session("vm") as session:  # given up: what it stored is an orphan that ``one`` remembers
            (await session.add_disk(key="1", name="disk", capacity=SMALL)).put(0, ONE)
        for _ in range(2):
            await two.gc(grace_s=0, trash_s=0)
        assert not any(name.startswith("chunks/") for name in store.objects)
        assert await put_again(two, TWO) is Put.NEW  # has read the list, and noted so in the table
        assert await put_again(one, ONE) is Put.NEW


async def test_what_a_lost_session_stored_does_not_enter_a_table_that_is_ahead(tmp_path: Path) -> None:
    """A session slept until a collection took what it had stored, and another process has noted that in the table."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as one, cached(store, tmp_path) as two:
        keys = one._vault.keys
        *others, orphan = sorted((bytes([number]) * SMALL for number in range(10, 40)), key=keys.chunk_id)
        async with one.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=30 * SMALL)
            put_all(disk, b"".join([*others, orphan]))
            await back_up(two, b"".join(others))  # so that those at which the table looks are there
            for _ in range(2):
                await two.gc(grace_s=0, trash_s=0, session_expiry_s=0)
            assert await put_again(two, TWO) is Put.NEW
            with pytest.raises(SessionLostError):
                await session.commit()
        assert await put_again(two, orphan) is Put.NEW


async def test_closing_ends_the_table_and_leaves_its_file(tmp_path: Path) -> None:
    """A late look at a closed table says so; it does not take the file for broken."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with cached(store, tmp_path) as repository:
        known = repository._known
        await back_up(repository, ONE)
    with pytest.raises(ClosedError):
        assert bytes(32) in known
    assert list(tmp_path.glob("known-*.sqlite"))
