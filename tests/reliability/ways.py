"""Ways to cancel a call from inside its event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from tests.fix_stub import Gate

    Call: TypeAlias = Callable[[], Awaitable[object]]

WAYS = ("task", "timeout", "scope", "deadline")


class Canceller:
    """Makes one call in a task of its own; ``now`` cancels it by one of ``WAYS``."""

    def __init__(self, way: str, call: Call) -> None:
        """Start the task; it runs when the loop gets to it."""
        self._call = call
        self._scope = anyio.CancelScope()
        self._limit = asyncio.timeout(None)
        self._way = way
        run = {"task": self._plainly, "timeout": self._in_timeout, "deadline": self._in_fail_after}
        self.task = asyncio.create_task(run.get(way, self._in_scope)())

    def now(self) -> None:
        """Cancel, once more if need be; nothing when the task has ended."""
        if self.task.done():
            return
        if self._way == "task":
            self.task.cancel()
        elif self._way == "timeout":
            if not self._limit.expired():
                self._limit.reschedule(asyncio.get_running_loop().time() - 1)
        elif self._way == "deadline":
            self._scope.deadline = anyio.current_time() - 1
        else:
            self._scope.cancel()

    async def cancelled(self) -> bool:
        """Wait for the task and tell whether the cancellation arrived in it."""
        try:
            return bool(await self.task)
        except asyncio.CancelledError:
            return True

    async def _plainly(self) -> bool:
        await self._call()
        return False

    async def _in_timeout(self) -> bool:
        try:
            async with self._limit:
                await self._call()
        except TimeoutError:
            return True
        return False

    async def _in_scope(self) -> bool:
        with self._scope:
            await self._call()
            await anyio.lowlevel.checkpoint()  # a close is shielded: the cancellation goes on behind it
        return self._scope.cancelled_caught

    async def _in_fail_after(self) -> bool:
        try:
            with anyio.fail_after(None) as self._scope:
                await self._call()
                await anyio.lowlevel.checkpoint()
        except TimeoutError:
            return True
        return False


async def settle() -> None:
    """Let the loop turn until everything that can go on has."""
    for _ in range(20):
        await asyncio.sleep(0)


async def cancel_while_running(way: str, gate: Gate, call: Call) -> bool:
    """Cancel when the native call stands at its gate; check that it is waited for; let it go."""
    canceller = Canceller(way, call)
    await gate.arrival()
    canceller.now()
    await settle()
    assert not canceller.task.done(), "the caller went on while C still had its buffers"
    gate.release(10)
    return await canceller.cancelled()
