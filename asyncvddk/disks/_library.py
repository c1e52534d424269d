"""Vddk: the library as users see it: initialised and ended, the way to connections and disks."""

from __future__ import annotations

import functools
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, overload

from asyncvddk._config import LibraryConfig
from asyncvddk._events import Events
from asyncvddk.disks._access import DEFAULT_IDENTITY, Access, NativeParams, checked_identity
from asyncvddk.disks._closing import Steps, undo, undone_on_error
from asyncvddk.disks._connection import Connection
from asyncvddk.disks._one_disk import OneDisk
from asyncvddk.disks._opening import Opening
from asyncvddk.disks._retry import retried
from asyncvddk.disks._runtime import RUNTIME
from asyncvddk.disks._thumbprint import fetch_thumbprint
from asyncvddk.errors import ClosedError, InvalidArgumentError, NativeError, NotSupportedError, UnsupportedError
from asyncvddk.models import CleanupResult, OpenFlags
from asyncvddk.native import _core, _log, _marshal, _memory
from asyncvddk.threads import _fork
from asyncvddk.threads._calls import Calls
from asyncvddk.threads._worker import Worker, hold_cancellation

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType

    from asyncvddk._params import ConnectParams
    from asyncvddk.disks._closing import Abortable
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._retry import RetryPolicy
    from asyncvddk.disks._retrying import RetryingDisk
    from asyncvddk.disks._thumbprint import Algorithm

_API_VERSIONS: Final = ((8, 0), (7, 0), (6, 7), (6, 5))
"""What we ask of InitEx, newest first: a library refuses a version newer than its own."""


_logger = Events("asyncvddk")


class Vddk:
    """The native library, for as long as the ``async with`` block lasts.

    ``libdir`` is the installation root of a VDDK, the folder that holds ``lib64``; default: the environment variable
    ``ASYNCVDDK_LIBDIR``, else the open engine of this package, which does local disks. ``config`` is the library's
    configuration file, or a ``LibraryConfig``. Libraries from 6.5 to 9 are taken: sizes of structures and missing
    functions are those of the library that is loaded.

    A process has one library. Any number of ``Vddk`` objects, on any event loops, share it: the first initialises it,
    the last ends it. Threads of the library do not survive ``fork``: start child processes by ``spawn``. In a child
    that was forked after the first ``async with`` everything raises RuntimeError, and closing does nothing.

    ``call_timeout_s`` is the time limit of every native call, also of connections, disks and access locks that are
    given none of their own: seconds that a call runs, ``None`` or ``math.inf`` for no limit. Waiting behind other calls
    of the connection, or until the library opens for nobody else, is not counted. A call that tells progress (create,
    clone, shrink ...) must tell some as often as that. What runs longer, by an eighth at most, is given up with its
    connection: see ``Connection.abort``, CallTimeoutError.

    While a call that was given up may still be inside the library, its ``Exit`` is not called: the library stays
    initialised, for later users in this process. When its own start or end was given up, it is unusable for good.

    Raises LibraryLoadError (here: nothing to load, or another library is loaded), FileNotFoundError (``config``),
    ValueError (``call_timeout_s``), RuntimeError (a forked child).
    """

    def __init__(
        self,
        libdir: str | os.PathLike[str] | None = None,
        *,
        config: str | os.PathLike[str] | LibraryConfig | None = None,
        call_timeout_s: float | None = None,
    ) -> None:
        """Find and load the library; nothing of it runs yet."""
        self._config = config if config is None or isinstance(config, LibraryConfig) else Path(config).absolute()
        if isinstance(self._config, Path) and not self._config.is_file():
            raise FileNotFoundError(f"{self._config}: no such configuration file")
        self._call_timeout_s = _checked_timeout(call_timeout_s)
        self._library = RUNTIME.load(libdir)
        self._calls: Calls | None = None
        self._worker: Worker | None = None
        self._entered = False
        self._live: set[Abortable] = set()
        self._transport_modes: tuple[str, ...] = ()

    @property
    def library_file(self) -> Path:
        """The loaded file, symbolic links resolved."""
        return self._library.file

    @property
    def version(self) -> str | None:
        """Version that the library gives in its log, as ``8.0.1``; before ``async with`` that of its file's name.

        ``None`` when neither tells.
        """
        return ".".join(map(str, self._library.version)) or None

    @property
    def transport_modes(self) -> tuple[str, ...]:
        """Transport modes of the library in its order of trial; empty before ``async with``, or if it tells none."""
        return self._transport_modes

    async def __aenter__(self) -> Self:
        """Initialise the library, unless another user has. Raises NativeError; cancelled, nothing is left."""
        if self._entered:
            raise RuntimeError("Vddk: this object is in use already; make another one")
        self._entered = True
        try:
            async with undone_on_error() as steps:
                self._worker = Worker("vddk-library", label="library", call_timeout_s=self._call_timeout_s)
                calls = Calls(self._library, self._worker)
                steps.push(calls.worker.aclose)
                async with RUNTIME.turn():
                    await self._begin(calls)
                    RUNTIME.users += 1
                steps.push(lambda: self._leave(calls))
                modes = await self._list_modes(calls)
        except BaseException:
            self._entered = False
            raise
        self._transport_modes = modes
        self._calls = calls
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what is still open, then end the library if nobody else uses it.

        An error of the block stays the one that is raised; those of closing are its notes.
        """
        calls, self._calls = self._calls, None
        if calls is None or _fork.forked():
            return
        steps = Steps()
        steps.push(lambda: setattr(self, "_entered", False))
        steps.push(calls.worker.aclose)
        steps.push(lambda: self._leave(calls))
        for thing in sorted(self._live, key=lambda thing: isinstance(thing, Connection)):
            steps.push(thing.aclose)  # access locks are ended when the connections are closed
        if exc is None:
            await steps.aclose()
        else:
            await undo(steps.aclose, exc)

    def abort(self, reason: str = "aborted by the program") -> None:
        """Give up everything that may hang, at once, for a program that has to end or to go on without the library.

        All connections, those just being made as well, and calls under way for access locks, the library's start and
        its end: whoever waits gets AbortedError. Access locks at rest stay, so that leaving the ``async with`` block
        ends them. From the event loop only; see ``Connection.abort``.
        """
        for thing in list(self._live):
            thing.abort(reason)
        if self._worker is not None and self._worker.in_call:
            self._worker.abandon(reason)

    async def _begin(self, calls: Calls) -> None:
        """Initialise the library unless it is, or was left so by one who could not end it."""
        if RUNTIME.users == 0 and RUNTIME.initialised:
            with hold_cancellation() as hold:
                await RUNTIME.end(calls, hold)
        RUNTIME.check_config(self._config)
        if not RUNTIME.initialised:
            await self._initialise(calls)

    async def _initialise(self, calls: Calls) -> None:
        """Call InitEx with the newest version that the library accepts."""
        _log.library_version = None
        given = self._config
        with given.file() if isinstance(given, LibraryConfig) else nullcontext(given) as file:
            texts = tuple(_marshal.c_path(path) for path in (self._library.root, file) if path)
            for number, version in enumerate(_API_VERSIONS, 1):
                try:
                    await self._init(calls, version, texts)
                except (UnsupportedError, InvalidArgumentError):
                    if number == len(_API_VERSIONS):
                        raise
                else:
                    RUNTIME.config = self._config
                    return

    async def _init(self, calls: Calls, version: tuple[int, int], texts: tuple[bytes, ...]) -> None:
        """Call InitEx, or Init where the library has only that: it cannot take a configuration file."""
        root, config = [*map(_memory.bytes_address, texts), 0][:2]
        name = "InitEx"
        addresses: tuple[int, ...] = (root, config)
        if "VixDiskLib_InitEx" not in self._library.bound:
            if config:
                raise NotSupportedError(f"config: {self._library.file} lacks VixDiskLib_InitEx, which would read it")
            name, addresses = "Init", (root,)
        arguments = (*version, *_core.LOG_CALLBACKS, *addresses)
        with hold_cancellation(shield=False) as hold:
            await RUNTIME.lifecycle(calls, name, *arguments, keep=texts, hold=hold)
            if hold:
                await RUNTIME.lifecycle(calls, "Exit", hold=hold)

    async def _list_modes(self, calls: Calls) -> tuple[str, ...]:
        """Return the library's transport modes; none where it cannot list them."""
        if "VixDiskLib_ListTransportModes" not in self._library.bound:
            return ()
        modes = _memory.text_at(await calls.raw("ListTransportModes"))
        return tuple(modes.split(":")) if modes else ()

    async def _leave(self, calls: Calls) -> None:
        with hold_cancellation() as hold:
            async with RUNTIME.turn(hold):
                RUNTIME.users -= 1
                if RUNTIME.users == 0:
                    await RUNTIME.end(calls, hold)

    async def cleanup(self, params: ConnectParams) -> CleanupResult:
        """Remove what crashed sessions of this program left on a server: attached disks, redo logs.

        Call it at the start of a program, before disks are opened there. Of ``params``, server and credentials count.
        The library finds what to remove through records in its ``tmp_directory`` (see ``LibraryConfig``), so keep
        that folder. Leftovers that could not be removed are in the result and in the log, and no error.

        Raises NativeError by code (nothing was done), NotSupportedError, ValueError, ClosedError. Cancelled, it is
        waited for.
        """
        calls, counts = self._in_use("cleanup"), (_memory.Cell(), _memory.Cell())
        native = NativeParams(params, self._library, host_only=True)
        try:
            with native.lent(calls.worker) as address:
                await calls("Cleanup", address, *(cell.address for cell in counts), keep=(native, counts))
        except NativeError as exc:
            if not counts[1].value:
                raise
            _logger.warning("cleanup_incomplete", remaining=counts[1].value, reason=str(exc))
        finally:
            native.wipe()
        return CleanupResult(*(cell.value for cell in counts))

    @staticmethod
    async def thumbprint_of(
        host: str, port: int = 443, *, algorithm: Algorithm = "sha1", timeout_s: float = 10.0
    ) -> str:
        """Return the thumbprint of a server's certificate, as ``ConnectParams.thumbprint`` takes it.

        ``host`` is a name or an address, IPv6 with or without brackets. No library is needed. The certificate is not
        verified: compare the result once with what the server's owner says, and keep it.

        Raises ValueError, ConnectionError (not reachable, no TLS), TimeoutError. Cancelled, nothing is left open.
        """
        return await fetch_thumbprint(host, port, algorithm, timeout_s)

    def _in_use(self, what: str) -> Calls:
        _fork.refuse(f"Vddk.{what}")
        if self._calls is None:
            raise ClosedError(f"Vddk.{what}: use it inside 'async with Vddk()'")
        return self._calls

    def _limit(self, call_timeout_s: float | None) -> float | None:
        return self._call_timeout_s if call_timeout_s is None else _checked_timeout(call_timeout_s)

    def connect(  # noqa: PLR0913  (each is a choice of its own)
        self,
        params: ConnectParams | None = None,
        *,
        read_only: bool = False,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
        call_timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Opening[Connection]:
        """Connect to local disks (``params=None``) or to a server; ``async with`` or ``await`` the result.

        ``read_only`` holds for every disk opened here. ``snapshot`` is the managed object of a snapshot, as
        ``snapshot-47``. ``transport_modes`` are tried in order; default: the library's own list. ``call_timeout_s`` is
        the time limit of every native call of the connection and its disks; default: that of this object. With
        ``retry`` connecting, and opening disks, is tried again when it fails with a transient code.

        Raises ClosedError, CallTimeoutError, NativeError by code, NotSupportedError (the library is too old for what is
        asked), ValueError (also: a secret was wiped). VMware's library logs in late: wrong credentials or a wrong
        thumbprint may show only at ``Connection.open``. Cancelled, no connection is left.
        """
        self._in_use("connect")
        modes = ":".join(transport_modes) if transport_modes is not None else None
        limit = self._limit(call_timeout_s)

        async def connect() -> Connection:
            self._in_use("connect")
            return await Connection.connect(
                self._library,
                params,
                self._live,
                read_only=read_only,
                snapshot=snapshot,
                transport_modes=modes,
                call_timeout_s=limit,
                retry=retry,
            )

        return Opening(lambda: retried(retry, connect, "connect", anew=True))

    def access(
        self,
        params: ConnectParams,
        identity: str = DEFAULT_IDENTITY,
        *,
        end_stale_lock: bool = False,
        call_timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Opening[Access]:
        """Keep vCenter from relocating the virtual machine for the ``async with`` block.

        PrepareForAccess at the start, EndAccess at the end, whatever happens in between, both on a thread of their
        own. Put taking the snapshot, reading and removing the snapshot inside. ``identity`` (1 to 50 bytes) is
        shown in vCenter's task.

        Raises AccessLockedError (20005): the machine is locked already, or a migration is under way; nothing is changed
        then. With ``end_stale_lock`` EndAccess is called once with this ``identity``, then it is tried once more: for a
        program that alone uses the identity and whose crash has left the lock. Off by default, and refused (ValueError)
        for the default identity, because nobody can tell a stale lock from that of a backup that runs. A lock that
        this very process holds is never ended.

        ``call_timeout_s`` and ``retry``: as ``connect``; add 20005 to ``RetryPolicy.codes`` to wait for a migration.
        Raises CallTimeoutError, another NativeError by code.
        """
        self._in_use("access")
        checked_identity(identity, end_stale_lock=end_stale_lock)
        limit = self._limit(call_timeout_s)

        async def prepare() -> Access:
            self._in_use("access")
            return await Access.prepare(
                self._library, params, identity, self._live, end_stale_lock=end_stale_lock, call_timeout_s=limit
            )

        return Opening(lambda: retried(retry, prepare, "access", anew=True))

    @overload
    def open_disk(
        self,
        path: str | os.PathLike[str],
        *,
        params: ConnectParams | None = None,
        read_only: bool = True,
        flags: OpenFlags = OpenFlags.NONE,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
        identity: str | None = DEFAULT_IDENTITY,
        end_stale_lock: bool = False,
        call_timeout_s: float | None = None,
        retry: None = None,
    ) -> Opening[AsyncDisk]: ...

    @overload
    def open_disk(
        self,
        path: str | os.PathLike[str],
        *,
        params: ConnectParams | None = None,
        read_only: bool = True,
        flags: OpenFlags = OpenFlags.NONE,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
        identity: str | None = DEFAULT_IDENTITY,
        end_stale_lock: bool = False,
        call_timeout_s: float | None = None,
        retry: RetryPolicy,
    ) -> Opening[RetryingDisk]: ...

    def open_disk(  # noqa: PLR0913  (each is a choice of its own, all but the path have defaults)
        self,
        path: str | os.PathLike[str],
        *,
        params: ConnectParams | None = None,
        read_only: bool = True,
        flags: OpenFlags = OpenFlags.NONE,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
        identity: str | None = DEFAULT_IDENTITY,
        end_stale_lock: bool = False,
        call_timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Opening[AsyncDisk] | Opening[RetryingDisk]:
        """Open one disk with all that it needs: access lock (on a server), connection, disk.

        When a step fails, or the caller is cancelled, the steps before it are undone in reverse order. Closing the
        disk closes everything. Arguments and errors: as ``access``, ``connect`` and ``Connection.open``. ``identity``
        None: no access lock, because the caller holds one for all disks of the machine.

        With ``retry`` the result is a RetryingDisk: opening and reading are tried again as the policy says, over a new
        connection if it allows that.
        """
        self._in_use("open_disk")
        limit = self._limit(call_timeout_s)
        lock = None
        if params is not None and identity is not None:
            checked_identity(identity, end_stale_lock=end_stale_lock)
            lock = functools.partial(
                self.access,
                params,
                identity,
                end_stale_lock=end_stale_lock,
                call_timeout_s=limit,
                retry=retry,
            )
        one = OneDisk(
            path,
            flags | (OpenFlags.READ_ONLY if read_only else OpenFlags.NONE),
            lock,
            functools.partial(
                self.connect,
                params,
                read_only=read_only,
                snapshot=snapshot,
                transport_modes=transport_modes,
                call_timeout_s=limit,
            ),
        )
        if retry is None:
            return Opening(one.open)
        timed = limit is not None and limit < math.inf
        return Opening(lambda: one.open_retrying(retry, read_only=read_only, timed=timed))


def _checked_timeout(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise ValueError(f"call_timeout_s={seconds}: a positive number of seconds, or None for no limit")
    return seconds
