"""The index of one disk under way, and the fused path of its chunks. Called from many threads at once."""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import structlog

from asyncvddk.repository.errors import DamagedError, ObjectMissingError, RepositoryError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._ids import ID_SIZE, IdSet, nonzero, places_of
from asyncvddk.repository.format._index import ZERO_ID, Grid, Root, new_ids, pages_of
from asyncvddk.repository.format._manifests import DiskEntry, DiskStats, PartialDisk

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Buffer

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.writing._writer import Writer

_logger = structlog.get_logger()

_WORD: Final = 8
_HEAD: Final = 512


class Put(IntEnum):
    """What became of a chunk."""

    ZERO = 0
    """All zero: nothing is stored."""
    SAME = 1
    """As in the base at the same place."""
    KNOWN = 2
    """The repository has it already."""
    NEW = 3
    """Stored."""


class Sealed:
    """A chunk on its way to the store. Made by ``prepare``, used up by ``store``."""

    __slots__ = ("identifier", "length", "number", "sealed")

    def __init__(self, number: int, identifier: bytes, length: int, sealed: bytearray) -> None:
        """Note what goes where."""
        self.number = number
        self.identifier = identifier
        self.length = length
        """Bytes of the disk."""
        self.sealed = sealed
        """What goes to the store."""


def is_zero(data: Buffer) -> bool:
    """Tell whether all bytes are zero; without the interpreter's lock."""
    view = memoryview(data).cast("B")
    whole = len(view) - len(view) % _WORD
    words = np.frombuffer(view[:whole], np.uint64)
    # numpy looks at all of an array: most data are told from zeros by their beginning
    return not words[:_HEAD].any() and not words.any() and not any(view[whole:])


class DiskWriter:
    """One disk of a session: chunks are put in any order, from any thread; the session commits it.

    ``put`` is the fused call of the data path: zero test, hash, known?, compress, encrypt, store. For a store whose
    answers take long, ``prepare`` (processor) and ``store`` (network) are its two halves. No buffer is kept.

    Takes 33 bytes of memory for each chunk.
    """

    def __init__(  # noqa: PLR0913  (each is a fact of its own)
        self,
        writer: Writer,
        entry: DiskEntry,
        grid: Grid,
        base: Rows | None,
        *,
        inherit: bool,
        state: str | None = None,
    ) -> None:
        """Compare with the index ``base``, which becomes this object's own."""
        self.key = entry.key
        self.grid = grid
        self._writer = writer
        self._entry = entry
        self._inherit = inherit
        self._state = state
        self._ids = new_ids(grid) if base is None else base
        self._bytes = self._ids.data.cast("B")
        self._written = bytearray(grid.count)
        self._unfinished: set[int] = set()
        self._counts = dict.fromkeys(DiskStats.__struct_fields__, 0)
        self._lock = threading.Lock()

    @property
    def chunk_size(self) -> int:
        """Bytes of a chunk; the last one of the disk may be shorter."""
        return self.grid.chunk_size

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.grid.count

    @property
    def stats(self) -> DiskStats:
        """What was put so far."""
        with self._lock:
            return DiskStats(**self._counts)

    def put(self, number: int, data: Buffer) -> Put:
        """Store chunk ``number`` unless it is known; ``data`` is all of it. Blocks; call it in a thread.

        Raises ValueError (number or length), StoreError: then put it again, or the session cannot commit.
        """
        found = self.prepare(number, data)
        return self.store(found) if isinstance(found, Sealed) else found

    def prepare(self, number: int, data: Buffer) -> Put | Sealed:
        """Do all of ``put`` but storing: a ``Sealed`` must be given to ``store``, in any thread."""
        length = memoryview(data).nbytes
        self.grid.check(number)
        if length != self.grid.length(number):
            raise ValueError(f"chunk {number} has {self.grid.length(number)} bytes, not {length}")
        if is_zero(data):
            self._place(number, ZERO_ID)
            return self._count(Put.ZERO, number, ZERO_ID, length)
        look = self._writer.vault.store.local or self._writer.interrupted.found
        identifier = self._writer.vault.keys.chunk_id(data)
        same = self._place(number, identifier)
        if not self._writer.before_put(_layout.CHUNKS, identifier):  # the order matters: see Guard
            if same:
                return self._count(Put.SAME, number, identifier, length)
            if not self._writer.vault.store.local and identifier in self._writer.known:
                return self._count(Put.KNOWN, number, identifier, length)
        if look and self._is_there(identifier):
            return self._count(Put.KNOWN, number, identifier, length)
        return Sealed(number, identifier, length, self._writer.vault.seal_chunk(identifier, data))

    def store(self, sealed: Sealed) -> Put:
        """Store what ``prepare`` returned. Blocks. Raises StoreError: then call it again, or put the chunk again."""
        new = self._writer.store(_layout.chunk(sealed.identifier), sealed.sealed)
        self._writer.known.add(sealed.identifier)
        stored = len(sealed.sealed) if new else 0
        return self._count(Put.NEW if new else Put.KNOWN, sealed.number, sealed.identifier, sealed.length, stored)

    def zero(self, first: int, count: int = 1) -> None:
        """Note that ``count`` chunks from ``first`` on are zero, without looking: they are not allocated."""
        if count <= 0:
            return
        self.grid.check(first)
        self.grid.check(first + count - 1)
        with self._lock:
            self._ids[first : first + count] = 0
            self._written[first : first + count] = b"\1" * count
            self._unfinished.difference_update(range(first, first + count))

    def take(self, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Take what an interrupted session had of the chunks marked in ``wanted``; return which. Blocks.

        Those need not be read and put: the disk is in the same state. A damaged index gives less, or nothing.
        """
        taken = np.zeros(self.grid.count, np.bool_)
        entry = self._entry
        found = self._state and self._writer.interrupted.disk(entry.key, entry.uuid, entry.capacity, self._state)
        if not found:
            return taken
        covered = np.unpackbits(np.frombuffer(found.covered, np.uint8), count=self.grid.count).astype(np.bool_)
        try:
            self._take(self._writer.vault.get_root(found.root), wanted & covered, taken)
        except (DamagedError, ObjectMissingError) as error:
            _logger.warning("checkpoint_damaged", disk=self.key, reason=str(error), effect="more is read again")
        self._writer.protect()
        return taken

    def _take(self, root: Root, wanted: npt.NDArray[np.bool_], taken: npt.NDArray[np.bool_]) -> None:
        """Take the ids of the wanted chunks, page by page."""
        for page in range(self.grid.pages):
            start, end = self.grid.page_span(page)
            places = np.flatnonzero(wanted[start:end])
            if not len(places):
                continue
            ids = self._writer.vault.get_page(root, page)
            numbers = places + start
            with self._lock:
                self._ids[numbers] = ids[places]
                np.frombuffer(self._written, np.uint8)[numbers] = 1
                self._unfinished.difference_update(numbers.tolist())
                self._counts["resumed"] += sum(map(self.grid.length, numbers.tolist()))
            taken[numbers] = True

    def part(self) -> PartialDisk | None:
        """Store the index of what was put so far, and return what a checkpoint says of it. Blocks.

        None for a disk whose state nobody named, and for one of which nothing was put. Raises StoreError.
        """
        if self._state is None:
            return None
        covered = np.zeros(self.grid.count, np.bool_)
        pages = [self._store_page((number, self._part_page(number, covered))) for number in range(self.grid.pages)]
        if not covered.any():
            return None
        root = self._writer.put_meta(Kind.ROOT, Root(self.grid, b"".join(pages)).encode())
        return PartialDisk(
            key=self.key,
            uuid=self._entry.uuid,
            capacity=self.grid.capacity,
            state=self._state,
            root=root,
            covered=np.packbits(covered).tobytes(),
        )

    def _part_page(self, page: int, covered: npt.NDArray[np.bool_]) -> memoryview | None:
        """Return the ids of a page, zero where nothing was stored yet; None if all are. Mark the others."""
        start, end = self.grid.page_span(page)
        with self._lock:
            mask = np.frombuffer(self._written, np.uint8)[start:end] == 1
            for number in self._unfinished:  # those being stored now
                if start <= number < end:
                    mask[number - start] = False
            ids = self._ids[start:end].copy()
        covered[start:end] = mask
        ids[~mask] = 0
        return ids.data.cast("B") if ids.any() else None

    def is_same(self, number: int, data: Buffer) -> bool:
        """Tell whether chunk ``number`` has the content that the index says now; nothing changes.

        For checks that what is supposed to be unchanged is so.
        """
        self.grid.check(number)
        identifier = ZERO_ID if is_zero(data) else self._writer.vault.keys.chunk_id(data)
        return self._id(number) == identifier

    def amend(self, *, mode: str, read_whole: float, mistrusted: bool = False) -> None:
        """Say how the disk is read, for its entry: that may turn out while it is."""
        self._entry = msgspec.structs.replace(self._entry, mode=mode, read_whole=read_whole, mistrusted=mistrusted)

    def used(self) -> Rows:
        """Return the ids of the chunks that are not zero."""
        return nonzero(self._ids)

    def places_of(self, ids: IdSet) -> list[int]:
        """Return the numbers of the chunks whose ids are in a set."""
        return places_of(self._ids, ids)

    def finish(self) -> DiskEntry:
        """Store pages and root, and return the disk's entry. Blocks; ``commit`` does it, too, but one disk by one.

        Chunks may be put afterwards; then it is done again. Raises StoreError, and RepositoryError if a chunk was not
        stored.
        """
        if self._unfinished:
            numbers = sorted(self._unfinished)[:10]
            raise RepositoryError(f"disk {self.key}: chunks were not stored, put them again: {numbers}")
        if not self._inherit:
            self._ids[np.frombuffer(self._written, np.uint8) == 0] = 0
        pages = b"".join(self._writer.vault.map(self._store_page, pages_of(self._ids, self.grid.page_entries)))
        root = self._writer.put_meta(Kind.ROOT, Root(self.grid, pages).encode())
        return msgspec.structs.replace(self._entry, root=root, stats=self.stats)

    def _store_page(self, page: tuple[int, memoryview | None]) -> bytes:
        return ZERO_ID if page[1] is None else self._writer.put_meta(Kind.PAGE, page[1])

    def _is_there(self, identifier: bytes) -> bool:
        """Tell whether the store has a chunk, a local one whole: it may be left of a writer that a power cut ended."""
        name = _layout.chunk(identifier)
        if not self._writer.vault.store.exists(name):
            return False
        if identifier not in self._writer.known:
            if self._writer.vault.store.local and not self._writer.is_whole(name):
                return False
            self._writer.known.add(identifier)
        return True

    def _place(self, number: int, identifier: bytes) -> bool:
        """Write an id into the index; tell whether the base has it there. Unless zero, it is not stored yet."""
        with self._lock:
            same = not self._written[number] and self._id(number) == identifier
            self._bytes[number * ID_SIZE : (number + 1) * ID_SIZE] = identifier
            self._written[number] = 1
            if identifier == ZERO_ID:
                self._unfinished.discard(number)
            else:
                self._unfinished.add(number)
            return same

    def _id(self, number: int) -> bytes:
        return bytes(self._bytes[number * ID_SIZE : (number + 1) * ID_SIZE])

    def _count(self, put: Put, number: int, identifier: bytes, length: int, stored: int = 0) -> Put:
        """Note what became of a chunk."""
        with self._lock:
            if self._id(number) == identifier:  # or it was put again meanwhile, with another content
                self._unfinished.discard(number)
            self._counts["read"] += length
            self._counts[put.name.lower()] += length
            self._counts["stored"] += stored
        return put
