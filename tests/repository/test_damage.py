"""Damage is found, named by object, snapshot, disk and range, never passed on as data, and healed where it can be."""

from __future__ import annotations

import asyncio
import random
import threading
import tracemalloc
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncvddk.models import Block
from asyncvddk.repository import DamagedError, ObjectMissingError, Repository, RepositoryError, verify_store
from asyncvddk.repository.checking._verify import StoppedError, _Check
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from tests.repository.faults import DictStore, calm
from tests.repository.helpers import PASSWORD, SMALL, back_up, new_repository, opened, restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.repository import Snapshot, VerifyProgress
    from asyncvddk.repository.format._ids import Rows

pytestmark = pytest.mark.usefixtures("small_chunks")

DATA = b"".join(bytes([number]) * SMALL for number in (1, 2, 2, 2, 3)) + b"end" * 100


def flip(data: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def cut(data: bytes) -> bytes:
    """Drop the last byte."""
    return data[:-1]


def empty(data: bytes) -> bytes:
    """Drop all."""
    return data[:0]


def lengthen(data: bytes) -> bytes:
    """Add a byte."""
    return data + b"\0"


async def made(password: str | None) -> tuple[DictStore, Snapshot, Snapshot]:
    """Return a store with two snapshots that share data."""
    store = DictStore()
    new_repository(store, password, chunk_size=SMALL)
    async with opened(store, password) as repository:
        first = await back_up(repository, DATA, source="one")
        second = await back_up(repository, DATA[: 2 * SMALL], source="two")
    return store, first, second


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "encrypted"])
@pytest.mark.parametrize("damage", [flip, cut, empty, lengthen])
async def test_damage_of_any_object_is_found_and_named(damage: Callable[[bytes], bytes], password: str | None) -> None:
    """One object after the other, of every kind: the check names it; no read returns anything but the data."""
    store, first, second = await made(password)
    whole = dict(store.objects)
    for name, data in whole.items():
        store.objects = {**whole, name: damage(data)}
        assert [finding.name for finding in verify_store(store).findings] == [name]
        if name == "config" or name.startswith("keys/"):
            with pytest.raises(DamagedError, match=name):
                async with opened(store, password):
                    pytest.fail("must not open")
            continue
        async with opened(store, password) as repository:
            for level in (1, 2):
                assert [finding.name for finding in (await repository.verify(level)).findings] == [name]
            for snapshot, expected in ((first, DATA), (second, DATA[: 2 * SMALL])):
                try:
                    assert await restored(repository, snapshot) == expected
                except DamagedError as error:
                    assert error.name == name  # noqa: PT017  (it may also succeed)


async def test_a_damaged_chunk_hits_the_ranges_that_use_it() -> None:
    """The finding tells snapshots, disks and byte ranges, so that one knows what is lost."""
    store, first, second = await made(None)
    async with opened(store) as repository:
        name = _layout.chunk(repository._vault.keys.chunk_id(bytes([2]) * SMALL))
        store.objects[name] = flip(store.objects[name])
        (finding,) = (await repository.verify(1)).findings
        assert {(hit.snapshot, hit.disk, hit.block) for hit in finding.hits} == {
            (first.id, "1", Block(SMALL, 3 * SMALL)),
            (second.id, "1", Block(SMALL, SMALL)),
        }
        assert (await repository.verify(0)).findings == ()
        (finding,) = (await repository.verify(2, snapshots=[second])).findings
        assert [hit.snapshot for hit in finding.hits] == [second.id]


async def test_missing_objects_are_found_without_reading_data() -> None:
    """Level 0 finds a chunk, page, root or blob that is gone, and what it takes away."""
    store, first, _ = await made(PASSWORD)
    whole = dict(store.objects)
    for name in [name for name in whole if name.startswith(("chunks/", "meta/"))]:
        store.objects = {key: data for key, data in whole.items() if key != name}
        async with opened(store, PASSWORD) as repository:
            findings = (await repository.verify(0)).findings
            assert [(finding.name, finding.reason) for finding in findings] == [(name, "missing")]
            assert findings[0].hits
    store.objects = {key: data for key, data in whole.items() if not key.startswith("meta/")}
    async with opened(store, PASSWORD) as repository:
        report = await repository.verify(0)
        assert Block(0, len(DATA)) in {hit.block for finding in report.findings for hit in finding.hits}
        assert first.id in report.damaged_snapshots
        with pytest.raises(ObjectMissingError):
            await repository.open_disk(first, "1")


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "encrypted"])
async def test_an_object_in_the_place_of_another_is_refused(password: str | None) -> None:
    """Chunks, pages and snapshots are bound to their names: exchanged ones are damage, not data."""
    store, _, _ = await made(password)
    whole = dict(store.objects)
    for kind in ("chunks/", "meta/", "snapshots/"):
        one, two = [name for name in whole if name.startswith(kind)][:2]
        store.objects = {**whole, one: whole[two], two: whole[one]}
        async with opened(store, password) as repository:
            findings = (await repository.verify(2)).findings
            assert {finding.name for finding in findings} >= {one, two}
            assert all("authentic" in finding.reason or "exchanged" in finding.reason for finding in findings)


async def test_objects_of_another_repository_are_refused() -> None:
    """A replayed object was sealed under other keys, or with none."""
    store, first, _ = await made(PASSWORD)
    for password in (PASSWORD, None):
        other, _, _ = await made(password)
        name = next(name for name in store.objects if name.startswith("snapshots/") and first.id in name)
        foreign = next(data for key, data in other.objects.items() if key.startswith("snapshots/"))
        store.objects[name] = foreign
        async with opened(store, PASSWORD) as repository:
            with pytest.raises(DamagedError, match=name):
                await repository.snapshots()


async def test_quarantine_heals_with_the_next_backup() -> None:
    """A damaged chunk is put aside; a backup that reads the same data stores it anew, also as its parent's."""
    store, first, second = await made(PASSWORD)
    async with opened(store, PASSWORD) as repository:
        keys = repository._vault.keys
        damaged, missing = (_layout.chunk(keys.chunk_id(bytes([number]) * SMALL)) for number in (2, 3))
        store.objects[damaged] = flip(store.objects[damaged])
        del store.objects[missing]
        report = await repository.verify(2, quarantine=True)
        assert (len(report.findings), report.quarantined) == (2, 2)
        assert f"quarantine/{damaged}" in store.objects
        with pytest.raises(ObjectMissingError, match=damaged) as caught:
            await restored(repository, second)
        assert caught.value.__notes__ == [f"it holds {SMALL} bytes from {SMALL} on of disk '1'"]
        healed = await back_up(repository, DATA, source="one", parent=first)
        assert (await repository.verify(2)).findings == ()
        for snapshot, data in ((first, DATA), (second, DATA[: 2 * SMALL]), (healed, DATA)):
            assert await restored(repository, snapshot) == data


async def test_damaged_index_is_healed_by_the_next_backup() -> None:
    """A page or root that was put aside is stored anew by a backup of the same data."""
    store, first, _ = await made(None)
    for name in [name for name in store.objects if name.startswith("meta/")]:
        store.objects[name] = cut(store.objects[name])
    async with opened(store) as repository:
        await repository.verify(1, quarantine=True)
        await back_up(repository, DATA, source="one")
        assert await restored(repository, first) == DATA


async def test_subsets_cover_everything_once() -> None:
    """A check in parts reads each chunk in exactly one of them."""
    store, _, _ = await made(None)
    async with opened(store) as repository:
        whole = await repository.verify(2)
        parts = [await repository.verify(2, subset=(part, 3)) for part in (1, 2, 3)]
        rest = len([name for name in store.objects if not name.startswith("chunks/")])
        assert sum(part.objects - rest for part in parts) == whole.objects - rest
        with pytest.raises(ValueError, match="subset"):
            await repository.verify(2, subset=(4, 3))


async def test_a_check_tells_how_far_it_is() -> None:
    """Nothing at first, all objects at the end; in between the number of all is known."""
    store, _, _ = await made(None)
    told: list[VerifyProgress] = []
    async with opened(store) as repository:
        report = await repository.verify(2, progress=told.append)
        await asyncio.sleep(0)
    assert (told[0].objects, told[0].total) == (0, None)
    assert (told[-1].objects, told[-1].total, told[-1].bytes) == (report.objects, report.objects, report.bytes)


async def test_a_cancelled_check_ends_with_the_object_under_way() -> None:
    """It does not read the rest of a repository that may be large."""
    store, _, _ = await made(None)
    read: list[str] = []
    async with opened(store) as repository:
        loop, scope = asyncio.get_running_loop(), anyio.CancelScope()
        heard = threading.Event()

        def before(operation: str, name: str) -> None:
            if operation == "get" and name.startswith("chunks/"):
                read.append(name)
                loop.call_soon_threadsafe(scope.cancel)
                loop.call_soon_threadsafe(loop.call_soon, heard.set)
                heard.wait()

        store.before = before
        with scope:
            await repository.verify(2)
        assert scope.cancelled_caught
    assert len(read) == 1


@pytest.mark.parametrize("first", [min, max])
async def test_threads_of_a_cancelled_check_read_nothing_afterwards(first: Callable[[list[str]], str]) -> None:
    """Each is in the middle of several chunks; the check has ended when they have."""
    store = DictStore(local=True)
    new_repository(store, chunk_size=SMALL)
    async with Repository.open(store, password=None, cache="", threads=2) as repository:
        await back_up(repository, random.Random(5).randbytes(40 * SMALL))
        loop, scope = asyncio.get_running_loop(), anyio.CancelScope()
        both, heard, late = threading.Barrier(2), threading.Event(), threading.Event()
        read: list[str] = []
        ended: list[str] = []

        def turn(left: int) -> None:
            if left:
                loop.call_soon(turn, left - 1)
            else:
                late.set()

        def before(operation: str, name: str) -> None:
            if operation == "get" and name.startswith("chunks/"):
                read.append(name)
                if both.wait(60):  # one of the two gets 0
                    loop.call_soon_threadsafe(scope.cancel)
                    loop.call_soon_threadsafe(loop.call_soon, heard.set)
                    loop.call_soon_threadsafe(turn, 10_000)
                (heard if name == first(read) else late).wait()
                ended.append(name)

        store.before = before
        with scope:
            await repository.verify(2)
        assert scope.cancelled_caught
        assert len(read) == len(ended) == 2
        await asyncio.to_thread(repository._vault.pool.submit(int).result)
    assert len(read) == 2


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_a_check_that_is_stopped_before_its_chunks_reports_nothing(*, local: bool) -> None:
    """What was not looked at is not whole."""
    store = DictStore(local=local)
    new_repository(store, chunk_size=SMALL)
    async with Repository.open(store, password=None, cache="", threads=2) as repository:
        await back_up(repository, random.Random(6).randbytes(9 * SMALL))
        check = _Check(store, stopped=lambda: True)
        ids = await chunk_ids(repository)
        with pytest.raises(StoppedError):
            check.chunks(repository._vault, ids, decode=True)
        assert check.objects == 0


async def chunk_ids(repository: Repository) -> Rows:
    """Return the ids of all chunks of the one disk there is."""
    snapshot = await repository.find()
    async with await repository.open_disk(snapshot, "1") as disk:
        return await asyncio.to_thread(disk.ids)


async def test_a_snapshot_forgotten_during_a_check_is_no_finding() -> None:
    """A check beside a collection says nothing of what is not there any more."""
    store, first, _ = await made(None)
    async with opened(store) as repository, opened(store) as other:
        await forget_while_listing_chunks(store, other, first)
        assert (await repository.verify(2)).findings == ()


async def forget_while_listing_chunks(store: DictStore, other: Repository, snapshot: Snapshot) -> None:
    """Have a snapshot and its chunks vanish when the chunks are listed for the first time."""
    mine = {name for name in store.objects if snapshot.id in name}
    shared = {_layout.chunk(other._vault.keys.chunk_id(bytes([number]) * SMALL)) for number in (1, 2)}

    def vanish(operation: str, name: str) -> None:
        if (operation, name) == ("list", "chunks"):
            gone = mine | {key for key in store.objects if key.startswith("chunks/")} - shared
            for key in gone:
                store.objects.pop(key, None)

    store.before = vanish


async def test_hostile_content_in_a_plain_repository_is_refused() -> None:
    """Whoever writes a store without encryption can make right tags; contents are still checked against their ids."""
    store, _, _ = await made(None)
    async with opened(store) as repository:
        keys = repository._vault.keys
        name = next(name for name in store.objects if name.startswith("chunks/"))
        for content in (b"other", bytes(100 << 20)):
            store.objects[name] = bytes(keys.seal(Kind.CHUNK, name, content, level=1))
            tracemalloc.start()
            (finding,) = (await repository.verify(2)).findings
            assert tracemalloc.get_traced_memory()[1] < 10 << 20  # a bomb is noticed before it goes off
            tracemalloc.stop()
            assert finding.name == name
            with pytest.raises(RepositoryError, match=name):
                repository._vault.get_chunk(_layout.id_of(name) or b"", memoryview(bytearray(SMALL)))


async def test_a_chunk_that_is_shorter_than_its_place_is_refused() -> None:
    """Its content has the id that the index names, and yet it is another chunk's place."""
    store, _, _ = await made(None)
    async with opened(store) as repository:
        vault = repository._vault
        identifier = vault.keys.chunk_id(b"short")
        store.objects[_layout.chunk(identifier)] = bytes(vault.seal_chunk(identifier, b"short"))
        with pytest.raises(DamagedError, match=f"has 5 bytes where {SMALL} belong"):
            vault.get_chunk(identifier, memoryview(bytearray(SMALL)))


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
async def test_every_chunk_is_checked_however_many_there_are(*, local: bool) -> None:
    """A thread takes several at a time: the last ones, too, and each is counted."""
    for count in (1, 7, 8, 9, 16, 17):
        store = DictStore(local=local)
        new_repository(store, chunk_size=SMALL)
        async with Repository.open(store, password=None, cache="", threads=2) as repository:
            await back_up(repository, random.Random(count).randbytes(count * SMALL))
            chunks = sorted(name for name in store.objects if name.startswith("chunks/"))
            assert len(chunks) == count
            for name in chunks:
                good = store.objects[name]
                store.objects[name] = flip(good)
                report = await repository.verify(2)
                assert [finding.name for finding in report.findings] == [name]
                store.objects[name] = good
            whole, structure = await repository.verify(2), await repository.verify(0)
            assert whole.findings == ()
            assert whole.objects - structure.objects >= count


async def test_only_what_is_bad_at_a_second_look_is_put_aside() -> None:
    """Damaged on the way, or healed meanwhile by a backup: taking it away would be the first damage."""
    store, first, _ = await made(PASSWORD)
    async with opened(store, PASSWORD) as repository:
        good = dict(store.objects)
        bad = [name for name in good if name.startswith(("chunks/", "meta/"))]
        for name in bad:
            store.objects[name] = flip(good[name])
        read: set[str] = set()

        def heal(operation: str, name: str) -> None:
            if operation == "get" and name in read:
                store.objects[name] = good[name]
            elif operation == "get" and name in bad:
                read.add(name)

        store.before = heal
        report = await repository.verify(2, quarantine=True)
        store.before = calm
        assert report.findings
        assert report.quarantined == 0
        store.objects.update(good)
        assert not [name for name in store.objects if name.startswith("quarantine/")]
        assert await restored(repository, first) == DATA
