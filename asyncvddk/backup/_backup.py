"""Many disks into one snapshot: which at once, what becomes of those that fail, when it is committed."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import anyio
import structlog

from asyncvddk.backup._limits import BackupLimits
from asyncvddk.backup._observer import BackupProgress
from asyncvddk.backup._parent import find_parent
from asyncvddk.backup._pipeline import StoringError, first_of, read_chunks, storing
from asyncvddk.backup._plan import (
    ChunkMask,
    Mask,
    Plan,
    bytes_of,
    changed_chunks,
    plan_allocated,
    plan_changed,
    plan_whole,
    runs,
    sample,
)
from asyncvddk.errors import VddkError
from asyncvddk.repository import (
    ChunksLostError,
    DamagedError,
    FailedDisk,
    ObjectMissingError,
    RepositoryError,
    _threads,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncvddk.backup._disk import BackupDisk, ReadableDisk
    from asyncvddk.backup._observer import BackupObserver
    from asyncvddk.backup._workers import Workers
    from asyncvddk.repository import DiskEntry, DiskWriter, Grid, Repository, Session, Snapshot

_logger = structlog.get_logger()

GUARD_PART: Final = 0.001
GUARD_LEAST: Final = 10
READ_WHOLE_EVERY_S: Final = 30 * 86400.0
CHECKPOINT_EVERY_S: Final = 60.0
_COMMITS: Final = 3
_ALL: Final = "all that is allocated is read"
_EXPECTED: Final = (OSError, VddkError, ValueError, MemoryError)
"""What a disk may fail of without failing the others; all else is a bug."""


class BackupFailedError(VddkError):
    """No disk could be read, so there is no snapshot. The message has the reason of each."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        """Take what each disk failed of, by key."""
        super().__init__(errors)
        self.errors = errors
        """What each disk failed of, by key."""

    def __str__(self) -> str:
        """One line."""
        reasons = "; ".join(f"{key}: {error}" for key, error in self.errors.items())
        return f"no disk could be read, so there is no snapshot: {reasons}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    """How disks are read."""

    mode: Literal["auto", "allocated", "full"] = "auto"
    """``auto``: only what changed, where a disk has changed-block information that fits its parent, else what is
    allocated. ``allocated``: that in any case. ``full``: every byte."""
    read_whole_every_s: float = READ_WHOLE_EVERY_S
    """When the last backup that read all that is allocated is older than this many seconds, the next one does so again,
    whatever changed-block information says."""
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    """After so many seconds it is noted what was read; one that is interrupted is gone on with from there. ``inf``:
    never."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.checkpoint_every_s < 0:
            raise ValueError(f"checkpoint_every_s={self.checkpoint_every_s}: expected at least 0")
        if self.mode not in {"auto", "allocated", "full"}:
            raise ValueError(f"mode={self.mode!r}: expected auto, allocated or full")


async def backup(  # noqa: PLR0913  (each is a fact of its own)
    repository: Repository,
    disks: Sequence[BackupDisk],
    *,
    source: str,
    parent: Snapshot | Literal["latest"] | None = "latest",
    tags: Sequence[str] = (),
    config: bytes | None = None,
    host: str | None = None,
    options: BackupOptions | None = None,
    limits: BackupLimits | None = None,
    observer: BackupObserver | None = None,
) -> Snapshot:
    """Back up ``disks`` as one snapshot of ``source`` (a machine's name, a folder) and return it.

    Each chunk is compared with the same disk of ``parent`` (default: the newest snapshot of the source) and with what
    the repository has; only new ones are stored. A disk that cannot be read does not stop the others: it is in the
    snapshot's ``failed``, and the snapshot is ``partial``. ``config``: what belongs to it, as the configuration of a
    virtual machine; at most 64 MiB.

    Where a disk brings changed-block information, a sample of what is said to be unchanged is read all the same; if it
    did change, the information is not used and the disk's entry says so (``mistrusted``).

    ``limits``: how much is done at once; backups that are given the same object keep them together.

    Memory: ``limits.memory_limit``, and 36 bytes for each chunk of the disks under way. Cancelled, or after an error,
    calls under way are waited for, disks are closed, and no snapshot appears. The next backup of the source stores
    nothing again that is there already, and of disks that are as they were (``BackupDisk.state``) reads nothing again
    that was read up to a minute before the end (``checkpoint_every_s``), however this one ended.

    Raises ValueError (no disk, or two of one key), BackupFailedError (no disk could be read),
    SessionLostError, StoreError.
    """
    _check(disks)
    if parent == "latest":
        parent = await find_parent(repository, source)
    async with repository.session(source, parent=parent, host=host) as session:
        blob = None if config is None else await session.put_blob(config)
        limits = limits or BackupLimits()
        with limits.workers(local=repository.local) as workers:
            run = _Run(workers, session, options or BackupOptions(), limits, observer)
            try:
                async with anyio.create_task_group() as notes:
                    notes.start_soon(run.note_how_far)
                    async with anyio.create_task_group() as tasks:
                        for disk in disks:
                            tasks.start_soon(run.disk, disk)
                    notes.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                raise _cause(group) from None
            if len(run.errors) == len(disks):
                raise BackupFailedError(run.errors)
            return await _commit(run, session, disks, tags=tags, blob=blob)


def _check(disks: Sequence[BackupDisk]) -> None:
    """Raise ValueError unless there are disks, each with a key of its own."""
    if not disks:
        raise ValueError("no disk to back up")
    keys = [disk.key for disk in disks]
    if twice := sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
        raise ValueError(f"several disks have the key {twice[0]!r}: their backups could not be told apart")


async def _commit(
    run: _Run, session: Session, disks: Sequence[BackupDisk], *, tags: Sequence[str], blob: bytes | None
) -> Snapshot:
    """Commit; chunks that have vanished meanwhile are read again before."""
    failed = [
        FailedDisk(key=disk.key, name=disk.name, reason=str(error) or type(error).__name__)
        for disk in disks
        if (error := run.errors.get(disk.key)) is not None
    ]
    keys = [disk.key for disk in disks if disk.key not in run.errors]
    for attempt in range(_COMMITS):
        try:
            return await session.commit(config=blob, failed=failed, tags=tags, keys=keys)
        except ChunksLostError as error:
            if attempt == _COMMITS - 1:
                raise
            _logger.warning("chunks_lost", session=session.name, reason=str(error), effect="they are read again")
            try:
                for disk in disks:
                    if numbers := error.chunks.get(disk.key):
                        await run.again(disk, numbers)
            except StoringError as storing:
                raise storing.error from None
    raise AssertionError  # the last attempt returns or raises


class _Run:
    """What the disks of a backup share; only the loop's thread touches it."""

    def __init__(
        self,
        workers: Workers,
        session: Session,
        options: BackupOptions,
        limits: BackupLimits,
        observer: BackupObserver | None,
    ) -> None:
        self.errors: dict[str, Exception] = {}
        self._session = session
        self._options = options
        self._observer = observer
        self._limits = limits
        self._buffers = limits.buffers
        self._workers = workers
        self._writers: dict[str, DiskWriter] = {}

    async def note_how_far(self) -> None:
        """Make checkpoints for ever."""
        while self._options.checkpoint_every_s < math.inf:
            await anyio.sleep(self._options.checkpoint_every_s)
            try:
                await self._session.checkpoint()
            except RepositoryError as error:  # one that ends the backup comes back when it is committed
                _logger.warning("checkpoint_failed", session=self._session.name, reason=str(error))

    async def disk(self, disk: BackupDisk) -> None:
        """Back up one disk when it is its turn; what it alone fails of is noted."""
        async with self._limits.turn(disk.host):
            result: DiskEntry | Exception
            try:
                result = await self._read(disk)
            except _EXPECTED as error:
                result = error
        if isinstance(result, Exception):
            self.errors[disk.key] = result
            _logger.warning("disk_failed", disk=disk.name, reason=str(result), effect="the snapshot is partial")
        if self._observer is not None:
            self._observer.ended(disk, result)

    async def _read(self, disk: BackupDisk) -> DiskEntry:
        """Open, plan, read, close, store the index."""
        state = disk.change_id
        if disk.state is not None:
            state = await _threads.run(disk.state) or state
        async with disk.opened() as source:
            writer, plan, progress = await self._begin(disk, source, state)

            def told(size: int) -> None:
                progress.bytes_done += size
                progress.stats = writer.stats
                if self._observer is not None:
                    self._observer.progressed(disk, progress)

            if self._observer is not None:
                self._observer.started(disk, progress)
            if plan.inherit.any() and not await self._is_credible(disk, source, writer, plan):
                plan = plan_allocated(~plan.zero)
                writer.amend(mode="allocated", read_whole=time.time(), mistrusted=True)
                progress.mode, progress.bytes_done = "allocated", bytes_of(writer.grid, plan.zero)
            for first, count in runs(plan.zero):
                writer.zero(first, count)
            resumed = await self._resume(writer, plan)
            if resumed.any():
                told(bytes_of(writer.grid, resumed))
            await read_chunks(
                source, writer, plan.read & ~resumed, buffers=self._buffers, workers=self._workers, told=told
            )
        return await _finish(writer)

    async def _resume(self, writer: DiskWriter, plan: Plan) -> Mask:
        """Take what an interrupted backup had read of this disk; return which chunks."""
        with storing():
            return await _threads.run(partial(writer.take, plan.read))

    async def _begin(
        self, disk: BackupDisk, source: ReadableDisk, state: str | None
    ) -> tuple[DiskWriter, Plan, BackupProgress]:
        """Decide how the disk is read, and add it to the session."""
        parent = self._session.parent
        base = next((entry for entry in parent.disks if entry.key == disk.key), None) if parent else None
        mode = self._mode(disk, source.size, base)
        add = partial(
            self._session.add_disk,
            key=disk.key,
            name=disk.name,
            capacity=source.size,
            uuid=disk.uuid,
            change_id=disk.change_id,
            state=state,
        )
        mistrusted = False
        with storing():
            try:
                writer = await add(mode=mode, inherit=mode == "changed")
            except (DamagedError, ObjectMissingError) as error:  # the parent's index
                _logger.warning("changes_mistrusted", disk=disk.name, reason=str(error), effect=_ALL)
                mode, mistrusted = "allocated", True
                writer = await add(mode=mode)
        self._writers[disk.key] = writer
        read_whole = base.read_whole if mode == "changed" and base is not None else time.time()
        writer.amend(mode=mode, read_whole=read_whole, mistrusted=mistrusted)
        plan = await _plan(disk, source, mode, writer.grid)
        done = bytes_of(writer.grid, ~plan.read)
        return writer, plan, BackupProgress(source.size, mode, done)

    def _mode(self, disk: BackupDisk, size: int, base: DiskEntry | None) -> str:
        """Return how to read: ``changed`` only if the list begins at the very state that the parent holds."""
        if self._options.mode != "auto":
            return self._options.mode
        if disk.changed is None or base is None:
            return "allocated"
        why = None
        if (base.uuid, base.capacity) != (disk.uuid, size):
            why = "the parent has another disk under this key"
        elif base.change_id != disk.changed.since:
            why = "the changes do not begin where the parent ends"
        elif time.time() - base.read_whole > self._options.read_whole_every_s:
            why = "it is time to read all"
        if why is None:
            return "changed"
        _logger.info("changes_not_used", disk=disk.name, reason=why)
        return "allocated"

    async def _is_credible(self, disk: BackupDisk, source: ReadableDisk, writer: DiskWriter, plan: Plan) -> bool:
        """Read a sample of what is said to be unchanged; tell whether it is."""
        numbers = sample(plan.inherit, part=GUARD_PART, least=GUARD_LEAST, chance=random.SystemRandom())
        for number in numbers:
            async with self._buffers.lend(writer.chunk_size) as buffer:
                data = buffer[: writer.grid.length(number)]
                await source.readinto_at(number * writer.chunk_size, data)
                if not await self._workers.run(partial(writer.is_same, number, data)):
                    _logger.warning(
                        "changes_mistrusted",
                        disk=disk.name,
                        offset=number * writer.chunk_size,
                        reason="bytes that are said to be unchanged differ from the parent's",
                        parent=self._session.parent.id if self._session.parent else None,
                        effect=_ALL,
                    )
                    return False
        return True

    async def again(self, disk: BackupDisk, numbers: Sequence[int]) -> None:
        """Read some chunks once more."""
        writer = self._writers[disk.key]
        chunks = ChunkMask(writer.grid)
        chunks.mask[list(numbers)] = True
        async with disk.opened() as source:
            await read_chunks(
                source, writer, chunks.mask, buffers=self._buffers, workers=self._workers, told=lambda _: None
            )
        await _finish(writer)


async def _plan(disk: BackupDisk, source: ReadableDisk, mode: str, grid: Grid) -> Plan:
    """Learn what is allocated, and plan."""
    if mode == "full":
        return plan_whole(grid)
    allocated = ChunkMask(grid)
    async for block in source.allocated_blocks():
        allocated.add(block)
    if mode == "changed" and disk.changed is not None:
        return plan_changed(allocated.mask, changed_chunks(grid, disk.changed.ranges))
    return plan_allocated(allocated.mask)


async def _finish(writer: DiskWriter) -> DiskEntry:
    """Store a disk's index."""
    with storing():
        return await _threads.run(writer.finish)


def _cause(group: BaseExceptionGroup) -> BaseException:
    """Return the first error of a group, without wrapping."""
    error = first_of(group)
    return error.error if isinstance(error, StoringError) else error
