"""A store with its keys: sealed objects in and out. Blocking, for threads; everything above goes through here."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from asyncvddk.repository.errors import DamagedError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._index import ZERO_ID, Root, page_rows, read_ids, stored_pages
from asyncvddk.repository.format._manifests import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

    import msgspec
    from typing_extensions import Buffer

    from asyncvddk.repository.format._crypto import Keys
    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.format._manifests import Config, Snapshot
    from asyncvddk.repository.store._store import Store

    M = TypeVar("M", bound=msgspec.Struct)

T = TypeVar("T")
R = TypeVar("R")

MANIFEST_LIMIT: Final = 1 << 26
"""Bytes of a snapshot, session or blob."""
LIST_LIMIT: Final = 1 << 32
"""Bytes of a list of ids."""
_META_LEVEL: Final = 3
_AHEAD: Final = 4
"""Calls in flight for each thread."""


class Vault:
    """One open repository, below its public object."""

    def __init__(  # noqa: PLR0913  (each is a choice of its own)
        self,
        store: Store,
        keys: Keys,
        config: Config,
        *,
        threads: int | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Join them. ``threads``: requests in flight of the whole repository, by default as the store needs."""
        self.store = store
        self.keys = keys
        self.config = config
        self.clock = clock
        self.pause = pause
        self.threads = threads or (os.cpu_count() or 1 if store.local else 32)
        self._inside = threading.local()
        self.pool = ThreadPoolExecutor(self.threads, "repository", self._enter)
        """All requests for reading are made by its threads."""

    def _enter(self) -> None:
        """Mark a thread of the pool."""
        self._inside.pool = True

    def close(self) -> None:
        """End the threads, forget the keys, close the store."""
        self.pool.shutdown()
        self.keys.wipe()
        self.store.close()

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Return the results of ``call``, in order; several at once, and never more in memory than a few per thread.

        Within such a call one at a time: threads that wait for threads of the same pool would wait for ever. Whoever
        leaves early closes it: then those under way are waited for.
        """
        if self.threads == 1 or getattr(self._inside, "pool", False):
            yield from map(call, items)
            return
        futures: deque[Future[R]] = deque()
        try:
            for item in items:
                futures.append(self.pool.submit(call, item))
                if len(futures) >= _AHEAD * self.threads:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                if not future.cancel():
                    future.exception()  # it is waited for

    # Chunks

    def seal_chunk(self, identifier: bytes, data: Buffer) -> bytearray:
        """Return the object of a chunk."""
        return self.keys.seal(Kind.CHUNK, _layout.chunk(identifier), data, level=self.config.level)

    def get_chunk(self, identifier: bytes, target: memoryview) -> None:
        """Fill all of ``target`` with a chunk of its length, checked against its id.

        Raises DamagedError, ObjectMissingError; then the content of ``target`` is undefined.
        """
        if identifier == ZERO_ID:
            np.frombuffer(target, np.uint8).fill(0)
            return
        name = _layout.chunk(identifier)
        length = self._open_chunk(identifier, self.store.get(name), target)
        if length != len(target):
            raise DamagedError(name, f"has {length} bytes where {len(target)} belong")

    def check_chunk(self, identifier: bytes, stored: Buffer, scratch: memoryview) -> None:
        """Raise DamagedError unless a chunk's object holds what its id says; ``scratch`` has room for any chunk."""
        self._open_chunk(identifier, stored, scratch)

    def _open_chunk(self, identifier: bytes, stored: Buffer, target: memoryview) -> int:
        """Write what a chunk's object holds, checked against its id, to ``target``; return its length."""
        name = _layout.chunk(identifier)
        length = self.keys.unseal_into(Kind.CHUNK, name, stored, target)
        if self.keys.chunk_id(target[:length]) != identifier:
            raise DamagedError(name, "has another content than its name says")
        return length

    # Pages, roots, blobs

    def get_meta(self, kind: Kind, identifier: bytes) -> Buffer:
        """Return a page, root or blob, checked against its id. Raises DamagedError, ObjectMissingError."""
        return self.open_meta(kind, identifier, self.store.get(_layout.meta(identifier)))

    def open_meta(self, kind: Kind, identifier: bytes, stored: Buffer) -> Buffer:
        """Return what the object of a page, root or blob holds, checked against its id. Raises DamagedError."""
        name = _layout.meta(identifier)
        data = self.keys.unseal(kind, name, stored, limit=MANIFEST_LIMIT)
        if self.keys.meta_id(data) != identifier:
            raise DamagedError(name, "has another content than its name says")
        return data

    def seal_meta(self, kind: Kind, identifier: bytes, data: Buffer) -> bytearray:
        """Return the object of a page, root or blob."""
        return self.keys.seal(kind, _layout.meta(identifier), data, level=self.config.level and _META_LEVEL)

    def get_root(self, identifier: bytes) -> Root:
        """Return a root. Raises DamagedError, ObjectMissingError."""
        try:
            root = Root.decode(self.get_meta(Kind.ROOT, identifier))
        except ValueError as error:
            raise DamagedError(_layout.meta(identifier), str(error)) from None
        if (root.grid.chunk_size, root.grid.page_entries) != (self.config.chunk_size, self.config.page_entries):
            raise DamagedError(_layout.meta(identifier), "a root with chunks of another size than the repository's")
        return root

    def get_page(self, root: Root, number: int) -> Rows:
        """Return the ids of a page. Raises DamagedError, ObjectMissingError."""
        identifier = root.page(number)
        start, end = root.grid.page_span(number)
        if identifier == ZERO_ID:
            return np.zeros((end - start, 4), np.uint64)
        try:
            return page_rows(root.grid, number, self.get_meta(Kind.PAGE, identifier))
        except ValueError as error:
            raise DamagedError(_layout.meta(identifier), str(error)) from None

    def get_ids(self, root: Root) -> Rows:
        """Return the whole index of a disk. Raises DamagedError, ObjectMissingError."""
        numbers = stored_pages(root)
        pages = self.map(lambda number: (number, self.get_page(root, number).data.cast("B")), numbers)
        return read_ids(root, pages)

    # What describes something

    def snapshot_name(self, snapshot: Snapshot) -> str:
        """Return the name under which a snapshot is stored."""
        return _layout.snapshot(self.keys.hidden(snapshot.source), snapshot.time, snapshot.id)

    def create_manifest(self, kind: Kind, name: str, value: msgspec.Struct, *, stable: bool = False) -> bool:
        """Seal and store a manifest; tell whether it was not there."""
        sealed = self.keys.seal(kind, name, pack(value), level=self.config.level and _META_LEVEL)
        return self.store.create(name, sealed, stable=stable)

    def get_manifest(self, kind: Kind, name: str, form: type[M], *, limit: int = MANIFEST_LIMIT) -> M:
        """Return a manifest. Raises DamagedError, ObjectMissingError."""
        return unpack(name, self.keys.unseal(kind, name, self.store.get(name), limit=limit), form)
