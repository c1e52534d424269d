"""Calls of the bundled engine that fail, or stand still until a test lets them go."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from asyncvddk.errors import NativeError
from asyncvddk.native._functions import FUNCTIONS
from asyncvddk.native._structs import VixError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_AFTER_START: Final = {
    function.name.removeprefix("VixDiskLib_") for function in FUNCTIONS if function.restype is VixError
} - {"Init", "InitEx"}  # these read the rules
_CALLBACKS: Final = {"ReadAsync.callback", "WriteAsync.callback"}
_TOGETHER: Final = {"Read": "Read.any", "Write": "Write.any"}
_MOST_CODES: Final = 1 << 16


def _rule_name(function: str, known: set[str]) -> str:
    """Return how the engine's rules name ``function``."""
    name = function.removeprefix("VixDiskLib_")
    if name not in known:
        raise ValueError(f"function={function!r}: not one of {', '.join(sorted(known))}")
    return _TOGETHER.get(name, name)


@dataclass(frozen=True, slots=True)
class Fail:
    """Calls of one function that fail: ``Fail("Open", DiskLockedError)``, ``Fail("Read", 14009, call=3)``.

    Raises ValueError: no such function, error or call.
    """

    function: str
    """C function that returns an error, without ``VixDiskLib_``. ``Read`` and ``Write`` count their asynchronous twins
    too, as ``AsyncDisk`` chooses between them; ``ReadAsync.callback`` and ``WriteAsync.callback`` fail after a request
    was accepted. A failing ``Close`` or ``Disconnect`` closes all the same."""
    error: int | type[NativeError]
    """Code, as 14009, or the class of error that it leads to."""
    call: int | None = None
    """Which call fails, 1 is the first after the engine's start; ``None``: every one."""

    def __post_init__(self) -> None:
        """Refuse what the engine would leave out."""
        _rule_name(self.function, _AFTER_START | _CALLBACKS)
        if not 0 < self.code < _MOST_CODES:
            raise ValueError(f"error={self.error}: a code lies in 1..{_MOST_CODES - 1}")
        if self.call is not None and self.call < 1:
            raise ValueError(f"call={self.call}: 1 is the first, None is every one")

    @property
    def code(self) -> int:
        """Number of the error. Raises ValueError: a class that stands for no code."""
        if isinstance(self.error, int):
            return self.error
        codes = NativeError._by_code.items()  # noqa: SLF001  (the registry)
        code = next((code for code, cls in codes if cls is self.error), None)
        if code is None:
            raise ValueError(f"error={self.error.__name__}: stands for no code; give a class below it, or a number")
        return code

    @property
    def rule(self) -> str:
        """What the configuration file says."""
        return f"{_rule_name(self.function, _AFTER_START | _CALLBACKS)}:{self.call or 0}:{self.code}"


class Hang:
    """One call that stands still, as over a dead network, until the test lets it go; of one engine, once.

    ``function`` is named as for ``Fail``, or ``Exit``; ``call`` is its number, 1 the first after the engine's start. ::

        hang = Hang("Read")
        async with engine(EngineConfig(hang=[hang])) as vddk, vddk.open_disk(path) as disk:
            reading = asyncio.create_task(disk.read_at(0, 512))
            async with hang:  # entered when the call hangs, which goes on behind the block
                reading.cancel()

    ``await hang.arrived()`` and ``hang.release()`` do the same without a block; but when the test fails in between, a
    disk that is closed waits for its call without end. Nothing is polled and nothing depends on time. The end of the
    engine's block releases what is left, except a hanging ``Exit``, unless the block fails. Raises ValueError: no such
    function or call.
    """

    def __init__(self, function: str, *, call: int = 1) -> None:
        """Describe the call; nothing exists before the engine's configuration is written."""
        self._name = _rule_name(function, _AFTER_START | _CALLBACKS | {"Exit"})
        if call < 1:
            raise ValueError(f"call={call}: 1 is the first")
        self._call = call
        self._fifo: Path | None = None
        self._writer: Future[int] = Future()
        self._writer.set_running_or_notify_cancel()  # a waiter's cancellation is not the thread's
        self._early = False
        self.released = False
        """True once ``release`` was called: the call goes through, or has gone."""

    def __repr__(self) -> str:
        """Name the call."""
        return f"Hang({self._name!r}, call={self._call})"

    @property
    def at_exit(self) -> bool:
        """True when it is the library's end that hangs."""
        return self._name == "Exit"

    def rule(self, fifo: Path) -> str:
        """Return what the configuration file says: the call waits for ``fifo``. Raises ValueError: a comma in it."""
        if "," in str(fifo):
            raise ValueError(f"{fifo}: a comma cannot stand in the path of a configuration with hanging calls")
        return f"{self._name}:{self._call}:{fifo}"

    def place(self, fifo: Path) -> None:
        """Make ``fifo``, where the call will stand. Raises RuntimeError: it has one already; OSError."""
        if self._fifo is not None:
            raise RuntimeError(f"{self} belongs to an engine already; make another one")
        os.mkfifo(fifo, 0o600)
        self._fifo = fifo
        threading.Thread(target=self._meet, args=(fifo,), name="vddk-hang", daemon=True).start()

    def _meet(self, fifo: Path) -> None:
        """Open the FIFO, which takes until the call has opened it too."""
        try:
            self._writer.set_result(os.open(fifo, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as exc:
            self._writer.set_exception(exc)

    async def __aenter__(self) -> Self:
        """Wait until the call hangs. Raises as ``arrived``."""
        await self.arrived()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let it go."""
        self.release()

    async def arrived(self) -> None:
        """Wait until the call hangs; no longer if it has hung already. Cancelled: nothing changes.

        Raises RuntimeError: the call was released before it came.
        """
        await asyncio.wrap_future(self._writer)
        if self._early:
            raise RuntimeError(f"{self} was released before it came")

    def release(self) -> None:
        """Let the call go, now or when it comes. Idempotent; nothing happens before the engine's start."""
        fifo = self._fifo
        if fifo is None or self.released:
            return
        self.released = True
        self._early = not self._writer.done()
        both_ends = os.open(fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)  # whoever waits in an open goes on
        try:
            os.close(self._writer.result())
        finally:
            fifo.unlink()
            os.close(both_ends)
