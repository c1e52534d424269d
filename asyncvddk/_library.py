"""Vddk: the library as users see it: initialised and ended, the way to connections and disks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._access import Access
from asyncvddk._calls import Calls
from asyncvddk._closing import Steps, undone_on_error
from asyncvddk._connection import Connection
from asyncvddk._opening import Opening
from asyncvddk._runtime import RUNTIME
from asyncvddk._worker import Worker, hold_cancellation
from asyncvddk.errors import ClosedError, InvalidArgumentError, UnsupportedError
from asyncvddk.models import OpenFlags
from asyncvddk.native import _core, _log, _marshal, _memory

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType

    from asyncvddk._disk import AsyncDisk
    from asyncvddk._opening import Closable
    from asyncvddk.models import ConnectParams

_API_VERSIONS: Final = ((8, 0), (7, 0), (6, 7), (6, 5))
"""What we ask of InitEx, newest first: a library refuses a version newer than its own."""

_DEFAULT_IDENTITY: Final = "asyncvddk"


class Vddk:
    """The native library, for as long as the ``async with`` block lasts.

    ``libdir`` is the installation root of a VDDK, the folder that holds ``lib64``; default: the environment variable
    ``ASYNCVDDK_LIBDIR``, else the open engine of this package, which does local disks. ``config`` is the library's
    configuration file.

    A process has one library. Any number of ``Vddk`` objects, on any event loops, share it: the first initialises it,
    the last ends it. Threads of the library do not survive ``fork``: start child processes by ``spawn``.

    Raises LibraryLoadError (here: nothing to load, or another library is loaded), FileNotFoundError (``config``).
    """

    def __init__(
        self, libdir: str | os.PathLike[str] | None = None, *, config: str | os.PathLike[str] | None = None
    ) -> None:
        """Find and load the library; nothing of it runs yet."""
        self._config = Path(config).absolute() if config is not None else None
        if self._config is not None and not self._config.is_file():
            raise FileNotFoundError(f"{self._config}: no such configuration file")
        self._library = RUNTIME.load(libdir)
        self._calls: Calls | None = None
        self._entered = False
        self._live: set[Closable] = set()
        self._transport_modes: tuple[str, ...] = ()

    @property
    def library_file(self) -> Path:
        """The loaded file, symbolic links resolved."""
        return self._library.file

    @property
    def version(self) -> str | None:
        """Version that the library gives in its log, as ``8.0.0``; ``None`` before ``async with``."""
        return _log.library_version

    @property
    def transport_modes(self) -> tuple[str, ...]:
        """Transport modes of the library in its order of trial; empty before ``async with``."""
        return self._transport_modes

    async def __aenter__(self) -> Self:
        """Initialise the library, unless another user has. Raises NativeError; cancelled, nothing is left."""
        if self._entered:
            raise RuntimeError("Vddk: this object is in use already; make another one")
        self._entered = True
        try:
            async with undone_on_error() as undo:
                calls = Calls(self._library, Worker("vddk-library"))
                undo.step(calls.worker.aclose)
                async with RUNTIME.turn():
                    RUNTIME.check_config(self._config)
                    if RUNTIME.users == 0:
                        await self._initialise(calls)
                    RUNTIME.users += 1
                undo.step(self._leave, calls)
                modes = _memory.text_at(await calls.raw("ListTransportModes"))
        except BaseException:
            self._entered = False
            raise
        self._transport_modes = tuple((modes or "").split(":"))
        self._calls = calls
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what is still open, then end the library if nobody else uses it.

        An error of the block counts; those of closing then become notes of it.
        """
        calls, self._calls = self._calls, None
        if calls is None:
            return
        steps = Steps()
        steps.callback(setattr, self, "_entered", False)  # noqa: FBT003
        steps.step(calls.worker.aclose)
        steps.step(self._leave, calls)
        for thing in sorted(self._live, key=lambda thing: isinstance(thing, Connection)):
            steps.step(thing.aclose)  # access locks last
        await steps.__aexit__(kind, exc, traceback)

    async def _initialise(self, calls: Calls) -> None:
        """Call InitEx with the newest version that the library accepts."""
        config = _marshal.c_path(self._config) if self._config else b""
        root = _marshal.c_path(self._library.root)
        for number, version in enumerate(_API_VERSIONS, 1):
            try:
                await self._init_ex(calls, version, root, config)
            except (UnsupportedError, InvalidArgumentError):
                if number == len(_API_VERSIONS):
                    raise
            else:
                RUNTIME.config = self._config
                return

    async def _init_ex(self, calls: Calls, version: tuple[int, int], root: bytes, config: bytes) -> None:
        texts = [_memory.bytes_address(text) if text else 0 for text in (root, config)]
        arguments = (*version, *_core.LOG_CALLBACKS, *texts)
        with hold_cancellation(shield=False) as hold:
            await calls("InitEx", *arguments, keep=(root, config), hold=hold, needed=False)
            if hold:
                await calls.raw("Exit", hold=hold)

    async def _leave(self, calls: Calls) -> None:
        with hold_cancellation() as hold:
            async with RUNTIME.turn(hold):
                RUNTIME.users -= 1
                if RUNTIME.users == 0:
                    await calls.raw("Exit", hold=hold)

    def _in_use(self, what: str) -> Calls:
        if self._calls is None:
            raise ClosedError(f"Vddk.{what}: use it inside 'async with Vddk()'")
        return self._calls

    def connect(
        self,
        params: ConnectParams | None = None,
        *,
        read_only: bool = False,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
    ) -> Opening[Connection]:
        """Connect to local disks (``params=None``) or to a server; ``async with`` or ``await`` the result.

        ``read_only`` holds for every disk opened here. ``snapshot`` is the managed object of a snapshot, as
        ``snapshot-47``. ``transport_modes`` are tried in order; default: the library's own list.

        Raises ClosedError, NativeError by code, NotSupportedError. VMware's library logs in late: wrong credentials
        or a wrong thumbprint may show only at ``Connection.open``. Cancelled, no connection is left.
        """
        self._in_use("connect")
        modes = ":".join(transport_modes) if transport_modes is not None else None

        async def connect() -> Connection:
            self._in_use("connect")
            return await Connection.connect(
                self._library, params, self._live, read_only=read_only, snapshot=snapshot, transport_modes=modes
            )

        return Opening(connect)

    def access(self, params: ConnectParams, identity: str = _DEFAULT_IDENTITY) -> Opening[Access]:
        """Keep vCenter from relocating the virtual machine for the ``async with`` block.

        PrepareForAccess at the start, EndAccess at the end, whatever happens in between, both on a thread of their
        own. Put taking the snapshot, reading and removing the snapshot inside. ``identity`` (1 to 50 bytes) is
        shown in vCenter's task. Raises AccessLockedError (20005): a lock is left from an earlier run, or a migration is
        under way; NativeError by code.
        """
        self._in_use("access")

        async def prepare() -> Access:
            self._in_use("access")
            return await Access.prepare(self._library, params, identity, self._live)

        return Opening(prepare)

    def open_disk(  # noqa: PLR0913  (each is a choice of its own, all but the path have defaults)
        self,
        path: str | os.PathLike[str],
        *,
        params: ConnectParams | None = None,
        read_only: bool = True,
        flags: OpenFlags = OpenFlags.NONE,
        snapshot: str | None = None,
        transport_modes: Sequence[str] | None = None,
        identity: str = _DEFAULT_IDENTITY,
    ) -> Opening[AsyncDisk]:
        """Open one disk with all that it needs: access lock (on a server), connection, disk.

        When a step fails, or the caller is cancelled, the steps before it are undone in reverse order. Closing the
        disk closes everything. Arguments and errors: as ``access``, ``connect`` and ``Connection.open``.
        """
        self._in_use("open_disk")

        async def open_all() -> AsyncDisk:
            async with undone_on_error() as undo:
                if params is not None:
                    await undo.enter_async_context(self.access(params, identity))
                connection = await undo.enter_async_context(
                    self.connect(params, read_only=read_only, snapshot=snapshot, transport_modes=transport_modes)
                )
                disk = await connection.open(path, flags=flags | (OpenFlags.READ_ONLY if read_only else 0))
                disk.close_after(undo.pop_all())
            return disk

        return Opening(open_all)
