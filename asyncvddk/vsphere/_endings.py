"""Work that is never left halfway: cancelled, it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def to_its_end(work: Coroutine[object, object, T]) -> T:
    """Return what ``work`` returns. Cancelled, however often: it runs to its end, then the cancellation goes on.

    So what it learns that must not be lost, as the name of a snapshot, it stores itself; an error of it becomes the
    cause of the cancellation.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is None:
        return task.result()
    raise cancelled from (None if task.cancelled() else task.exception())
