"""Exclusion of overlapping ranges."""

from __future__ import annotations

import asyncio

import pytest

from asyncvddk.disks._ranges import RangeLocks


async def _asked(locks: RangeLocks, start: int, end: int, order: list[str], name: str) -> None:
    held = await locks.acquire(start, end)
    order.append(name)
    locks.release(held)


async def test_disjoint_ranges_are_held_together() -> None:
    """Neighbours do not wait for each other."""
    locks = RangeLocks()
    held = [await locks.acquire(start, start + 10) for start in (0, 10, 20)]
    for one in held:
        locks.release(one)


async def test_overlapping_ranges_wait_in_the_order_of_their_asking() -> None:
    """Nobody overtakes somebody who overlaps and came earlier; somebody else may."""
    locks, order = RangeLocks(), list[str]()
    held = await locks.acquire(0, 10)
    async with asyncio.TaskGroup() as tasks:
        for name, start, end in (("a", 5, 15), ("b", 12, 20), ("c", 30, 40), ("d", 0, 40)):
            tasks.create_task(_asked(locks, start, end, order, name))
        await asyncio.sleep(0)
        assert order == ["c"]
        locks.release(held)
    assert order == ["c", "a", "b", "d"]


async def test_cancelled_waiter_lets_those_behind_it_go() -> None:
    """A range that nobody wants any more holds nobody up."""
    locks, order = RangeLocks(), list[str]()
    held = await locks.acquire(0, 10)
    first = asyncio.create_task(_asked(locks, 0, 30, order, "cancelled"))
    second = asyncio.create_task(_asked(locks, 20, 30, order, "second"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert order == ["second"]
    locks.release(held)


async def test_waiter_cancelled_in_the_turn_of_its_grant_gives_the_range_back() -> None:
    """Granted and cancelled at once: the range is free again."""
    locks, order = RangeLocks(), list[str]()
    held = await locks.acquire(0, 10)
    waiter = asyncio.create_task(_asked(locks, 0, 10, order, "never"))
    await asyncio.sleep(0)
    locks.release(held)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    locks.release(await locks.acquire(0, 10))
