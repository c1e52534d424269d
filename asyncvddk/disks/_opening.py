"""Objects that are opened by ``await`` or by ``async with``, whichever the caller likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncvddk.disks._closing import Closable, undo

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType


T = TypeVar("T", bound=Closable)


class Opening(Generic[T]):
    """An open that has not happened yet.

    ``thing = await opening`` opens, and the caller closes it with ``await thing.aclose()``;
    ``async with opening as thing`` opens and closes. Cancelled, nothing is left open.
    """

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Remember how to open."""
        self._open = open_
        self._thing: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Open and return the object."""
        return self._open().__await__()

    async def __aenter__(self) -> T:
        """Open and return the object. Raises what the method says that made this."""
        self._thing = await self._open()
        return self._thing

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened. An error of the block stays the one that is raised; one of the close is its note."""
        thing, self._thing = self._thing, None
        if thing is None:
            return
        if exc is None:
            await thing.aclose()
        else:
            await undo(thing.aclose, exc)
