"""Work on a whole disk that takes its time: awaited, or watched while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeAlias, TypeVar

from asyncvddk.errors import OperationCancelledError
from asyncvddk.threads._worker import hold_cancellation

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

T = TypeVar("T")
Tell: TypeAlias = Callable[[int], object] | None
"""Gets percentages, on the event loop."""

_DONE: Final = 100


class Operation(Generic[T]):
    """A create, clone, grow, shrink ... that has not begun yet. It runs once, in one of two ways.

    ``await operation`` runs it and returns its result. ``asyncio.wait_for``, ``gather`` and ``ensure_future`` take an
    operation as it is; what wants a coroutine or a function gets ``operation.run()`` or ``operation.run``:
    ``asyncio.create_task``, ``asyncio.TaskGroup.create_task``, anyio's ``TaskGroup.start_soon``.

    Or it is watched: the block starts it, and the loop gives percentages until it is done::

        async with connection.clone("copy.vmdk", "disk.vmdk") as progress:
            async for percent in progress:
                print(percent)

    Each percentage is larger than the one before. A slow loop misses some, and none is stored for it. 100 comes last,
    when the operation has succeeded and not before. When it fails, its error is raised once: by the loop, or at the end
    of the block if no loop was there to get it; the error of a block that fails itself gets it as a note.

    Leaving the block early, by ``break``, an error or a cancellation, stops the operation: the library is asked to
    stop, is waited for, and what was begun is undone as the method says that made the operation. One that was complete
    by then stays; ``succeeded`` tells.

    Nothing happens before: arguments are checked when it runs. One that never runs does nothing and does not complain;
    mypy finds a forgotten ``await`` (``--enable-error-code unused-awaitable``).
    """

    def __init__(
        self,
        start: Callable[[Tell], Coroutine[Any, Any, T]],
        progress: Tell = None,
    ) -> None:
        """Belongs to the methods that return one; ``start`` makes the coroutine that tells percentages."""
        self._start = start
        self._progress = progress
        self._begun = False
        self._task: asyncio.Task[T] | None = None
        self._news = asyncio.Event()
        self._latest = -1
        self._given = -1
        self._told = False  # how it ended

    @property
    def succeeded(self) -> bool:
        """True once a watched operation has done all its work, also when its block was left before it said so."""
        return self._task is not None and self._task.done() and not self._failed(self._task)

    async def run(self) -> T:
        """Run it and return its result. Raises RuntimeError when it has run before."""
        self._begin()
        return await self._start(self._progress)

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it and return its result."""
        return self.run().__await__()

    async def __aenter__(self) -> Self:
        """Start it; iterate over the object."""
        self._begin()
        self._task = asyncio.create_task(self._start(self._tell))
        self._task.add_done_callback(lambda _: self._news.set())
        return self

    def __aiter__(self) -> Self:
        """Return the object itself."""
        return self

    async def __anext__(self) -> int:
        """Wait for a new percentage. Raises the operation's error."""
        if self._task is None:
            raise RuntimeError("Operation: iterate inside 'async with operation'")
        while not self._task.done():
            if self._latest > self._given:
                self._given = self._latest
                return self._given
            await self._news.wait()
            self._news.clear()
        if self._told:
            raise StopAsyncIteration
        self._told = True
        self._task.result()
        return _DONE

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop what still runs and wait for it, also when cancelled meanwhile."""
        if self._task is None:
            return
        with hold_cancellation() as hold:
            self._task.cancel()
            while not self._task.done():
                try:
                    await asyncio.wait([self._task])
                except asyncio.CancelledError as again:
                    hold.append(again)
            failure = None if self._told else self._failure(self._task)
            self._told = True
            if failure is not None and exc is None:
                raise failure
            if failure is not None and exc is not None:
                exc.add_note(f"what it was watching failed too: {failure}")

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("Operation: it runs once, and it has run; call the method again for another one")
        self._begun = True

    def _tell(self, percent: int) -> None:
        if self._latest < percent < _DONE:  # 100 is said by the end itself
            self._latest = percent
            self._news.set()
        if self._progress is not None:
            self._progress(percent)

    @staticmethod
    def _failed(task: asyncio.Task[T]) -> bool:
        return task.cancelled() or task.exception() is not None

    @staticmethod
    def _failure(task: asyncio.Task[T]) -> BaseException | None:
        """Return what went wrong; being stopped is no failure, but what went wrong while it was is."""
        try:
            task.result()
        except asyncio.CancelledError as stopped:
            cause = stopped.__cause__
            return None if isinstance(cause, OperationCancelledError) else cause
        except BaseException as error:  # noqa: BLE001  (returned, not hidden)
            return error
        return None
