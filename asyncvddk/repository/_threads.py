"""Blocking work moved off the event loop, with this package's rule: cancelled, it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def run(call: Callable[[], T], *, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Return what ``call`` returns, from a worker thread.

    Cancelled: waits for the call to end, since it uses buffers of its caller, then goes on cancelling. (anyio alone
    waits only when one of its own scopes is cancelled.)
    """
    task = asyncio.ensure_future(anyio.to_thread.run_sync(call, limiter=limiter))
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # noted: nobody else asks for it
        raise cancelled
    return task.result()
