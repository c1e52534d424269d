"""What a collection frees, and what it must leave alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asyncvddk.repository import (
    ChunksLostError,
    DamagedError,
    Put,
    Repository,
    RepositoryBusyError,
    SessionLostError,
    SnapshotNotFoundError,
    StoreError,
)
from asyncvddk.repository.collection import _gc, _lock
from asyncvddk.repository.format import _layout
from tests.repository.faults import DictStore, unavailable
from tests.repository.helpers import SMALL, back_up, new_repository, opened, put_all, restored

if TYPE_CHECKING:
    from asyncvddk.repository import GcReport

pytestmark = pytest.mark.usefixtures("small_chunks")

ONE, TWO, THREE = (bytes([number]) * SMALL for number in (1, 2, 3))


def new_store() -> DictStore:
    """Return a store with an empty repository."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    return store


def chunks(store: DictStore) -> int:
    """Count the chunks."""
    return sum(name.startswith("chunks/") for name in store.objects)


async def collect(repository: Repository, runs: int = 1) -> GcReport:
    """Collect without waiting, and return the last report."""
    for _ in range(runs - 1):
        await repository.gc(grace_s=0, trash_s=0)
    return await repository.gc(grace_s=0, trash_s=0)


async def test_two_runs_free_what_only_forgotten_snapshots_use() -> None:
    """The first run plans, the second deletes; what other snapshots use stays; reports add up."""
    store = new_store()
    async with opened(store) as repository:
        first = await back_up(repository, ONE + TWO)
        second = await back_up(repository, TWO + THREE)
        await repository.forget([first])
        planned = await collect(repository)
        assert (planned.planned, planned.swept, planned.purged_snapshots) == (3, 0, 1)  # a chunk, a page, a root
        assert chunks(store) == 3
        swept = await collect(repository)
        assert (swept.swept, swept.freed, swept.planned) == (3, planned.planned_bytes, 0)
        assert chunks(store) == 2
        assert await restored(repository, second) == TWO + THREE


async def test_forgotten_snapshots_can_be_undeleted_until_they_are_purged() -> None:
    """The trash protects for days; ``undelete`` brings a snapshot back as it was."""
    store = new_store()
    async with opened(store) as repository:
        snapshot = await back_up(repository, ONE + TWO)
        await repository.forget([snapshot])
        assert await repository.snapshots() == []
        assert await repository.trash() == [snapshot]
        for _ in range(3):
            await repository.gc(grace_s=0)
        assert await repository.undelete(snapshot.id[:6]) == snapshot
        assert await repository.snapshots() == [snapshot]
        assert await restored(repository, snapshot) == ONE + TWO
        assert await repository.trash() == []
        await repository.forget([snapshot])
        await collect(repository)
        with pytest.raises(SnapshotNotFoundError, match="in the trash"):
            await repository.undelete(snapshot.id)


async def test_a_plan_is_left_alone_for_the_time_of_grace() -> None:
    """By default a day passes between plan and sweep; the report says how long it takes still."""
    store = new_store()
    async with opened(store) as repository:
        await repository.forget([await back_up(repository, ONE)])
        await repository.gc(trash_s=0)
        report = await repository.gc(trash_s=0)
        assert 86000 < report.waiting_s <= 86400
        assert report.planned == 4  # chunk, page, root, configuration
        assert chunks(store) == 1


async def test_an_orphan_that_is_used_again_after_the_plan_is_kept() -> None:
    """A session that began after the plan, and reuses what the plan names, keeps it first: the sweep spares it."""
    store = new_store()
    async with opened(store) as repository, opened(store) as collector:
        await repository.forget([await back_up(repository, ONE + TWO)])
        await collect(collector)
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
            assert disk.put(0, ONE) is Put.KNOWN
            report = await collect(collector)
            assert (report.swept, report.postponed) == (4, ())
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == ONE
        assert chunks(store) == 1


async def test_a_sweep_waits_for_sessions_that_did_not_say_what_they_keep() -> None:
    """A backup that runs since before the plan postpones the sweep until its next sign of life."""
    store = new_store()
    async with opened(store) as repository, opened(store) as collector:
        await repository.forget([await back_up(repository, ONE + TWO)])
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
            disk.put(0, ONE)
            await collect(collector)
            assert (await collect(collector)).postponed == (session.name,)
            assert chunks(store) == 2
            await session.heartbeat()
            assert (await collect(collector)).postponed == ()
            assert chunks(store) == 1
            assert await restored(repository, await session.commit()) == ONE


async def test_the_pinned_parent_outlives_its_snapshot() -> None:
    """A parent that is forgotten and purged while a backup inherits from it costs the backup nothing."""
    store = new_store()
    async with opened(store) as repository, opened(store) as collector:
        parent = await back_up(repository, ONE + TWO * 7)  # two pages
        async with repository.session("vm", parent=parent) as session:
            disk = await session.add_disk(key="1", name="disk", capacity=8 * SMALL, inherit=True)
            await collector.forget([parent])
            await collect(collector)
            await session.heartbeat()
            await collect(collector, 2)
            await session.heartbeat()
            disk.put(0, THREE)
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == THREE + TWO * 7


async def test_a_parent_that_is_gone_before_the_session_begins_is_refused() -> None:
    """Nothing can be built on a snapshot that was forgotten."""
    async with opened(new_store()) as repository:
        parent = await back_up(repository, ONE)
        await repository.forget([parent])
        with pytest.raises(SnapshotNotFoundError, match=parent.id):
            async with repository.session("vm", parent=parent):
                pytest.fail("the block must not begin")


async def test_a_session_that_was_silent_for_too_long_cannot_commit() -> None:
    """Removed by a collection, it learns so before it commits: what it stored may be gone."""
    async with opened(new_store()) as repository, opened(repository._vault.store) as collector:
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
            disk.put(0, ONE)
            report = await collector.gc(grace_s=0, session_expiry_s=-1)
            assert report.expired_sessions == 1
            with pytest.raises(SessionLostError, match="start the backup again"):
                await session.heartbeat()
            with pytest.raises(SessionLostError):
                await session.commit()
        assert await repository.snapshots() == []


async def test_a_session_removed_at_the_moment_of_its_commit_takes_the_snapshot_back() -> None:
    """Between the last look at the session and the snapshot there is a gap; a second look closes it."""
    store = new_store()
    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
        disk.put(0, ONE)

        def remove(operation: str, name: str) -> None:
            if operation == "create" and name.startswith("snapshots/"):
                store.objects.pop(_layout.pin(session.name))

        store.after = remove
        with pytest.raises(SessionLostError):
            await session.commit()
        assert await repository.snapshots() == []


async def test_chunks_that_vanished_under_a_session_are_named_and_put_again() -> None:
    """A check that quarantines a chunk in use is noticed at the commit; the chunk is put again, and all is well."""
    store = new_store()
    async with opened(store) as repository, opened(store) as other:
        await back_up(repository, TWO)
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=2 * SMALL)
            assert put_all(disk, ONE + TWO) == [Put.NEW, Put.KNOWN]
            name = next(name for name in store.objects if name.startswith("chunks/") and store.objects[name])
            two = _layout.chunk(repository._vault.keys.chunk_id(TWO))
            store.objects[two] = b"damaged"
            assert (await other.verify(1, quarantine=True)).quarantined == 1
            assert name
            with pytest.raises(ChunksLostError, match="1 of disk 1") as caught:
                await session.commit()
            assert caught.value.chunks == {"1": [1]}
            assert disk.put(1, TWO) is Put.NEW
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == ONE + TWO


async def test_a_sweep_whose_collector_died_is_finished_by_the_next_session() -> None:
    """A backup that meets the flag of a dead collector does not wait for ever: it takes the matter up itself."""
    store = new_store()
    async with opened(store) as repository:
        await repository.forget([await back_up(repository, ONE + TWO)])
        await collect(repository)
        store.objects[_layout.collection(1, "sweep")] = b""
        async with repository.session("vm") as session:
            assert _layout.collection(1, "sweep") not in store.objects
            disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
            disk.put(0, ONE)
            assert await restored(repository, await session.commit()) == ONE


async def test_a_session_waits_for_a_sweep_under_way() -> None:
    """What it wants to use may be deleted at that moment: it looks when the sweep is over, and stores it anew."""
    store = new_store()
    async with opened(store) as repository, opened(store) as collector:
        await repository.forget([await back_up(repository, ONE + TWO)])
        await collect(collector)
        waits: list[float] = []
        with _lock.locked(collector._vault) as lock:
            store.objects[_layout.collection(1, "sweep")] = b""

            def pause(seconds: float) -> None:
                waits.append(seconds)
                store.objects.pop(_layout.pin(session.name))  # as if it had begun after the sweep had looked
                _gc.sweep(collector._vault, lock, 1)
                store.objects[_layout.pin(session.name)] = b"here"

            repository._vault.pause = pause
            session = repository.session("vm")
            async with session:
                assert waits == [1.0]
                disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
                assert disk.put(0, ONE) is Put.NEW
                assert await restored(repository, await session.commit()) == ONE


async def test_collections_of_two_machines_do_not_run_at_once() -> None:
    """The second one is refused and says so; a dead one's lock expires."""
    store = new_store()
    async with opened(store) as repository:
        with _lock.locked(repository._vault), pytest.raises(RepositoryBusyError, match="another collection"):
            await repository.gc()
        stale = _layout.lock(_layout.new_id(), repository._vault.clock() - _lock.EXPIRY_S - 1)
        store.objects[stale] = b""
        await repository.gc()
        assert not [name for name in store.objects if name.startswith("gc/lock")]


async def test_a_collector_that_lost_its_lock_deletes_nothing_more() -> None:
    """After a long sleep it finds that another one took its place."""
    async with opened(new_store()) as repository:
        vault = repository._vault
        with _lock.locked(vault) as lock:
            vault.store.delete([item.name for item in vault.store.list(_layout.LOCK)])
            with pytest.raises(RepositoryBusyError, match="took its place"):
                lock.confirm(at_once=True)


@pytest.mark.parametrize("kind", ["snapshots", "meta", "sessions"])
async def test_a_collection_that_cannot_tell_what_is_used_deletes_nothing(kind: str) -> None:
    """With a damaged snapshot, index or session nobody knows what is in use: the error names the object."""
    store = new_store()
    async with opened(store) as repository:
        await repository.forget([await back_up(repository, ONE)])
        snapshot = await back_up(repository, TWO + ONE)
        await collect(repository)
        async with repository.session("vm"):
            root = _layout.meta(snapshot.disks[0].root)
            damaged = next(name for name in [root, *store.objects] if name.startswith(kind) and store.objects[name])
            store.objects[damaged] = store.objects[damaged][:-20] + b"?" * 20
            before = chunks(store)
            with pytest.raises(DamagedError, match=damaged):
                await repository.gc(grace_s=0, trash_s=0)
            assert chunks(store) == before


async def test_a_damaged_snapshot_can_be_forgotten_by_its_id() -> None:
    """It stops collections; removed by hand, it does no more."""
    store = new_store()
    async with opened(store) as repository:
        good, bad = await back_up(repository, ONE), await back_up(repository, TWO)
        name = next(name for name in store.objects if bad.id in name)
        store.objects[name] = b"nonsense"
        with pytest.raises(DamagedError, match=bad.id):
            await repository.gc()
        with pytest.raises(ValueError, match="usual way"):
            await repository.forget_damaged(good.id)
        await repository.forget_damaged(bad.id)
        await collect(repository, 2)
        assert await repository.snapshots() == [good]


async def test_lists_of_what_was_deleted_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones stay, for tables of known chunks on other machines; older ones go."""
    monkeypatch.setattr(_gc, "_DONE_LISTS", 2)
    store = new_store()
    async with opened(store) as repository:
        for number in range(5):
            await repository.forget([await back_up(repository, bytes([number + 1]) * SMALL)])
            await collect(repository, 2)
        done = sorted(name for name in store.objects if name.endswith("/done"))
        assert [name.split("/")[1].lstrip("0") for name in done] == ["4", "5"]
        assert not [name for name in store.objects if name.startswith("gc/") and not name.endswith("/done")]


async def test_threads_that_store_an_index_finish_a_dead_sweep_without_waiting_for_each_other() -> None:
    """The sweep needs threads itself; all of the repository's may be waiting for its end just then."""
    store = new_store()
    data = b"".join(bytes([1, number]) * (SMALL // 2) for number in range(40))  # ten pages
    async with Repository.open(store, password=None, cache="", threads=2) as repository:
        async with repository.session("vm") as session:  # given up: chunks and pages are orphans
            disk = await session.add_disk(key="1", name="disk", capacity=len(data))
            put_all(disk, data)
            await asyncio.to_thread(disk.finish)
        async with opened(store) as collector:
            await collect(collector)
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=len(data))
            put_all(disk, data)
            await session.heartbeat()
            store.create("gc/000000000001/sweep", b"")  # a collection that lost its network there
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == data


async def test_a_sweep_stops_at_once_when_its_place_is_taken() -> None:
    """The lock is looked at before each batch: a second collection may be done before a minute is over."""
    store = new_store()
    async with opened(store) as repository, opened(store) as collector:
        await repository.forget([await back_up(repository, ONE + TWO + THREE)])
        await collect(collector)

        def before(operation: str, name: str) -> None:
            if operation == "delete" and name.startswith("chunks/"):
                for lock in [one for one in store.objects if one.startswith("gc/lock/")]:
                    del store.objects[lock]

        store.before = before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_gc, "_BATCH", 1)
            with pytest.raises(RepositoryBusyError):
                await collect(collector)
    assert chunks(store) == 2


async def test_a_lock_whose_second_look_fails_is_given_back() -> None:
    """A store that does not answer once must not stop collections for hours."""
    store = new_store()
    async with opened(store) as collector:
        looks = 0

        def before(operation: str, name: str) -> None:
            nonlocal looks
            if (operation, name) == ("list", _layout.LOCK):
                looks += 1
                if looks == 2:
                    raise unavailable(name)

        store.before = before
        with pytest.raises(StoreError):
            await collect(collector)
        await collect(collector)
