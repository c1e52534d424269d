"""The access lock of vCenter: PrepareForAccess and EndAccess as one object."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._events import Events
from asyncvddk.disks._closing import Busy, CloseOnce, Steps, undo
from asyncvddk.errors import AccessLockedError
from asyncvddk.native import _marshal, _memory
from asyncvddk.native._connect_params import connect_params
from asyncvddk.threads import _fork
from asyncvddk.threads._calls import Calls
from asyncvddk.threads._worker import Worker, hold_cancellation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk._params import ConnectParams
    from asyncvddk.disks._closing import Abortable
    from asyncvddk.native._loader import Library
    from asyncvddk.threads._worker import Hold

DEFAULT_IDENTITY: Final = "asyncvddk"
_LONGEST_IDENTITY: Final = 50
_LOCKED: Final = 20005  # VIX_E_OPERATION_DISABLED: relocation is disabled already

_held: Final[Counter[tuple[object, ...]]] = Counter()
"""Access locks of this process: server, virtual machine, identity."""

_logger: Final = Events("asyncvddk")


class NativeParams:
    """Connection parameters as the library wants them, their secrets masked in the log, until ``wipe``."""

    def __init__(self, params: ConnectParams | None, library: Library, *, host_only: bool = False) -> None:
        """Fill the structure; ``None`` (a local connection) is NULL. Raises ValueError, NotSupportedError."""
        self._native = connect_params(params, library, host_only=host_only) if params else None
        self._lent = 0

    @contextmanager
    def lent(self, worker: Worker) -> Iterator[int]:
        """Lend the structure's address, 0 for a local connection, to one call on ``worker``.

        A call whose thread was given up may still use it: then ``wipe`` leaves it as it is, secrets included, until the
        call has come back and nothing keeps this object.
        """
        runs = not worker.given_up
        self._lent += runs
        try:
            yield self._native.address if self._native else 0
        finally:
            self._lent -= runs and not worker.given_up

    def wipe(self) -> None:
        """Overwrite the secrets; no call will use the structure any more."""
        if self._native and not self._lent:
            self._native.wipe()

    def __del__(self) -> None:
        """Wipe: each call that has the address keeps this object until C has returned."""
        native = getattr(self, "_native", None)
        if native is not None and not _fork.forked():
            native.wipe()


def checked_identity(identity: str, *, end_stale_lock: bool) -> bytes:
    """Return the identity as C text. Raises ValueError: too long, or one that others use whose lock is to be ended."""
    text = _marshal.c_text(identity, "identity")
    if not 0 < len(text) <= _LONGEST_IDENTITY:
        raise ValueError(f"identity={identity!r}: it has 1 to {_LONGEST_IDENTITY} bytes in UTF-8")
    if end_stale_lock and identity == DEFAULT_IDENTITY:
        raise ValueError(
            f"end_stale_lock: the identity {identity!r} is everybody's, and its lock may belong to a backup that runs; "
            "give an identity that no other program and no other machine uses"
        )
    return text


class Access:
    """A virtual machine that vCenter does not relocate until ``aclose``. Made by ``Vddk.access``."""

    def __init__(self, calls: Calls, params: ConnectParams, identity: bytes, live: set[Abortable]) -> None:
        """Belongs to ``prepare``."""
        self._calls = calls
        self._params = NativeParams(params, calls.library)
        self._identity = identity
        self._key = (params.server, params.vmx_spec, params.storage_object, identity)
        self._fields = {"server": params.server, "vm": params.vmx_spec, "identity": identity.decode()}
        self._held = False
        self._to_end = False
        self._live = live
        self._preparing = Busy()
        self._closing = CloseOnce()
        live.add(self)

    @classmethod
    async def prepare(  # noqa: PLR0913  (each is a choice of its own)
        cls,
        library: Library,
        params: ConnectParams,
        identity: str,
        live: set[Abortable],
        *,
        end_stale_lock: bool,
        call_timeout_s: float | None,
    ) -> Self:
        """Call PrepareForAccess on a new thread; see ``Vddk.access``."""
        text = checked_identity(identity, end_stale_lock=end_stale_lock)
        worker = Worker("vddk-access", label=f"access lock of {params.server}", call_timeout_s=call_timeout_s)
        try:
            access = cls(Calls(library, worker), params, text, live)
        except BaseException as exc:
            await undo(worker.aclose, exc)
            raise
        try:
            await access._prepare(end_stale_lock=end_stale_lock)
        except BaseException as exc:
            await undo(access.aclose, exc)  # VMware's guide: EndAccess also when PrepareForAccess failed
            raise
        return access

    async def _prepare(self, *, end_stale_lock: bool) -> None:
        # cancelled, it counts all the same whose the lock is
        with self._preparing, hold_cancellation(shield=False) as hold:
            try:
                await self._ask(hold, needed=False)
            except AccessLockedError as error:
                if _held[self._key]:
                    error.add_note("this process holds that lock itself: share one access() among the machine's disks")
                if hold or not end_stale_lock or _held[self._key]:
                    raise
                await self._ask_again(error, hold)
            self._held = True
            _held[self._key] += 1

    async def _ask(self, hold: Hold, *, needed: bool = True) -> None:
        """Call PrepareForAccess; not ``needed``, it is withdrawn when it is cancelled in the queue."""
        answer = await self._raw("PrepareForAccess", hold, needed=needed)
        # ending a lock that was there before would unlock the machine under somebody's backup
        self._to_end = answer & 0xFFFF != _LOCKED
        if answer:
            raise await self._calls.error("PrepareForAccess", answer)

    async def _ask_again(self, error: AccessLockedError, hold: Hold) -> None:
        """End a lock that an earlier run has left under our identity."""
        _logger.warning("stale_access_lock_ended", **self._fields, reason=str(error))
        await undo(lambda: self._call_end(hold), error)
        try:
            await self._ask(hold)
        except AccessLockedError as again:
            again.add_note("EndAccess was called in between: another identity holds the lock, or a migration runs")
            raise

    async def _call_end(self, hold: Hold) -> None:
        if answer := await self._raw("EndAccess", hold):
            raise await self._calls.error("EndAccess", answer)

    async def _raw(self, name: str, hold: Hold, *, needed: bool = True) -> int:
        keep = (self._params, self._identity)
        with self._params.lent(self._calls.worker) as address:
            arguments = (address, _memory.bytes_address(self._identity))
            return await self._calls.raw(name, *arguments, keep=keep, hold=hold, needed=needed)

    def abort(self, reason: str = "aborted by the program") -> None:
        """Give up the call that hangs, PrepareForAccess or EndAccess: who waits gets AbortedError at once.

        The machine may stay locked then (the log says so): a later run can end the lock, see ``Vddk.access``. Without a
        call under way nothing happens. From the event loop only; see ``Connection.abort``.
        """
        if self._calls.worker.in_call:
            self._calls.worker.abandon(reason)

    async def aclose(self) -> None:
        """Call EndAccess and end the thread. Idempotent; runs to its end when cancelled, then goes on cancelling.

        Raises NativeError by code; the thread has ended all the same.
        """
        await self._closing.run(self._close)

    async def _close(self, hold: Hold) -> None:
        await self._preparing.over(hold)
        steps = Steps()
        steps.push(lambda: self._live.discard(self))
        steps.push(self._forget)
        steps.push(self._calls.worker.aclose)
        if self._to_end and not self._calls.worker.closed:
            steps.push(lambda: self._call_end(hold))
        await steps.aclose()

    def _forget(self) -> None:
        if self._held:
            _held[self._key] -= 1
        if self._calls.worker.given_up:
            _logger.warning("access_lock_left", **self._fields, effect="the virtual machine may not be relocated")
        self._params.wipe()
