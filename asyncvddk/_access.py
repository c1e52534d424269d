"""The access lock of vCenter: PrepareForAccess and EndAccess as one object."""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._calls import Calls
from asyncvddk._closing import CloseOnce, undo
from asyncvddk._worker import Worker
from asyncvddk.native import _marshal, _memory
from asyncvddk.native._connect_params import connect_params

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk._opening import Closable
    from asyncvddk._params import ConnectParams
    from asyncvddk._worker import Hold
    from asyncvddk.native._loader import Library

_LONGEST_IDENTITY: Final = 50


class NativeParams:
    """Connection parameters as the library wants them, their secrets masked in the log, until ``wipe``."""

    def __init__(self, params: ConnectParams | None, library: Library, *, host_only: bool = False) -> None:
        """Fill the structure; ``None`` (a local connection) is NULL. Raises ValueError, NotSupportedError."""
        self._native = connect_params(params, library, host_only=host_only) if params else None
        self._lent = 0

    @contextmanager
    def lent(self, worker: Worker) -> Iterator[int]:
        """Lend the structure's address, 0 for a local connection, to one call on ``worker``.

        A call whose thread was given up may use it for ever: then ``wipe`` leaves it as it is, secrets included.
        """
        runs = not worker.closed
        self._lent += runs
        try:
            yield self._native.address if self._native else 0
        finally:
            self._lent -= runs and not worker.closed

    def wipe(self) -> None:
        """Overwrite the secrets; no call will use the structure any more."""
        if self._native and not self._lent:
            self._native.wipe()


class Access:
    """A virtual machine that vCenter does not relocate until ``aclose``. Made by ``Vddk.access``."""

    def __init__(self, calls: Calls, params: NativeParams, identity: bytes, live: set[Closable]) -> None:
        """Belongs to ``prepare``."""
        self._calls = calls
        self._params = params
        self._identity = identity
        self._live = live
        self._closing = CloseOnce()
        live.add(self)

    @classmethod
    async def prepare(cls, library: Library, params: ConnectParams, identity: str, live: set[Closable]) -> Self:
        """Call PrepareForAccess on a new thread; see ``Vddk.access``."""
        text = _marshal.c_text(identity, "identity")
        if not 0 < len(text) <= _LONGEST_IDENTITY:
            raise ValueError(f"identity={identity!r}: it has 1 to {_LONGEST_IDENTITY} bytes in UTF-8")
        native = NativeParams(params, library)
        try:
            access = cls(Calls(library, Worker("vddk-access")), native, text, live)
        except BaseException:
            native.wipe()
            raise
        try:
            await access._call("PrepareForAccess")
        except BaseException as exc:
            await undo(access.aclose, exc)  # VMware's guide: EndAccess also when PrepareForAccess failed
            raise
        return access

    async def _call(self, name: str, hold: Hold | None = None) -> None:
        keep = (self._params, self._identity)
        with self._params.lent(self._calls.worker) as address:
            await self._calls(name, address, _memory.bytes_address(self._identity), keep=keep, hold=hold)

    async def aclose(self) -> None:
        """Call EndAccess and end the thread. Idempotent; runs to its end when cancelled, then goes on cancelling.

        Raises NativeError by code; the thread has ended all the same.
        """
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        async with AsyncExitStack() as steps:
            steps.callback(self._live.discard, self)
            steps.callback(self._params.wipe)
            steps.push_async_callback(self._calls.worker.aclose)
            await self._call("EndAccess", hold)
