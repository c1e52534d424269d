"""Functions of one library, called by name on one worker; what they return becomes a value or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from asyncvddk.errors import NativeError, VddkError, native_error
from asyncvddk.native import _core, _memory
from asyncvddk.native._functions import FUNCTIONS, Thread
from asyncvddk.threads._worker import hold_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncvddk.native._loader import Library
    from asyncvddk.threads._worker import Hold, Progress, Worker

_PREFIX: Final = "VixDiskLib_"
_SERIAL: Final = frozenset(f.name for f in FUNCTIONS if f.thread in (Thread.MAIN, Thread.OPEN_CLOSE))


class HandleCall(Protocol):
    """A call with a disk's handle, as ``AsyncDisk`` makes it."""

    def __call__(self, name: str, *args: int, keep: object = None) -> Awaitable[None]:
        """Call ``VixDiskLib_<name>(handle, *args)``, as ``Calls`` does."""


class Calls:
    """How the objects of the disk layer call the library: one per connection."""

    def __init__(self, library: Library, worker: Worker) -> None:
        """Make calls of ``library`` on ``worker``."""
        self.library = library
        self.worker = worker
        worker.function_name = library.bound.name_at

    def address(self, name: str) -> int:
        """Return the address of ``VixDiskLib_<name>``. Raises NotSupportedError when the library lacks it."""
        return self.library.bound.address(_PREFIX + name)

    async def __call__(  # noqa: PLR0913  (as Worker.call)
        self,
        name: str,
        *args: int,
        path: str | None = None,
        keep: object = None,
        hold: Hold | None = None,
        needed: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """Call ``VixDiskLib_<name>``, which returns a ``VixError``; see ``Worker.call`` for the rest.

        Raises NativeError by code, ``path`` in its text; ClosedError.
        """
        answer = await self.raw(name, *args, path=path, keep=keep, hold=hold, needed=needed, progress=progress)
        if answer:
            raise await self.error(name, answer, path)

    async def long(  # noqa: PLR0913  (each is a choice of its own)
        self,
        name: str,
        *args: int,
        last: tuple[int, ...] = (),
        path: str,
        keep: object = None,
        progress: Callable[[int], object] | None = None,
        unmake: Callable[[Hold], Awaitable[None]] | None = None,
    ) -> None:
        """Call ``VixDiskLib_<name>(*args, progress function, its data, *last)``, which works on a whole disk.

        ``progress`` gets percentages on the loop. Cancelled, the library is asked to stop by what its progress function
        returns, and is waited for; ``unmake`` removes what a library made that did not stop in time. Cancelled while
        queued, it never runs. Raises as a call.
        """
        with hold_cancellation(shield=False) as hold, self.worker.progress(progress) as teller:
            arguments = (*args, *teller.arguments, *last)
            await self(name, *arguments, path=path, keep=keep, hold=hold, needed=False, progress=teller)
            if hold and unmake is not None:
                await unmake(hold)

    async def raw(  # noqa: PLR0913  (as Worker.call)
        self,
        name: str,
        *args: int,
        path: str | None = None,
        keep: object = None,
        hold: Hold | None = None,
        needed: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Call a function that returns something else than a ``VixError``."""
        mode = _core.SERIAL if _PREFIX + name in _SERIAL else 0
        address = self.address(name)
        return await self.worker.call(
            address, *args, mode=mode, keep=keep, hold=hold, needed=needed, progress=progress, path=path
        )

    def free(self, name: str, address: int) -> None:
        """Have what the library allocated freed by ``VixDiskLib_<name>``; nobody waits for it."""
        if address:
            self.worker.post(self.address(name), address)

    async def error(self, name: str, answer: int, path: str | None = None) -> NativeError:
        """Return the error for what ``VixDiskLib_<name>`` returned, with the library's text and its warnings."""
        said = "; ".join(getattr(answer, "said", ())) or None
        return native_error(_PREFIX + name, int(answer), await self._text(int(answer)), path=path, detail=said)

    async def _text(self, code: int) -> str:
        """Ask the library for its text; an error must not be lost because there is none."""
        try:
            address = await self.raw("GetErrorText", code, 0)
        except VddkError:
            return ""
        text = _memory.text_at(address)
        self.free("FreeErrorText", address)
        return text or ""
