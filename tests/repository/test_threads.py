"""Blocking work in threads: cancellation is heard, and waits for the call."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import pytest

from asyncvddk.repository import _threads


async def cancel(how: str, scope: anyio.CancelScope, task: asyncio.Future[None]) -> None:
    """Cancel the scope within a task, or the task; it does not end before what is under way has."""
    if how == "scope":
        scope.cancel()
    else:
        task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_a_cancelled_call_is_waited_for_and_no_further_one_begins(how: str) -> None:
    """Whether a scope of anyio's is cancelled, or the task."""
    began, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ran: list[int] = []

    def call(number: int) -> None:
        loop.call_soon_threadsafe(began.set)
        may_end.wait()
        ran.append(number)

    async def calls() -> None:
        for number in range(100):
            await _threads.run(lambda: call(number))  # noqa: B023  (runs before the next one)

    async def in_scope() -> None:
        with scope:
            await calls()
        assert scope.cancelled_caught

    scope = anyio.CancelScope()
    task = asyncio.ensure_future(in_scope() if how == "scope" else calls())
    await began.wait()
    await cancel(how, scope, task)
    assert ran == []
    may_end.set()
    await asyncio.wait([task])
    assert task.cancelled() == (how == "task")
    assert ran == [0]


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_of_a_pool_only_the_call_that_has_begun_is_waited_for(how: str) -> None:
    """Those behind it in the queue are withdrawn."""
    began, may_end = threading.Event(), threading.Event()
    ran: list[int] = []

    def call(number: int) -> int:
        began.set()
        may_end.wait()
        ran.append(number)
        return number

    async def calls() -> None:
        with scope:
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(_threads.run_in, pool, partial(call, number))

    scope = anyio.CancelScope()
    with ThreadPoolExecutor(1) as pool:
        task = asyncio.ensure_future(calls())
        await asyncio.to_thread(began.wait)
        await cancel(how, scope, task)
        may_end.set()
        await asyncio.wait([task])
        assert task.cancelled() == (how == "task")
        assert ran == [0]
        assert await _threads.run_in(pool, partial(call, 3)) == 3


async def test_errors_arrive_as_they_were_raised() -> None:
    """A time limit that the system tells of keeps file and notes, also as one of several tasks."""

    def call() -> None:
        error = OSError(errno.ETIMEDOUT, "no answer", "/mnt/nfs/a.img")
        error.add_note("a note")
        raise error

    with ThreadPoolExecutor(1) as pool:
        for run in (partial(_threads.run_in, pool, call), partial(_threads.run, call)):
            with pytest.raises(TimeoutError) as caught:
                await _threads.all_of([asyncio.create_task(run())])
            assert caught.value.filename == "/mnt/nfs/a.img"
            assert caught.value.__notes__ == ["a note"]


async def test_of_many_tasks_the_first_error_comes_when_all_have_ended() -> None:
    """Until then they may use what is the caller's."""
    ended: list[int] = []

    async def work(number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0)
        ended.append(number)
        if number % 2:
            raise ValueError(number)
        return number

    assert await _threads.all_of([asyncio.create_task(work(number)) for number in (4, 2)]) == [4, 2]
    with pytest.raises(ValueError, match="3"):
        await _threads.all_of([asyncio.create_task(work(number)) for number in (6, 3, 1)])
    assert ended == [2, 4, 1, 3, 6]


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_who_waits_for_tasks_and_is_cancelled_takes_them_along(how: str) -> None:
    """And waits until the last one has ended."""
    began, may_end = asyncio.Event(), asyncio.Event()
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await may_end.wait()
            ended.append(number)

    async def wait() -> None:
        with scope:
            await _threads.all_of([asyncio.create_task(work(number)) for number in (1, 2)])

    scope = anyio.CancelScope()
    task = asyncio.create_task(wait())
    await began.wait()
    await cancel(how, scope, task)
    may_end.set()
    await asyncio.wait([task])
    assert ended == [1, 2]
    assert task.cancelled() == (how == "task")


async def test_tasks_that_are_stopped_have_ended() -> None:
    """Those that fail while they end, too; whoever waits may be cancelled meanwhile."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            raise RuntimeError

    task = asyncio.create_task(work())
    await began.wait()
    stopping = asyncio.create_task(_threads.stopped([task]))
    for _ in range(10):
        await asyncio.sleep(0)
        stopping.cancel()
    assert not stopping.done()
    may_end.set()
    await asyncio.wait([stopping])
    assert task.done()


async def test_a_call_is_told_that_it_is_cancelled() -> None:
    """So that a long one can end; what it raises then is nobody's."""
    stop = threading.Event()

    def call() -> None:
        stop.wait()
        raise RuntimeError

    with anyio.move_on_after(0) as scope:
        await _threads.run(call, on_cancel=stop.set)
    assert scope.cancelled_caught
