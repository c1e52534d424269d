"""Backups side by side, cancelled, beating; and what the package says when it is not installed whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asyncvddk.errors import ClosedError
from asyncvddk.repository import (
    FailedDisk,
    Put,
    RepositoryError,
    Sealed,
    SessionLostError,
    SnapshotNotFoundError,
    StoreError,
)
from asyncvddk.repository.format._crypto import Kind
from tests.repository.faults import DictStore
from tests.repository.helpers import SMALL, back_up, content, new_repository, opened, put_all, restored

pytestmark = pytest.mark.usefixtures("small_chunks")

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = (bytes([number]) * SMALL for number in (1, 2))


def new_store() -> DictStore:
    """Return a store with an empty repository."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    return store


async def test_many_threads_put_one_disk_in_any_order() -> None:
    """The order of chunks does not matter, nor which thread puts which, nor that several have the same content."""
    store = new_store()
    data = content(1, 100 * SMALL, SMALL) * 2
    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=len(data))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: disk.put(n, data[n * SMALL : (n + 1) * SMALL]), reversed(range(disk.chunks))))
        snapshot = await session.commit()
        assert snapshot.disks[0].stats.read == len(data)
        assert await restored(repository, snapshot) == data


async def test_two_writers_with_the_same_data_at_once_both_commit() -> None:
    """Each chunk is stored once, by whoever comes first; neither disturbs the other."""
    store = new_store()
    data = content(1, 20 * SMALL, SMALL)
    async with opened(store) as one, opened(store) as two:
        async with one.session("a") as first, two.session("b") as second:
            disks = [await session.add_disk(key="1", name="disk", capacity=len(data)) for session in (first, second)]
            start = threading.Barrier(2)

            def put(disk: object) -> None:
                start.wait()
                put_all(disk, data)  # type: ignore[arg-type]

            await asyncio.gather(*(asyncio.to_thread(put, disk) for disk in disks))
            made = [await first.commit(), await second.commit()]
        assert made[0].disks[0].root == made[1].disks[0].root
        assert [await restored(one, snapshot) for snapshot in made] == [data, data]
        stored = sum(snapshot.disks[0].stats.new for snapshot in made)
        assert stored // SMALL == len([name for name in store.objects if name.startswith("chunks/")])


async def test_preparing_and_storing_can_be_done_by_different_threads() -> None:
    """The two halves of ``put``: work for a processor, and waiting for the network."""
    async with opened(new_store()) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=3 * SMALL)
        assert disk.prepare(0, bytes(SMALL)) is Put.ZERO
        sealed = disk.prepare(1, ONE)
        assert isinstance(sealed, Sealed)
        assert disk.store(sealed) is Put.NEW
        assert disk.prepare(2, ONE) is Put.KNOWN
        assert await restored(repository, await session.commit()) == bytes(SMALL) + ONE + ONE


async def test_a_chunk_that_is_put_again_has_its_last_content() -> None:
    """A source that is read twice: the second time counts."""
    async with opened(new_store()) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=2 * SMALL)
        for data in (ONE, TWO, bytes(SMALL), ONE):
            disk.put(0, data)
        disk.put(1, TWO)
        disk.zero(1)
        assert await restored(repository, await session.commit()) == ONE + bytes(SMALL)


async def test_a_snapshot_says_what_is_missing_in_it() -> None:
    """Some disks failed: the others are there, and the snapshot is partial."""
    async with opened(new_store()) as repository, repository.session("vm") as session:
        good = await session.add_disk(key="1", name="good", capacity=SMALL)
        await session.add_disk(key="2", name="bad", capacity=SMALL)
        good.put(0, ONE)
        failed = FailedDisk(key="2", name="bad", reason="cannot be read")
        snapshot = await session.commit(failed=[failed], keys=["1"])
        assert snapshot.partial
        assert ([disk.key for disk in snapshot.disks], snapshot.failed) == (["1"], (failed,))
        assert await repository.find() == snapshot
        with pytest.raises(ValueError, match="before"):
            await session.commit()


async def test_a_cancelled_request_is_waited_for() -> None:
    """The store works with buffers of ours: after a cancellation nothing runs any more."""
    store = new_store()
    gate, reached = threading.Event(), threading.Event()

    def slow(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("meta/"):
            reached.set()
            gate.wait()

    async with opened(store) as repository, repository.session("vm") as session:
        store.before = slow
        task = asyncio.ensure_future(session.put_blob(b"blob"))
        await asyncio.to_thread(reached.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [name for name in store.objects if name.startswith("meta/")]


async def test_a_session_beats_by_itself_and_notices_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life go on through an error of the store, and stop when the session was removed."""
    monkeypatch.setattr("asyncvddk.repository.collection._sessions.BEAT_S", 0)
    store = new_store()
    beats = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def watch(operation: str, name: str) -> None:
        if operation == "sync":
            seen.append(name)
            if len(seen) == 1:
                raise StoreError("not now")
            if len(seen) == 3:
                loop.call_soon_threadsafe(beats.set)

    async with opened(store) as repository, repository.session("vm") as session:
        store.before = watch
        await beats.wait()
        store.objects.pop(f"sessions/{session.name}/pin")
        assert session._beating
        await asyncio.wait([session._beating])
        with pytest.raises(SessionLostError):
            await session.commit()


async def test_an_end_that_fails_hides_no_error() -> None:
    """The store is gone: what happened first is raised, with a note."""
    store = new_store()

    def refuse(operation: str, name: str) -> None:
        raise StoreError(f"gone: {operation} {name}")

    async def failing() -> None:
        async with opened(store) as repository, repository.session("vm"):
            store.before = refuse
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await failing()
    assert "could not be removed" in caught.value.__notes__[0]


@pytest.mark.parametrize("missing", ["obstore", "numpy"])
def test_a_missing_package_is_named_with_the_command_that_brings_it(missing: str) -> None:
    """Without the extra, the import says what to install."""
    script = f"""
        import sys
        sys.modules[{missing!r}] = None
        import asyncvddk
        try:
            import asyncvddk.repository
        except ModuleNotFoundError as error:
            assert "pip install 'asyncvddk[backup]'" in str(error), error
            assert {missing!r} in str(error)
        else:
            sys.exit("imported")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True)


async def test_a_thread_that_comes_late_seals_nothing_with_wiped_keys() -> None:
    """A put that runs on after the repository was closed stores nothing: its keys would be known to everybody."""
    store = DictStore()
    new_repository(store, "password", chunk_size=SMALL)
    async with opened(store, "password") as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=2 * SMALL)
        keys = repository._vault.keys
    assert keys is not None
    for call in (lambda: disk.put(0, ONE), lambda: keys.seal(Kind.CHUNK, "chunks/00/00", ONE, level=1)):
        with pytest.raises(ClosedError):
            call()
    assert not any(name.startswith("chunks/") for name in store.objects)


async def test_a_cancelled_opening_closes_what_it_opened() -> None:
    """Cancelled while the thread is at work: nobody gets the repository, so nobody else could close it."""
    store = ClosingStore()
    new_repository(store, chunk_size=SMALL)
    at_work, go_on = threading.Event(), threading.Event()

    def before(operation: str, name: str) -> None:
        if (operation, name) == ("get", "config"):
            at_work.set()
            go_on.wait()

    store.before = before

    async def use() -> None:
        async with opened(store):
            raise AssertionError

    task = asyncio.create_task(use())
    await asyncio.to_thread(at_work.wait)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.closed


class ClosingStore(DictStore):
    """Remembers that it was closed."""

    closed = False

    def close(self) -> None:
        """As ``Store.close``."""
        self.closed = True


async def test_a_chunk_whose_second_put_failed_is_not_taken_for_stored() -> None:
    """The first content was stored late: that says nothing of the second, which the index names."""
    store = new_store()
    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=SMALL)
        first, second = disk.prepare(0, ONE), disk.prepare(0, TWO)
        assert isinstance(first, Sealed)
        assert isinstance(second, Sealed)
        disk.store(first)
        with pytest.raises(RepositoryError, match="put them again"):
            await session.commit()
        disk.store(second)
        assert await restored(repository, await session.commit()) == TWO


async def test_a_snapshot_that_is_purged_while_it_is_looked_for_is_not_found() -> None:
    """Listed, and gone before it was read: the error says so."""
    store = new_store()
    async with opened(store) as repository:
        snapshot = await back_up(repository, ONE)

        def before(operation: str, name: str) -> None:
            if operation == "get" and name.startswith("snapshots/"):
                store.objects.pop(name, None)

        store.before = before
        with pytest.raises(SnapshotNotFoundError, match=snapshot.id):
            await repository.find(snapshot.id)
