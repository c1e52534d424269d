"""Blocking work moved off the event loop, with this package's rule: cancelled, it is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

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


async def _ended(task: asyncio.Future[T]) -> None:
    """Wait for a task, whatever is cancelled."""
    with anyio.CancelScope(shield=True):
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # noted: nobody else asks for it
