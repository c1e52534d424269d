"""Turns at hosts, datastores and servers; what becomes of a host that has too much to do."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import NativeError
from asyncvddk.backup import BackupFailedError, BackupLimits, backup
from asyncvddk.backup._turns import RECOVERY, Turns
from asyncvddk.repository import Repository
from tests.backup.fakes import MemoryDisk
from tests.repository.faults import DictStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncvddk.backup import BackupDisk, ReadableDisk


async def test_no_place_has_more_than_it_bears_and_nobody_waits_for_ever() -> None:
    """Many who want several places each, in random order; a place with room is never left empty for somebody's sake."""
    chance = random.Random(4)
    most: dict[str, float] = {"a": 1, "b": 2, "c": 3, "all": 4}
    turns, used, seen = Turns(), dict.fromkeys(most, 0), dict.fromkeys(most, 0)

    async def visit() -> None:
        names = [*chance.sample("abc", chance.randrange(3)), "all"]
        async with turns.turn([(name, most[name]) for name in names]):
            for name in names:
                used[name] += 1
                seen[name] = max(seen[name], used[name])
                assert used[name] <= most[name]
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            for name in names:
                used[name] -= 1

    await asyncio.gather(*(visit() for _ in range(200)))
    assert seen == most


async def test_who_waits_for_a_full_place_keeps_nobody_else_waiting() -> None:
    """Also when it is cancelled while it waits."""
    turns = Turns()
    async with turns.turn([("host", 1), ("all", 2)]):
        waiting = asyncio.create_task(turns.turn([("host", 1), ("all", 2)]).__aenter__())
        await asyncio.sleep(0)
        async with turns.turn([("other", 1), ("all", 2)]):
            assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with turns.turn([("host", 1), ("all", 2)]):
        pass


async def test_an_overloaded_place_gets_half_and_recovers() -> None:
    """Never less than one, never more than before."""
    turns = Turns()
    for _ in range(4):
        async with turns.turn([("host", 8)]):
            assert turns.overloaded("host") == 1
    for number in range(100):
        async with turns.turn([("host", 8)]):
            turns.well("host")
        assert turns.limit("host") == min(8, 1 + (number + 1) // RECOVERY)
    assert turns.limit("unknown") == math.inf


class Host:
    """Refuses disks while it serves more than it can."""

    def __init__(self, bears: int, code: int = 2) -> None:
        """Serve so many at once."""
        self.bears = bears
        self.code = code
        self.open = 0
        self.refused = 0

    def disk(self, key: str) -> BackupDisk:
        """Return a disk on this host."""
        plain = MemoryDisk(bytearray(b"x" * 1000)).disk(key, host="esx1")

        @asynccontextmanager
        async def opened() -> AsyncIterator[ReadableDisk]:
            if self.open >= self.bears:
                self.refused += 1
                raise NativeError("VixDiskLib_Open", self.code, "too much")
            self.open += 1
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
                async with plain.opened() as disk:
                    yield disk
            finally:
                self.open -= 1

        return dataclasses.replace(plain, opened=opened)


@pytest.mark.parametrize("code", [2, 14009, 18000])
async def test_disks_that_a_host_refuses_are_tried_again_with_fewer_at_once(code: int) -> None:
    """All of them are backed up in the end."""
    store, host = DictStore(), Host(bears=2, code=code)
    await Repository.init(store, password=None)
    async with Repository.open(store, password=None, cache="") as repository:
        disks = [host.disk(str(number)) for number in range(12)]
        snapshot = await backup(repository, disks, source="vm", limits=BackupLimits(jobs=12, pause_s=0))
    assert [disk.key for disk in snapshot.disks] == [disk.key for disk in disks]
    assert 0 < host.refused < 40


async def test_a_host_that_always_refuses_is_given_up_and_so_is_another_error_at_once() -> None:
    """After five attempts; the error is the disk's."""
    store, host = DictStore(), Host(bears=0)
    await Repository.init(store, password=None)
    async with Repository.open(store, password=None, cache="") as repository:
        for code, attempts in ((2, 5), (13, 1)):
            host.code, host.refused = code, 0
            with pytest.raises(BackupFailedError, match="too much"):
                await backup(repository, [host.disk("1")], source="vm", limits=BackupLimits(pause_s=0))
            assert host.refused == attempts


@pytest.mark.parametrize(("kind", "most"), [("host", 1), ("datastore", 2), ("server", 3), (None, 5)])
async def test_as_many_disks_as_a_place_bears_have_their_turn(kind: str | None, most: int) -> None:
    """Of one host, one datastore, one server, and in all."""
    limits = BackupLimits(jobs=5, jobs_per_host=1, jobs_per_datastore=2, jobs_per_server=3)
    inside, seen = 0, 0

    async def visit(disk: BackupDisk) -> None:
        nonlocal inside, seen
        async with limits.turn(disk):
            inside += 1
            seen = max(seen, inside)
            await asyncio.sleep(0)
            inside -= 1

    plain = [MemoryDisk(bytearray(1)).disk(str(number)) for number in range(10)]
    place: dict[str, Any] = {kind: "the same"} if kind else {}
    disks = [dataclasses.replace(disk, **place) for disk in plain]
    await asyncio.gather(*map(visit, disks))
    assert seen == most


@pytest.mark.parametrize("values", [{"jobs": 0}, {"jobs_per_host": -1}, {"memory_limit": 0}, {"pause_s": -1}])
def test_limits_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    """With what was given."""
    with pytest.raises(ValueError, match=next(iter(values))):
        BackupLimits(**values)
