"""Vddk: the library as users see it: initialised and ended, the way to connections and disks."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._access import Access, NativeParams
from asyncvddk._calls import Calls
from asyncvddk._closing import undone_on_error
from asyncvddk._config import LibraryConfig
from asyncvddk._connection import Connection
from asyncvddk._events import Events
from asyncvddk._opening import Opening
from asyncvddk._runtime import RUNTIME
from asyncvddk._thumbprint import fetch_thumbprint
from asyncvddk._worker import Worker, hold_cancellation
from asyncvddk.errors import ClosedError, InvalidArgumentError, NativeError, NotSupportedError, UnsupportedError
from asyncvddk.models import CleanupResult, OpenFlags
from asyncvddk.native import _core, _log, _marshal, _memory

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import TracebackType

    from asyncvddk._disk import AsyncDisk
    from asyncvddk._opening import Closable
    from asyncvddk._params import ConnectParams
    from asyncvddk._thumbprint import Algorithm

_API_VERSIONS: Final = ((8, 0), (7, 0), (6, 7), (6, 5))
"""What we ask of InitEx, newest first: a library refuses a version newer than its own."""

_DEFAULT_IDENTITY: Final = "asyncvddk"

_logger = Events("asyncvddk")


class Vddk:
    """The native library, for as long as the ``async with`` block lasts.

    ``libdir`` is the installation root of a VDDK, the folder that holds ``lib64``; default: the environment variable
    ``ASYNCVDDK_LIBDIR``, else the open engine of this package, which does local disks. ``config`` is the library's
    configuration file, or a ``LibraryConfig``. Libraries from 6.5 to 9 are taken: sizes of structures and missing
    functions are those of the library that is loaded.

    A process has one library. Any number of ``Vddk`` objects, on any event loops, share it: the first initialises it,
    the last ends it. Threads of the library do not survive ``fork``: start child processes by ``spawn``.

    Raises LibraryLoadError (here: nothing to load, or another library is loaded), FileNotFoundError (``config``).
    """

    def __init__(
        self,
        libdir: str | os.PathLike[str] | None = None,
        *,
        config: str | os.PathLike[str] | LibraryConfig | None = None,
    ) -> None:
        """Find and load the library; nothing of it runs yet."""
        self._config = config if config is None or isinstance(config, LibraryConfig) else Path(config).absolute()
        if isinstance(self._config, Path) and not self._config.is_file():
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
            async with undone_on_error() as undo:
                calls = Calls(self._library, Worker("vddk-library"))
                undo.push_async_callback(calls.worker.aclose)
                async with RUNTIME.turn():
                    RUNTIME.check_config(self._config)
                    if RUNTIME.users == 0:
                        await self._initialise(calls)
                    RUNTIME.users += 1
                undo.push_async_callback(self._leave, calls)
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
        """Close what is still open, then end the library if nobody else uses it."""
        calls, self._calls = self._calls, None
        if calls is None:
            return
        async with AsyncExitStack() as steps:
            steps.callback(setattr, self, "_entered", False)  # noqa: FBT003
            steps.push_async_callback(calls.worker.aclose)
            steps.push_async_callback(self._leave, calls)
            for thing in self._live:
                steps.push_async_callback(thing.aclose)

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
        with hold_cancellation() as hold:
            await calls(name, *version, *_core.LOG_CALLBACKS, *addresses, keep=texts, hold=hold)
            if hold:
                await calls.raw("Exit", hold=hold)

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
                    RUNTIME.config = None  # it may hold secrets
                    await calls.raw("Exit", hold=hold)

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

        Raises ClosedError, NativeError by code, NotSupportedError (the library is too old for what is asked),
        ValueError (a secret was wiped). VMware's library logs in late: wrong credentials or a wrong thumbprint may
        show only at ``Connection.open``. Cancelled, no connection is left.
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
