"""Killed at any moment, a repository loses nothing that was committed, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from asyncvddk.repository import Repository, StoreError
from tests.repository.faults import Countdown, DictStore, Killed, calm, unavailable
from tests.repository.helpers import (
    CHEAP,
    CHUNK,
    PASSWORD,
    SMALL,
    back_up,
    changed,
    content,
    new_repository,
    opened,
    put_all,
    restored,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

FIRST = content(1, 6 * SMALL + 100, SMALL)
DATA = {"first": FIRST, "second": changed(FIRST, 2), "third": changed(FIRST, 3), "next": content(4, 6 * SMALL, SMALL)}


async def night(repository: Repository) -> None:
    """Back up with a parent."""
    parent = await repository.find()
    await back_up(repository, DATA["third"], parent=parent, tag="third")


async def forgetting(repository: Repository) -> None:
    """Forget the oldest snapshot, and take the next one back."""
    first, second = await repository.snapshots()
    await repository.forget([first, second])
    await repository.undelete(second.id)


async def collecting(repository: Repository) -> None:
    """Forget a snapshot and free its space, in two runs."""
    await repository.forget([(await repository.snapshots())[0]])
    await repository.gc(grace_s=0, trash_s=0)
    await repository.gc(grace_s=0, trash_s=0)


async def prepared(*, local: bool, password: str | None) -> dict[str, bytes]:
    """Return the objects of a repository with two snapshots."""
    store = DictStore(local=local)
    new_repository(store, password, chunk_size=SMALL)
    async with opened(store, password) as repository:
        first = await back_up(repository, DATA["first"], tag="first")
        await back_up(repository, DATA["second"], parent=first, tag="second")
    return store.objects


async def check_whole(store: DictStore, password: str | None, expected: set[str]) -> None:
    """Check that all is well, that the expected snapshots are there, and that life goes on."""
    store.before = store.after = calm
    async with opened(store, password) as repository:
        assert (await repository.verify(2)).findings == ()
        snapshots = await repository.snapshots()
        assert {snapshot.tags[0] for snapshot in [*snapshots, *await repository.trash()]} >= expected
        for snapshot in snapshots:
            assert await restored(repository, snapshot) == DATA[snapshot.tags[0]]
        latest = await back_up(repository, DATA["next"], parent=snapshots[-1] if snapshots else None, tag="next")
        for _ in range(3):
            await repository.gc(grace_s=0, trash_s=0, session_expiry_s=-1)
        assert (await repository.verify(2)).findings == ()
        assert await restored(repository, latest) == DATA["next"]
        assert not [name for name in store.objects if name.startswith(("sessions/", "gc/lock"))]


SCENARIOS = [(night, {"first", "second"}), (forgetting, {"first", "second"}), (collecting, {"second"})]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("local", "password"), [(True, None), (False, PASSWORD)], ids=["folder", "s3, encrypted"])
@pytest.mark.parametrize(("scenario", "expected"), SCENARIOS, ids=["backup", "forget", "gc"])
async def test_killed_before_any_operation_nothing_is_lost(
    scenario: Callable[[Repository], Awaitable[None]], expected: set[str], *, local: bool, password: str | None
) -> None:
    """However many operations reach the store: it verifies, what was committed is there, and the next run succeeds."""
    objects = await prepared(local=local, password=password)
    for operations in range(1000):
        store = DictStore(local=local, objects=objects)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("asyncvddk.repository.collection._lock.EXPIRY_S", 0.0)  # the dead collector's lock
            async with opened(store, password) as repository:
                store.before = countdown = Countdown(operations)
                with suppress(Killed):
                    await scenario(repository)
                store.before = calm
            await check_whole(store, password, expected)
        if not countdown.reached:
            assert operations > 10
            return
    pytest.fail("the scenario does not end")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "answer lost"])
async def test_a_failing_operation_is_an_error_or_harmless(*, answer_lost: bool) -> None:
    """Each operation in turn fails, before or after it took effect: nothing is lost, and no snapshot has a hole."""
    objects = await prepared(local=False, password=None)
    for operations in range(1000):
        store = DictStore(objects=objects)
        async with opened(store) as repository:
            countdown = Countdown(operations, unavailable("object"), once=True)
            setattr(store, "after" if answer_lost else "before", countdown)
            try:
                await night(repository)
            except StoreError:
                committed = False
            else:
                committed = True
            store.before = store.after = calm
            tags = [snapshot.tags[0] for snapshot in await repository.snapshots()]
            assert (tags == ["first", "second", "third"]) == committed
        await check_whole(store, None, {"first", "second"})
        if not countdown.reached:
            assert committed
            return


async def test_a_full_store_fails_the_backup_and_hurts_nothing_else(tmp_path: Path) -> None:
    """When there is no room, the backup says so; what was there is whole; with room again it goes on."""
    await Repository.init(tmp_path, password=None, chunk_size=CHUNK)
    async with Repository.open(tmp_path, password=None, cache="") as repository:
        first = await back_up(repository, DATA["first"], tag="first")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", full_disk)
            with pytest.raises(StoreError, match="No space left"):
                await back_up(repository, DATA["next"], parent=first, tag="next")
        assert (await repository.verify(2)).findings == ()
        assert await restored(repository, await back_up(repository, DATA["next"], parent=first)) == DATA["next"]


def full_disk(fd: int, data: bytes) -> int:
    """Stand in for ``os.write`` on a full file system."""
    del fd, data
    raise OSError(28, os.strerror(28))


def test_a_writer_killed_for_real_is_followed_by_one_that_uses_its_chunks(tmp_path: Path) -> None:
    """``kill -9`` in the middle of a backup: the next one stores only what is missing."""
    script = """
        import asyncio, os, signal, sys
        from asyncvddk.repository import Repository
        from tests.repository.helpers import CHUNK, put_all

        async def main():
            await Repository.init(sys.argv[1], password=None, chunk_size=CHUNK)
            async with Repository.open(sys.argv[1], password=None, cache="") as repository:
                async with repository.session("vm") as session:
                    disk = await session.add_disk(key="1", name="disk", capacity=8 * CHUNK)
                    put_all(disk, b"".join(bytes([n]) * CHUNK for n in range(1, 9)), range(5))
                    os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    folder = tmp_path / "repository"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    again = script.replace("range(5))", "range(8))").replace(
        "os.kill(os.getpid(), signal.SIGKILL)", "await session.commit(); print(disk.stats.known, disk.stats.new)"
    )
    again = again.replace("await Repository.init(sys.argv[1], password=None, chunk_size=CHUNK)", "")
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(again), str(folder)], check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == [str(5 * CHUNK), str(3 * CHUNK)]


async def test_a_chunk_that_a_power_cut_left_torn_is_stored_again(tmp_path: Path) -> None:
    """A local file may have its name and not its content: the next backup looks before it relies on one."""
    await Repository.init(tmp_path, password=PASSWORD, chunk_size=CHUNK, cost=CHEAP)
    data = b"x" * CHUNK + b"y" * CHUNK
    async with Repository.open(tmp_path, password=PASSWORD, cache="") as repository:
        async with repository.session("vm") as session:
            disk = await session.add_disk(key="1", name="disk", capacity=2 * CHUNK)
            put_all(disk, data)
        for file in (tmp_path / "chunks").rglob("?" * 64):
            file.write_bytes(file.read_bytes()[:20])
    async with Repository.open(tmp_path, password=PASSWORD, cache="") as repository:
        snapshot = await back_up(repository, data)
        assert await restored(repository, snapshot) == data
