"""The budget: no limit is exceeded, nobody starves, and a host that is short gets a rest."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from asyncvddk.errors import native_error
from asyncvddk.vsphere import Budget, BudgetLimits

if TYPE_CHECKING:
    from asyncvddk.vsphere._budget import Lease

SHORT = native_error("VixDiskLib_Open", 2, "memory")
OTHER = native_error("VixDiskLib_Open", 13, "denied")


async def turns(times: int = 20) -> None:
    """Let others run."""
    for _ in range(times):
        await asyncio.sleep(0)


class Reader:
    """Wants a disk, and keeps it until it is told."""

    def __init__(self, budget: Budget, host: str, datastore: str = "ds", log: list[Reader] | None = None) -> None:
        """Begin to wait."""
        self.host = host
        self.lease: Lease | None = None
        self._budget, self._datastore, self._log = budget, datastore, log
        self._end = asyncio.Event()
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        async with self._budget.disk(vcenter="vc", host=self.host, datastore=self._datastore) as self.lease:
            if self._log is not None:
                self._log.append(self)
            await self._end.wait()

    async def done(self) -> None:
        """Give it back."""
        self._end.set()
        await self.task


async def test_no_limit_is_exceeded() -> None:
    """With many readers of many places at random, some of them cancelled; all are served, all is given back."""
    limits = BudgetLimits(per_host=2, per_host_most=3, per_datastore=4, per_vcenter=6, total=5)
    budget, chance = Budget(limits), random.Random(5)

    async def read() -> None:
        place = {"host": f"esx{chance.randrange(4)}", "datastore": f"ds{chance.randrange(3)}"}
        async with budget.disk(vcenter="vc", **place):
            await turns(chance.randrange(6))

    tasks = [asyncio.ensure_future(read()) for _ in range(300)]
    await turns(7)
    for task in chance.sample(tasks, 60):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    assert sum(result is None for result in results) >= 240
    assert budget.used == {}
    assert budget.peak["total", ""] == 5
    for place, peak in budget.peak.items():
        assert peak <= {"host": 3, "datastore": 4, "vcenter": 6, "total": 5}[place[0]]


async def test_first_come_first_served_but_nobody_waits_for_others() -> None:
    """A reader of a busy host keeps no reader of another one waiting."""
    order: list[Reader] = []
    budget = Budget(BudgetLimits(per_host=1, per_host_most=1))
    first, second, third, other = (Reader(budget, host, log=order) for host in ("a", "a", "a", "b"))
    await turns()
    assert order == [first, other]
    await first.done()
    await turns()
    await second.done()
    await turns()
    assert order == [first, other, second, third]
    await third.done()
    await other.done()


async def test_nobody_is_passed_for_ever() -> None:
    """One that needs two places gets them, however many ask for the one or the other."""
    budget = Budget(BudgetLimits(per_host=1, per_host_most=1, per_datastore=1, total=2))
    others = [Reader(budget, "a", "x"), Reader(budget, "b", "y")]
    unlucky = Reader(budget, "a", "y")
    await turns()
    for number in range(200):  # there is always one who has the host, or the datastore
        await turns()
        if unlucky.lease is not None:
            break
        others.append(Reader(budget, "a", "x") if number % 2 == 0 else Reader(budget, "b", "y"))
        await others.pop(number % 2).done()
        others[:] = others[-1:] + others[:-1] if number % 2 == 0 else others
    assert unlucky.lease is not None
    await unlucky.done()
    for reader in others:
        await reader.done()


async def test_a_host_that_is_short_gets_fewer_and_recovers() -> None:
    """Half of what it had at each refusal, one more after some that went well; others have nothing to do with it."""
    budget = Budget(BudgetLimits(per_host=8, per_host_most=8, recover_after=2))

    async def read(error: Exception | None, at_once: int = 1) -> None:
        async with AsyncExitStack() as stack:
            leases = [
                await stack.enter_async_context(budget.disk(vcenter="vc", host="a", datastore="ds"))
                for _ in range(at_once)
            ]
            if error is not None:
                leases[0].failed(error)

    await read(OTHER, 8)
    assert budget.limit(("host", "a")) == 8
    with pytest.raises(type(SHORT)):
        async with budget.disk(vcenter="vc", host="a", datastore="ds"):
            raise SHORT
    assert budget.limit(("host", "a")) == 1
    found = []
    for _ in range(5):
        await read(None)
        found.append(budget.limit(("host", "a")))
    assert found == [1, 2, 2, 3, 3]
    assert budget.limit(("host", "b")) == 8


def test_memory_of_a_host_is_a_limit() -> None:
    """As many disks as have room in it, whatever else is allowed."""
    assert Budget(BudgetLimits(host_memory=13 << 20, per_host=9)).limit(("host", "a")) == 3
    assert Budget(BudgetLimits(host_memory=1 << 20)).limit(("host", "a")) == 1
    with pytest.raises(ValueError, match="per_datastore=0"):
        BudgetLimits(per_datastore=0)
