"""Blocking work moved off the event loop, with this package's rule: cancelled, it is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from asyncvddk.native import _memory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


async def run(
    call: Callable[[], T],
    *,
    limiter: anyio.CapacityLimiter | None = None,
    on_cancel: Callable[[], object] | None = None,
) -> T:
    """Return what ``call`` returns, from a worker thread.

    Cancelled: waits for the call to end, since it uses buffers of its caller, then goes on cancelling. ``on_cancel``
    is called before, to have a long one end early. (anyio alone waits only when one of its own scopes is cancelled.)
    """
    task = asyncio.ensure_future(anyio.to_thread.run_sync(call, limiter=limiter))
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await _ended(task)
        raise
    return task.result()


async def run_in(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """Return what ``call`` returns, from a thread of ``pool``.

    Cancelled: a call that has begun is waited for, one that has not is withdrawn.
    """
    future = pool.submit(contextvars.copy_context().run, call)
    task = asyncio.wrap_future(future)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        future.cancel()
        await _ended(task)
        raise
    task.exception()  # noted; asyncio makes a new TimeoutError of one, so the original is raised
    return future.result()


async def all_of(tasks: Collection[asyncio.Task[T]]) -> list[T]:
    """Return the results of tasks, or raise the first error when all have ended.

    Cancelled: so are they, and waited for. (In a cancelled scope of anyio's, ``gather`` would keep the loop turning.)
    """
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        await stopped(tasks)
        raise
    for task in tasks:
        if not task.cancelled():
            task.exception()  # noted: only the first is raised
    return [task.result() for task in tasks]


async def stopped(tasks: Collection[asyncio.Task[T]]) -> None:
    """Cancel tasks, and wait until they have ended; what they raise is of no interest any more."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        await _ended(task)


async def _ended(task: asyncio.Future[T]) -> None:
    """Wait for a task, whatever is cancelled."""
    with anyio.CancelScope(shield=True):
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # noted: nobody else asks for it


class Scratch(threading.local):
    """Memory of its own for each thread, always the same, whose content is undefined; freed with this object."""

    def __init__(self, size: int) -> None:
        """Take ``size`` bytes; called in each thread that asks for them."""
        self.memory = _memory.new_pages(size)
