"""The access lock of vCenter: PrepareForAccess and EndAccess as one object."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._calls import Calls
from asyncvddk._closing import CloseOnce, Steps, undo
from asyncvddk._worker import Worker, hold_cancellation
from asyncvddk.native import _log, _marshal, _memory

if TYPE_CHECKING:
    from asyncvddk._opening import Closable
    from asyncvddk._worker import Hold
    from asyncvddk.models import ConnectParams
    from asyncvddk.native._loader import Library

_LONGEST_IDENTITY: Final = 50


class NativeParams:
    """Connection parameters as the library wants them, their secrets masked in the log, until ``wipe``."""

    def __init__(self, params: ConnectParams | None) -> None:
        """Fill the structure; ``None`` (a local connection) is NULL."""
        self._secrets = [s.reveal() for s in (params.password, params.cookie) if s] if params else []
        self._native = _marshal.connect_params(params) if params else None
        for secret in self._secrets:
            _log.add_secret(secret)

    @property
    def address(self) -> int:
        """Address of the structure, 0 for a local connection."""
        return self._native.address if self._native else 0

    def wipe(self) -> None:
        """Overwrite the secrets; no call may use the structure any more."""
        for secret in self._secrets:
            _log.drop_secret(secret)
        self._secrets.clear()
        if self._native:
            self._native.wipe()


class Access:
    """A virtual machine that vCenter does not relocate until ``aclose``. Made by ``Vddk.access``."""

    def __init__(self, calls: Calls, params: NativeParams, identity: bytes, live: set[Closable]) -> None:
        """Belongs to ``prepare``."""
        self._calls = calls
        self._params = params
        self._identity = identity
        self._live = live
        self._asked = False
        self._closing = CloseOnce()
        live.add(self)

    @classmethod
    async def prepare(cls, library: Library, params: ConnectParams, identity: str, live: set[Closable]) -> Self:
        """Call PrepareForAccess on a new thread; see ``Vddk.access``."""
        text = _marshal.c_text(identity, "identity")
        if not 0 < len(text) <= _LONGEST_IDENTITY:
            raise ValueError(f"identity={identity!r}: it has 1 to {_LONGEST_IDENTITY} bytes in UTF-8")
        native = NativeParams(params)
        try:
            access = cls(Calls(library, Worker("vddk-access")), native, text, live)
        except BaseException:
            native.wipe()
            raise
        try:
            await access._prepare()
        except BaseException as exc:
            await undo(access.aclose, exc)  # VMware's guide: EndAccess also when PrepareForAccess failed
            raise
        return access

    async def _prepare(self) -> None:
        with hold_cancellation(shield=False) as hold:
            self._asked = True
            try:
                answer = await self._call("PrepareForAccess", hold, needed=False)
            except asyncio.CancelledError:
                self._asked = False  # it was withdrawn from the queue
                raise
            if answer:
                raise await self._calls.error("PrepareForAccess", answer)

    async def _call(self, name: str, hold: Hold, *, needed: bool = True) -> int:
        arguments = (self._params.address, _memory.bytes_address(self._identity))
        return await self._calls.raw(name, *arguments, keep=(self._params, self._identity), hold=hold, needed=needed)

    async def aclose(self) -> None:
        """Call EndAccess and end the thread. Idempotent; runs to its end when cancelled, then goes on cancelling."""
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        async with Steps() as steps:
            steps.callback(self._live.discard, self)
            steps.callback(self._params.wipe)
            steps.step(self._calls.worker.aclose)
            if self._asked and (answer := await self._call("EndAccess", hold)):
                raise await self._calls.error("EndAccess", answer)
