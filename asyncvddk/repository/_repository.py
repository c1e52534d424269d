"""The public object: a repository of backups. Its methods move blocking work to threads."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._secret import Secret
from asyncvddk.errors import ClosedError
from asyncvddk.repository import _benchmark, _opening, _snapshots, _stats, _threads
from asyncvddk.repository._reader import CACHE_SIZE, SnapshotDisk
from asyncvddk.repository.checking import _verify
from asyncvddk.repository.collection import _gc, _preview, _sessions
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._codec import DEFAULT_LEVEL
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._index import differences
from asyncvddk.repository.format._keyslots import Argon2Cost
from asyncvddk.repository.store._store import probe
from asyncvddk.repository.store._urls import open_store
from asyncvddk.repository.store._vault import Vault
from asyncvddk.repository.writing._known import Known
from asyncvddk.repository.writing._session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from typing import TypeVar

    from asyncvddk.models import Block
    from asyncvddk.repository._benchmark import BenchmarkReport
    from asyncvddk.repository._stats import RepositoryStats
    from asyncvddk.repository.checking._verify import VerifyProgress, VerifyReport
    from asyncvddk.repository.collection._gc import GcReport
    from asyncvddk.repository.errors import DamagedError
    from asyncvddk.repository.format._keyslots import KeySlot
    from asyncvddk.repository.format._manifests import Config, Snapshot
    from asyncvddk.repository.store._store import Store

    T = TypeVar("T")

DEFAULT_CHUNK_SIZE: Final = 1 << 20
"""Bytes."""


class Repository:
    """A store of backups: deduplicated, compressed, encrypted if wished, safe against crashes and other writers.

    ::

        await Repository.init("/srv/backups", password="...")
        async with Repository.open("/srv/backups", password="...") as repository:
            async with repository.session("vm-1", parent=previous) as session:
                disk = await session.add_disk(key="2000", name="vm-1.vmdk", capacity=capacity)
                await asyncio.to_thread(disk.put, 0, first_chunk)
                snapshot = await session.commit()
            async with await repository.open_disk(snapshot, "2000") as disk:
                data = await disk.read_at(0, 512)

    ``url`` is a folder, ``s3://bucket/prefix`` or another URL of ``open_store``, or an open ``Store``, which is closed
    with the repository. Methods raise ClosedError once it is closed, and StoreError when the store fails. Cancelled,
    they wait for the request under way. Several repositories, processes and machines may use one store at once.
    """

    def __init__(self, vault: Vault, known: Known) -> None:
        """Use ``open``."""
        self._vault = vault
        self._known = known
        self._closed = False

    @classmethod
    async def init(  # noqa: PLR0913  (each is a choice of its own)
        cls,
        url: str | os.PathLike[str] | Store,
        *,
        password: str | Secret | None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        level: int = DEFAULT_LEVEL,
        cost: Argon2Cost | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Config:
        """Make a repository; a local folder is created with mode 0700. Return what was decided for good.

        ``password`` None: not encrypted, and everybody who reads the store reads the backups. A lost password is a
        lost repository. ``chunk_size``: bytes, a power of two from 256 KiB to 8 MiB; small ones share more, large ones
        make fewer requests. ``level`` of zstd: -7..19, 0 for none. ``cost`` of guessing a password.

        Raises ValueError, RepositoryExistsError, StoreUnsuitableError (no exclusive create), StoreError.
        """
        secret = Secret.of(password)

        def make() -> Config:
            config = _opening.new_config(secret, chunk_size=chunk_size, level=level)
            store = _as_store(url, create=True, options=options)
            try:
                probe(store)
                return _opening.make(store, secret, config, cost or Argon2Cost())
            finally:
                if store is not url:
                    store.close()

        return await _threads.run(make)

    @classmethod
    @asynccontextmanager
    async def open(  # noqa: PLR0913  (each is a choice of its own)
        cls,
        url: str | os.PathLike[str] | Store,
        *,
        password: str | Secret | None,
        cache: str | os.PathLike[str] | None = None,
        options: Mapping[str, str] | None = None,
        threads: int | None = None,
        read_only: bool = False,
    ) -> AsyncIterator[Self]:
        """Open a repository for the block.

        ``cache``: folder for the table of known chunks; default ``$XDG_CACHE_HOME/asyncvddk``; empty: none, the table
        is made anew each time. It can be deleted at any time. ``threads``: requests to the store at once; default: one
        for each processor for a folder, 32 for others. ``read_only`` writes nothing, not even to find out whether the
        store is suitable for writers.

        Raises RepositoryNotFoundError, WrongPasswordError, DamagedError, StoreUnsuitableError, StoreError.
        """
        call = partial(cls._open, url, Secret.of(password), cache, options, threads, read_only=read_only)
        opened: list[Self] = []
        try:
            await _threads.run(lambda: opened.append(call()))  # cancelled, it is opened nevertheless
            yield opened[0]
        finally:
            for repository in opened:
                await repository.aclose()

    @classmethod
    def _open(  # noqa: PLR0913  (those of open)
        cls,
        url: str | os.PathLike[str] | Store,
        secret: Secret | None,
        cache: str | os.PathLike[str] | None,
        options: Mapping[str, str] | None,
        threads: int | None,
        *,
        read_only: bool,
    ) -> Self:
        store = _as_store(url, create=False, options=options)
        try:
            config, keys = _opening.open_keys(store, secret)
            if not read_only:
                probe(store)
            return cls(Vault(store, keys, config, threads=threads), Known(_cache_file(cache, config.id)))
        except BaseException:
            store.close()
            raise

    @property
    def config(self) -> Config:
        """What was decided when the repository was made."""
        return self._vault.config

    @property
    def chunk_size(self) -> int:
        """Bytes of a chunk."""
        return self._vault.config.chunk_size

    @property
    def local(self) -> bool:
        """True for a folder: storing a chunk is work for a processor rather than for the network."""
        return self._vault.store.local

    async def aclose(self) -> None:
        """Close: forget the keys. A second time does nothing. Disks and sessions are closed before."""
        if not self._closed:
            self._closed = True
            await _threads.run(self._close)

    def _close(self) -> None:
        try:
            self._vault.close()
        finally:
            self._known.close()

    # Keys

    async def keys(self) -> list[KeySlot]:
        """Return the key slots, the oldest first; none if the repository is not encrypted."""
        return await self._run("keys", partial(_opening.slots, self._vault.store))

    async def add_key(self, password: str | Secret, new: str | Secret, *, cost: Argon2Cost | None = None) -> KeySlot:
        """Add a second password; ``password`` is one that is there. Raises WrongPasswordError, ValueError."""
        call = partial(_opening.add_slot, self._vault.store, _secret(password), _secret(new), cost or Argon2Cost())
        return await self._run("add_key", call)

    async def change_password(
        self, password: str | Secret, new: str | Secret, *, cost: Argon2Cost | None = None
    ) -> KeySlot:
        """Put ``new`` in the place of ``password``. Raises WrongPasswordError, ValueError.

        Whoever has a copy of the old slot and its password can still open the repository.
        """
        call = partial(
            _opening.change_password, self._vault.store, _secret(password), _secret(new), cost or Argon2Cost()
        )
        return await self._run("change_password", call)

    async def remove_key(self, identifier: str) -> None:
        """Remove a key slot by its id. Raises KeySlotError: there is none, or it is the last one."""
        await self._run("remove_key", partial(_opening.remove_slot, self._vault.store, identifier))

    # Snapshots

    def session(self, source: str, *, parent: Snapshot | None = None, host: str | None = None) -> Session:
        """Return a backup to be made of ``source``; use it as ``async with``.

        ``parent``: the snapshot whose disks the new ones are compared with, and inherit from. ``host``: name of this
        machine, for the snapshot.
        """
        self._check_open("session")
        return Session(
            self._vault, self._known, source=source, parent=parent, host=platform.node() if host is None else host
        )

    async def snapshots(
        self, source: str | None = None, *, damaged: dict[str, DamagedError] | None = None
    ) -> list[Snapshot]:
        """Return the snapshots of a source, or of all, the oldest first.

        Those that cannot be read are put into ``damaged``, by id; without it the first of them raises DamagedError.
        """

        def load() -> list[Snapshot]:
            return _snapshots.load(self._vault, _snapshots.of_source(self._vault, source), damaged)

        return await self._run("snapshots", load)

    async def find(self, text: str = _snapshots.LATEST, *, source: str | None = None) -> Snapshot:
        """Return the snapshot whose id begins with ``text``, or the newest one for ``latest``.

        Raises SnapshotNotFoundError: none, or several, have such an id.
        """
        return await self._run("find", partial(_snapshots.find, self._vault, text, source))

    async def forget(self, snapshots: Iterable[Snapshot]) -> None:
        """Move snapshots to the trash, from which they can be undeleted for some days; ``gc`` frees their space.

        ``plan_forget`` says which by rules.
        """
        await self._run("forget", partial(_snapshots.forget, self._vault, list(snapshots)))

    async def forget_damaged(self, identifier: str) -> None:
        """Remove a snapshot whose manifest cannot be read: it stops collections. Raises ValueError if it can be."""
        await self._run("forget_damaged", partial(_snapshots.forget_damaged, self._vault, identifier))

    async def trash(self) -> list[Snapshot]:
        """Return the forgotten snapshots that can be undeleted, the oldest first."""

        def load() -> list[Snapshot]:
            return _snapshots.load(self._vault, _snapshots.names(self._vault, _layout.TRASH))

        return await self._run("trash", load)

    async def undelete(self, identifier: str) -> Snapshot:
        """Bring a forgotten snapshot back. Raises SnapshotNotFoundError, ChunksLostError (it is not whole any more)."""
        return await self._run("undelete", partial(_snapshots.undelete, self._vault, self._known, identifier))

    # Reading

    async def open_disk(self, snapshot: Snapshot, key: str, *, cache_size: int = CACHE_SIZE) -> SnapshotDisk:
        """Open a disk of a snapshot for reading, any range in any order; close it, or use it as ``async with``.

        ``cache_size``: bytes of chunks that it keeps. Raises KeyError (no such disk), DamagedError, ObjectMissingError.
        """
        entry = snapshot.disk(key)
        root = await self._run("open_disk", partial(self._vault.get_root, entry.root))
        return SnapshotDisk(self._vault, entry, root, cache_size)

    async def blob(self, identifier: bytes) -> bytes:
        """Return a blob, as the configuration that a snapshot names. Raises DamagedError, ObjectMissingError."""
        return bytes(await self._run("blob", partial(self._vault.get_meta, Kind.BLOB, identifier)))

    async def diff(self, old: bytes, new: bytes) -> list[Block]:
        """Return the ranges in which disk ``new`` differs from ``old``, given by their roots; in whole chunks.

        Compares indexes: reads no data, and of the indexes only what differs. Raises DamagedError, ObjectMissingError.
        """

        def compare() -> list[Block]:
            if old == new:
                return []
            return list(differences(self._vault.get_root(old), self._vault.get_root(new), self._vault.get_page))

        return await self._run("diff", compare)

    # Maintenance

    async def gc(
        self,
        *,
        grace_s: float = _gc.GRACE_S,
        trash_s: float = _gc.TRASH_S,
        session_expiry_s: float = _sessions.EXPIRY_S,
        dry_run: bool = False,
    ) -> GcReport:
        """Free what no snapshot uses; beside running backups, of any machine.

        One run plans, and the next one, at least ``grace_s`` seconds later, deletes: what is neither used again nor
        kept by a running backup. ``trash_s``: age from which forgotten snapshots are purged. ``session_expiry_s``:
        silence after which a backup is taken for dead; one that is not finds out before it commits. ``dry_run`` changes
        nothing, and says what would be done now.

        Raises RepositoryBusyError (another one is at work), DamagedError and ObjectMissingError (a snapshot cannot be
        read, so nobody knows what it uses: nothing is deleted; see ``verify``).
        """
        run = _preview.preview if dry_run else _gc.collect
        call = partial(run, self._vault, grace_s=grace_s, trash_s=trash_s, expiry_s=session_expiry_s)
        return await self._run("gc", call)

    async def verify(
        self,
        level: int = 2,
        *,
        subset: tuple[int, int] = (1, 1),
        snapshots: Iterable[Snapshot] | None = None,
        quarantine: bool = False,
        progress: Callable[[VerifyProgress], object] | None = None,
    ) -> VerifyReport:
        """Check that what is stored is what was stored, and say whose data is damaged, to the byte range.

        Level 0 reads snapshots and indexes, and looks for all chunks in a listing; 1 reads every object and compares
        its checksum; 2 decodes it and compares its content with its id. ``subset`` (n, m) reads the n-th of m parts of
        the chunks. ``snapshots``: only what these use. ``quarantine`` puts damaged objects aside: the next backup that
        reads the same data stores it again, which heals all snapshots that use it. ``progress`` is called on the event
        loop, some times a second, must not block.

        Raises ValueError, StoreError. What is damaged is no error but a finding. Cancelled, it ends with the object
        under way.
        """
        part, parts = subset
        if level not in _verify.LEVELS or not 1 <= part <= parts:
            raise ValueError(f"level={level}, subset={subset}: expected level 0..2, and a subset (n, m) with n in 1..m")
        names = None if snapshots is None else [self._vault.snapshot_name(snapshot) for snapshot in snapshots]
        loop = asyncio.get_running_loop()

        def tell(state: VerifyProgress) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, state)

        stop = threading.Event()
        call = partial(
            _verify.verify,
            self._vault,
            level=level,
            subset=subset,
            quarantine=quarantine,
            wanted=names,
            tell=tell,
            stopped=stop.is_set,
        )
        self._check_open("verify")
        return await _threads.run(call, on_cancel=stop.set)

    async def stats(self) -> RepositoryStats:
        """Count what is there; lists the whole store."""
        return await self._run("stats", partial(_stats.stats, self._vault))

    async def benchmark(self, size: int = _benchmark.SIZE) -> BenchmarkReport:
        """Measure with ``size`` bytes of made-up data (rounded up to chunks) how fast this machine and the store are.

        The objects it stores are removed again, also when it is cancelled. Raises ValueError, StoreError.
        """
        self._check_open("benchmark")
        return await _benchmark.benchmark(self._vault, size)

    async def _run(self, name: str, call: Callable[[], T]) -> T:
        self._check_open(name)
        return await _threads.run(call)

    def _check_open(self, name: str) -> None:
        if self._closed:
            raise ClosedError(f"Repository.{name}(): the repository is closed")


def _secret(password: str | Secret) -> Secret:
    return password if isinstance(password, Secret) else Secret(password)


def _as_store(url: str | os.PathLike[str] | Store, *, create: bool, options: Mapping[str, str] | None) -> Store:
    """Return an open store as it is, and the store of a path or URL."""
    if isinstance(url, (str, os.PathLike)):
        return open_store(url, create=create, options=options)
    return url


def _cache_file(cache: str | os.PathLike[str] | None, repository_id: str) -> Path | None:
    """Return the file for the table of known chunks."""
    if cache == "":
        return None
    base = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncvddk"
    return base / f"known-{repository_id}.sqlite"
