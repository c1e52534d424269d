"""A backup under way: the asynchronous face of ``_writer``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from asyncvddk._version import __version__
from asyncvddk.repository import _threads
from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.errors import DamagedError, ObjectMissingError, RepositoryError, SessionLostError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._index import Grid
from asyncvddk.repository.format._manifests import DiskEntry, Snapshot
from asyncvddk.repository.store._vault import MANIFEST_LIMIT
from asyncvddk.repository.writing._diskwriter import DiskWriter
from asyncvddk.repository.writing._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.format._manifests import FailedDisk
    from asyncvddk.repository.store._vault import Vault
    from asyncvddk.repository.writing._known import Known

_logger = structlog.get_logger()

BLOB_LIMIT: Final = MANIFEST_LIMIT


class Session:
    """One backup of one source; made by ``Repository.session`` and used as ``async with``.

    Add disks, put their chunks, commit: that is the only moment at which anything becomes visible. Leaving the block
    without a commit, in whatever way, leaves what a collection will remove. Several sessions may run at once, here and
    elsewhere. While the block runs, a task gives a sign of life every ten minutes.
    """

    def __init__(self, vault: Vault, known: Known, *, source: str, parent: Snapshot | None, host: str) -> None:
        """Describe it; nothing is stored before the block is entered."""
        self._vault = vault
        self._source = source
        self._parent = parent
        self._host = host
        self._writer = Writer(vault, known, source=source, host=host)
        self._keys: set[str] = set()
        self._beating: asyncio.Task[None] | None = None
        self._committed = False

    @property
    def parent(self) -> Snapshot | None:
        """The snapshot to compare with, which stays for as long as the session runs."""
        return self._parent

    @property
    def name(self) -> str:
        """Name of the session in the store, for logs."""
        return self._writer.name

    async def __aenter__(self) -> Self:
        """Pin the parent. Raises SnapshotNotFoundError if it is gone, StoreError."""
        parent = self._parent
        names = [self._vault.snapshot_name(parent)] if parent else []
        roots = [disk.root for disk in parent.disks] if parent else []
        blobs = [parent.config] if parent and parent.config else []
        try:
            await _threads.run(partial(self._writer.begin, names, roots, blobs))
        except BaseException as error:
            await self._end(error)
            raise
        self._beating = asyncio.create_task(self._beat())
        return self

    async def add_disk(  # noqa: PLR0913  (each is a fact of its own)
        self,
        *,
        key: str,
        name: str,
        capacity: int,
        uuid: str | None = None,
        change_id: str | None = None,
        mode: str = "full",
        inherit: bool = False,
        state: str | None = None,
    ) -> DiskWriter:
        """Begin a disk of ``capacity`` bytes; its chunks are put through the returned object, from any thread.

        If the parent has a disk of the same ``key``, each chunk is compared with it, unless its index is damaged: then
        the log says so. Chunks that are never put read as zeros; with ``inherit`` as the parent's: for a backup that
        reads only what changed. ``state`` names the content that is read: what an interrupted session had of the disk
        in the same state can be taken (``DiskWriter.take``), and ``checkpoint`` notes it for the next one.

        Raises ValueError (``capacity``, a key that was added before; ``inherit`` without such a disk in the parent, or
        with one of another uuid or capacity), DamagedError and ObjectMissingError (``inherit`` from a damaged index),
        StoreError.
        """
        if capacity <= 0:
            raise ValueError(f"capacity={capacity}: a disk has at least one byte")
        if key in self._keys:
            raise ValueError(f"disk {key!r} was added to this session before")
        base = next((disk for disk in self._parent.disks if disk.key == key), None) if self._parent else None
        if inherit and (base is None or (base.uuid, base.capacity) != (uuid, capacity)):
            theirs = f"uuid {base.uuid} and {base.capacity} bytes" if base else "no such disk"
            raise ValueError(
                f"disk {key!r}, uuid {uuid}, {capacity} bytes: nothing to inherit, the parent has {theirs}; "
                "read it whole"
            )
        entry = DiskEntry(key=key, name=name, uuid=uuid, capacity=capacity, change_id=change_id, root=b"", mode=mode)
        self._keys.add(key)
        try:
            return await _threads.run(partial(self._add_disk, entry, base, inherit=inherit, state=state))
        except BaseException:
            self._keys.discard(key)
            raise

    def _add_disk(
        self, entry: DiskEntry, base: DiskEntry | None, *, inherit: bool, state: str | None = None
    ) -> DiskWriter:
        grid = Grid(entry.capacity, self._vault.config.chunk_size, self._vault.config.page_entries)
        ids = None
        try:
            ids = self._base_ids(base, grid) if base else None
        except (DamagedError, ObjectMissingError) as error:
            self._writer.doubtful = True  # of a damaged root nobody knows the pages: any may be damaged, too
            if inherit:
                raise
            _logger.warning("parent_damaged", disk=entry.key, reason=str(error), effect="it is not compared with")
        disk = DiskWriter(self._writer, entry, grid, ids, inherit=inherit, state=state)
        self._writer.disks.append(disk)
        if base:
            self._writer.protect()
        return disk

    def _base_ids(self, base: DiskEntry, grid: Grid) -> Rows:
        """Return the parent's index, brought to the length of this disk's."""
        root = self._vault.get_root(base.root)
        ids = self._vault.get_ids(root)
        self._writer.rely_on(root)
        if len(ids) != grid.count:
            ids.resize((grid.count, ids.shape[1]), refcheck=False)
        return ids

    async def put_blob(self, data: bytes) -> bytes:
        """Store something that is no disk, as the configuration of a machine; return its id, for ``commit``.

        At most 64 MiB. Raises ValueError, StoreError.
        """
        if len(data) > BLOB_LIMIT:
            raise ValueError(f"{len(data)} bytes: a blob has at most {BLOB_LIMIT}")
        return await _threads.run(partial(self._writer.put_meta, Kind.BLOB, data))

    async def heartbeat(self) -> None:
        """Give a sign of life now, and have what is stored survive a power cut. Raises SessionLostError, StoreError."""
        await _threads.run(self._writer.heartbeat)

    async def checkpoint(self) -> None:
        """Note how far the session is: if it is interrupted, the next one of its source need not read that again.

        Of disks that were added with their ``state``; the others begin anew. What was put so far survives a power cut
        then. An interrupted session's note stays for some days. Raises SessionLostError, StoreError.
        """
        await _threads.run(self._checkpoint)

    def _checkpoint(self) -> None:
        disks = [disk for disk in list(self._writer.disks) if isinstance(disk, DiskWriter)]
        self._writer.note([part for disk in disks if (part := disk.part()) is not None])

    async def commit(  # noqa: PLR0913  (each is a fact of its own)
        self,
        *,
        config: bytes | None = None,
        failed: Sequence[FailedDisk] = (),
        partial_snapshot: bool = False,
        tags: Sequence[str] = (),
        time: float | None = None,
        keys: Sequence[str] | None = None,
    ) -> Snapshot:
        """Make a snapshot of the disks with these ``keys``, in this order (default: of all, as added); return it.

        ``config`` is the id of a blob, of this session or of its parent; ``failed`` and ``partial_snapshot`` say what
        is missing; ``time`` is when the backup began (seconds since 1970; default: when the session did). No ``put``
        may be under way. With many disks call each one's ``finish`` before, when it is done: that stores its index.

        Raises ValueError, KeyError, ChunksLostError (put those again, then commit again), SessionLostError,
        RepositoryError (a chunk whose ``put`` failed), StoreError: then there is no snapshot. Cancelled: there may be
        one.
        """
        if self._committed:
            raise ValueError("this session was committed before")
        if config is not None and not self._writer.uses(config):
            raise ValueError("config: no blob of this session or its parent, so nothing keeps it; put it first")
        draft = Snapshot(
            id=_layout.new_id(),
            source=self._source,
            time=self._writer.started if time is None else time,
            finished=0.0,
            disks=(),
            failed=tuple(failed),
            partial=partial_snapshot or bool(failed),
            parent=self._parent.id if self._parent else None,
            config=config,
            tags=tuple(tags),
            host=self._host,
            tool=f"asyncvddk {__version__}",
        )
        return await _threads.run(partial(self._commit, draft, keys))

    def _commit(self, draft: Snapshot, keys: Sequence[str] | None) -> Snapshot:
        added = {disk.key: disk for disk in self._writer.disks if isinstance(disk, DiskWriter)}
        disks = [added[key] for key in (added if keys is None else keys)]
        self._writer.disks = [*disks]
        entries = tuple(disk.finish() for disk in disks)
        snapshot = msgspec.structs.replace(draft, disks=entries, finished=self._vault.clock())
        self._writer.commit(snapshot)
        self._committed = True
        return snapshot

    async def _beat(self) -> None:
        """Give signs of life until the session is over or lost."""
        while True:
            await asyncio.sleep(_sessions.BEAT_S)
            try:
                await self.heartbeat()
            except SessionLostError as error:
                _logger.error("session_lost", session=self.name, reason=str(error), effect="it cannot be committed")  # noqa: TRY400
                return
            except RepositoryError as error:
                _logger.warning("heartbeat_failed", session=self.name, reason=str(error), effect="tried again later")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session; without a commit nothing of it is visible."""
        try:
            if self._beating:
                self._beating.cancel()
                await asyncio.wait([self._beating])
            if not self._committed and self._writer.checkpoint:  # it ran for long enough to be worth it
                with suppress(RepositoryError):  # then the last one is what stays
                    await self.checkpoint()
        finally:
            if not self._committed:
                await self._end(error)

    async def _end(self, because: BaseException | None) -> None:
        """Remove the session's objects; if the store cannot, a collection does it some day."""
        try:
            await _threads.run(partial(self._writer.end, interrupted=True))
        except RepositoryError as error:
            _logger.warning("session_left_behind", session=self.name, reason=str(error))
            if because is not None:
                because.add_note(f"the session could not be removed: {error}")
