"""Objects that are opened by ``await`` or by ``async with``, whichever the caller likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from types import TracebackType


class Closable(Protocol):
    """What can be closed by awaiting ``aclose()``."""

    def aclose(self) -> Awaitable[None]:
        """Close; idempotent."""


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
        """Close what was opened."""
        thing, self._thing = self._thing, None
        if thing is not None:
            await thing.aclose()
