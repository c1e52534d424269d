"""What goes into a repository comes out of it, bit for bit, whatever the store, the password and the chunk size."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from asyncvddk.models import Block
from asyncvddk.repository import (
    Put,
    Repository,
    RepositoryError,
    RepositoryExistsError,
    RepositoryNotFoundError,
    SnapshotNotFoundError,
)
from tests.repository.faults import DictStore, calm
from tests.repository.helpers import (
    CHEAP,
    CHUNK,
    PASSWORD,
    back_up,
    changed,
    content,
    new_repository,
    opened,
    put_all,
    restored,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_repository import Place


@pytest.mark.parametrize("password", [None, PASSWORD])
async def test_every_generation_comes_back_bit_for_bit(place: Place, password: str | None) -> None:
    """Three generations of two disks, through every store, are what was put; a new process reads them."""
    await Repository.init(place.url, password=password, chunk_size=CHUNK, cost=CHEAP, options=place.options)
    first = [content(seed, 5 * CHUNK + 1000 * seed) for seed in (1, 2)]
    made = []
    async with Repository.open(place.url, password=password, options=place.options, cache="") as repository:
        parents: list[object] = [None, None]
        for generation in range(3):
            for number, start in enumerate(first):
                data = changed(start, generation) if generation else start
                snapshot = await back_up(repository, data, source=f"vm-{number}", parent=parents[number])  # type: ignore[arg-type]
                parents[number] = snapshot
                made.append((snapshot, data))
    async with Repository.open(place.url, password=password, options=place.options, read_only=True) as repository:
        assert await repository.snapshots() == [snapshot for snapshot, _ in made]
        for snapshot, data in made:
            assert await restored(repository, snapshot) == data
            assert snapshot.config
            assert await repository.blob(snapshot.config) == b"configuration of "
        report = await repository.verify(2)
        assert not report.findings
        assert report.snapshots == 6


@pytest.mark.parametrize("chunk_size", [1 << 18, 1 << 20, 1 << 22])
async def test_a_capacity_that_is_no_multiple_of_a_chunk_comes_back(chunk_size: int) -> None:
    """A disk may end anywhere: one byte into a chunk, or one byte before its end."""
    store = DictStore()
    new_repository(store, PASSWORD, chunk_size=chunk_size)
    async with opened(store, PASSWORD) as repository:
        for size in (1, 512, chunk_size - 1, chunk_size, chunk_size + 1, 3 * chunk_size - 512):
            data = random.Random(size).randbytes(size)
            assert await restored(repository, await back_up(repository, data)) == data


async def test_what_is_known_is_stored_once_and_zeros_never() -> None:
    """A chunk is stored when it is first seen; its second place, the next backup and zeros cost nothing."""
    store = DictStore()
    new_repository(store, PASSWORD)
    one, two = (random.Random(seed).randbytes(CHUNK) for seed in (1, 2))
    async with opened(store, PASSWORD) as repository:
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=4 * CHUNK)
            assert put_all(disk, one + one + bytes(CHUNK) + two) == [Put.NEW, Put.KNOWN, Put.ZERO, Put.NEW]
            first = await session.commit()
        async with repository.session("vm", parent=first) as session:
            disk = await session.add_disk(key="1", name="disk", capacity=4 * CHUNK)
            assert put_all(disk, one + two + bytes(CHUNK) + two) == [Put.SAME, Put.KNOWN, Put.ZERO, Put.SAME]
            stats = (await session.commit()).disks[0].stats
        assert (stats.read, stats.same, stats.known, stats.zero, stats.new, stats.stored) == (
            4 * CHUNK,
            2 * CHUNK,
            CHUNK,
            CHUNK,
            0,
            0,
        )
        assert (await repository.stats()).chunks == 2


async def test_equal_disks_have_equal_roots_and_share_all_pages() -> None:
    """The root is a digest of the disk: whoever backs up the same bytes gets it, and stores nothing."""
    store = DictStore()
    new_repository(store)
    data = content(1, 11 * CHUNK + 5)
    async with opened(store) as repository:
        first = await back_up(repository, data, source="one")
        before = {name for name in store.objects if name.startswith(("chunks", "meta"))}
        second = await back_up(repository, data, source="two")
        assert first.disks[0].root == second.disks[0].root
        assert {name for name in store.objects if name.startswith(("chunks", "meta"))} == before


async def test_a_backup_stores_only_the_pages_that_changed() -> None:
    """An incremental of a large disk sends what changed, and the index pages of that; the rest is the parent's."""
    store = DictStore()
    new_repository(store)
    old = random.Random(1).randbytes(16 * CHUNK)
    async with opened(store) as repository:
        parent = await back_up(repository, old)
        sent: list[str] = []
        store.before = lambda operation, name: sent.append(name) if operation == "create" else None
        await back_up(repository, b"new" + old[3:], parent=parent)
        assert sorted(name.partition("/")[0] for name in sent if name.startswith(("chunks", "meta"))) == [
            "chunks",
            "meta",  # a page
            "meta",  # the root
            "meta",  # the configuration
        ]


async def test_a_page_that_could_not_be_stored_is_stored_by_the_next_attempt() -> None:
    """A commit that failed is tried again: nothing is taken for stored because it was tried."""
    store = DictStore()
    new_repository(store)
    data = random.Random(1).randbytes(6 * CHUNK)
    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=len(data))
        put_all(disk, data)

        def refuse(operation: str, name: str) -> None:
            if operation == "create" and name.startswith("meta"):
                raise RepositoryError("no")

        store.before = refuse
        with pytest.raises(RepositoryError, match="no"):
            await session.commit()
        store.before = calm
        assert await restored(repository, await session.commit()) == data
        assert (await repository.verify(2)).findings == ()


async def test_inherited_chunks_are_the_parents_and_the_rest_is_what_was_put() -> None:
    """A backup that reads only what changed is as whole as its parent."""
    store = DictStore()
    new_repository(store)
    old = content(1, 9 * CHUNK + 7)
    new = old[: 4 * CHUNK] + content(5, CHUNK) + bytes(CHUNK) + old[6 * CHUNK :]
    async with opened(store) as repository:
        parent = await back_up(repository, old)
        async with repository.session("vm", parent=parent) as session:
            disk = await session.add_disk(key="1", name="disk", capacity=len(new), mode="changed", inherit=True)
            put_all(disk, new, [4])
            disk.zero(5)
            assert disk.is_same(0, old[:CHUNK])
            assert not disk.is_same(1, b"x" * CHUNK)
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == new
        assert await repository.diff(parent.disks[0].root, snapshot.disks[0].root) == [
            Block(number * CHUNK, CHUNK)
            for number in (4, 5)
            if old[number * CHUNK :][:CHUNK] != new[number * CHUNK :][:CHUNK]
        ] or [Block(4 * CHUNK, 2 * CHUNK)]


async def test_chunks_that_were_never_put_are_zeros() -> None:
    """Without ``inherit`` the parent serves for comparison only."""
    store = DictStore()
    new_repository(store)
    old = random.Random(1).randbytes(3 * CHUNK)
    async with opened(store) as repository:
        parent = await back_up(repository, old)
        async with repository.session("vm", parent=parent) as session:
            disk = await session.add_disk(key="1", name="disk", capacity=len(old))
            put_all(disk, old, [1])
            snapshot = await session.commit()
        assert await restored(repository, snapshot) == bytes(CHUNK) + old[CHUNK : 2 * CHUNK] + bytes(CHUNK)


async def test_a_disk_that_grew_or_shrank_is_compared_as_far_as_it_goes() -> None:
    """The parent may have another capacity; what is equal at the same place is the same."""
    store = DictStore()
    new_repository(store)
    old = random.Random(1).randbytes(5 * CHUNK)
    async with opened(store) as repository:
        parent = await back_up(repository, old)
        for new in (old + old[:CHUNK], old[: 2 * CHUNK + 9]):
            snapshot = await back_up(repository, new, parent=parent)
            assert await restored(repository, snapshot) == new
            assert snapshot.disks[0].stats.same >= 2 * CHUNK


async def test_snapshots_are_found_by_the_beginning_of_their_ids_and_by_age() -> None:
    """``latest`` is the newest of a source; a short id serves as long as one snapshot has it."""
    store = DictStore()
    new_repository(store)
    async with opened(store) as repository:
        with pytest.raises(SnapshotNotFoundError, match="no snapshot"):
            await repository.find()
        made = [await back_up(repository, b"data", source=source) for source in ("a", "b", "a")]
        assert await repository.find() == made[2]
        assert await repository.find(source="b") == made[1]
        assert await repository.find(made[0].id[:12]) == made[0]
        assert await repository.snapshots("a") == [made[0], made[2]]
        with pytest.raises(SnapshotNotFoundError, match="begins so"):
            await repository.find("zz")
        with pytest.raises(SnapshotNotFoundError, match="of c"):
            await repository.find(source="c")


async def test_a_session_without_commit_leaves_nothing_to_see(tmp_path: Path) -> None:
    """An error in the block, or none: without a commit there is no snapshot and no session left."""
    await Repository.init(tmp_path / "r", password=None, chunk_size=CHUNK)
    async with Repository.open(tmp_path / "r", password=None, cache="") as repository:
        for failing in (False, True):
            with suppress(ZeroDivisionError):
                async with repository.session("vm") as session:
                    disk = await session.add_disk(key="1", name="disk", capacity=CHUNK)
                    put_all(disk, b"x" * CHUNK)
                    if failing:
                        raise ZeroDivisionError
        assert await repository.snapshots() == []
        assert not list((tmp_path / "r" / "sessions").rglob("pin"))


async def test_wrong_arguments_are_refused_before_anything_is_stored() -> None:
    """Numbers, lengths, keys and parents that cannot be are ValueErrors that say what is expected."""
    store = DictStore()
    new_repository(store)
    async with opened(store) as repository:
        parent = await back_up(repository, b"x" * CHUNK)
        async with repository.session("vm", parent=parent) as session:
            disk = await session.add_disk(key="1", name="disk", capacity=CHUNK + 1)
            before = dict(store.objects)
            for number, data in ((2, b"x"), (-1, b"x"), (0, b"x"), (1, b"xx")):
                with pytest.raises(ValueError, match="chunk"):
                    disk.put(number, data)
            with pytest.raises(ValueError, match="added"):
                await session.add_disk(key="1", name="disk", capacity=CHUNK)
            with pytest.raises(ValueError, match="capacity"):
                await session.add_disk(key="2", name="disk", capacity=0)
            with pytest.raises(ValueError, match="config"):
                await session.commit(config=bytes(32))
            with pytest.raises(ValueError, match="inherit"):
                await session.add_disk(key="2", name="disk", capacity=CHUNK, inherit=True)
            assert store.objects == before


async def test_a_chunk_whose_put_failed_is_put_again_or_stops_the_commit() -> None:
    """A store that fails once never leads to a snapshot with a hole."""
    store = DictStore()
    new_repository(store)
    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=CHUNK)

        def refuse(operation: str, name: str) -> None:
            if operation == "create" and name.startswith("chunks"):
                raise RepositoryError("no")

        store.before = refuse
        with pytest.raises(RepositoryError, match="no"):
            disk.put(0, b"x" * CHUNK)
        store.before = calm
        with pytest.raises(RepositoryError, match=r"put them again: \[0\]"):
            await session.commit()
        disk.put(0, b"x" * CHUNK)
        assert await restored(repository, await session.commit()) == b"x" * CHUNK


async def test_init_spoils_nothing_that_is_there(tmp_path: Path) -> None:
    """A second init is refused, and the repository opens as before; an empty folder is no repository."""
    await Repository.init(tmp_path, password=PASSWORD, cost=CHEAP)
    with pytest.raises(RepositoryExistsError):
        await Repository.init(tmp_path, password=None)
    async with Repository.open(tmp_path, password=PASSWORD, cache=""):
        pass
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(RepositoryNotFoundError, match=missing.name):
            async with Repository.open(missing, password=None, cache=""):
                pass


@pytest.mark.parametrize(("name", "value"), [("chunk_size", 1 << 17), ("chunk_size", 1000), ("level", 23)])
async def test_init_refuses_what_no_repository_can_be(tmp_path: Path, name: str, value: int) -> None:
    """The error says what is expected."""
    with pytest.raises(ValueError, match=name):
        await Repository.init(tmp_path / "r", password=None, **{name: value})  # type: ignore[arg-type]
