"""What this machine and a store reach, measured with data that are made up for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import anyio
import numpy as np

from asyncvddk.repository import _threads
from asyncvddk.repository.errors import DamagedError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._index import ZERO_ID
from asyncvddk.repository.writing._diskwriter import is_zero

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from typing_extensions import Buffer

    from asyncvddk.repository.store._vault import Vault

    T = TypeVar("T")
    R = TypeVar("R")

SIZE: Final = 256 << 20
_STEP: Final = 32 << 20
"""Bytes in memory at once; between two such steps a cancellation is heard."""
_RECORD: Final = 32
_RECORDS: Final = 2048
_NOISE: Final = 0.15


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """What was measured. Rates are bytes of a disk's data per second."""

    size: int
    """Bytes of data."""
    stored: int
    """Bytes that they were as stored."""
    threads: int
    """Objects under way at once."""
    pack: float
    """Zero test, id, compression and encryption, on all processors."""
    write: float
    """Storing, up to stable storage."""
    read: float
    """Fetching; what was stored just before may come from a cache of the system."""
    unpack: float
    """Decryption, decompression and check of the id, on all processors."""

    @property
    def backup_limit(self) -> Literal["processor", "store"]:
        """What a backup of new data waits for."""
        return "processor" if self.pack < self.write else "store"

    @property
    def restore_limit(self) -> Literal["processor", "store"]:
        """What a restore waits for."""
        return "processor" if self.unpack < self.read else "store"


@dataclass(frozen=True, slots=True)
class _Object:
    """A chunk of made-up data as it is stored."""

    name: str
    identifier: bytes
    sealed: bytearray


async def benchmark(vault: Vault, size: int) -> BenchmarkReport:
    """Measure; see ``Repository.benchmark``."""
    if size < 1:
        raise ValueError(f"size={size}: expected at least one byte")
    run = _Run(vault, size)
    try:
        return await run.all()
    finally:
        with anyio.CancelScope(shield=True):
            await _threads.run(run.clean)


class _Run:
    """One benchmark, and what it has to remove."""

    def __init__(self, vault: Vault, size: int) -> None:
        self._vault = vault
        self._chunk_size = vault.config.chunk_size
        self._identifier = _layout.new_id()
        self._began = vault.clock()
        self._steps = list(_steps(-(-size // self._chunk_size), max(1, _STEP // self._chunk_size)))
        self._names: list[str] = []
        self._ids: dict[str, bytes] = {}
        self._stored = 0
        self._scratch = _threads.Scratch(self._chunk_size)
        self._seconds = dict.fromkeys(("pack", "write", "read", "unpack"), 0.0)

    async def all(self) -> BenchmarkReport:
        """Store all data, read them back."""
        for numbers in self._steps:
            await _threads.run(partial(self._write, numbers))
        await _threads.run(partial(self._timed, "write", self._vault.store.sync))
        for numbers in self._steps:
            await _threads.run(partial(self._read, [self._names[number] for number in numbers]))
        size = len(self._names) * self._chunk_size
        rates = {name: size / max(seconds, 1e-9) for name, seconds in self._seconds.items()}
        return BenchmarkReport(size, self._stored, self._vault.threads, **rates)

    def clean(self) -> None:
        """Remove what was stored."""
        self._vault.store.delete(self._names)

    def _timed(self, what: str, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self._seconds[what] += time.perf_counter() - began

    def _each(self, what: str, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Do the same with several objects at once, and note how long it takes."""
        return self._timed(what, lambda: list(self._vault.map(call, items)))

    def _write(self, numbers: range) -> None:
        made = [(number, sample(number, self._chunk_size)) for number in numbers]
        objects = self._each("pack", self._pack, made)
        self._names += [one.name for one in objects]  # first: what is stored is known to ``clean``
        self._ids |= {one.name: one.identifier for one in objects}
        self._stored += sum(len(one.sealed) for one in objects)
        self._each("write", lambda one: self._vault.store.create(one.name, one.sealed), objects)

    def _pack(self, made: tuple[int, Buffer]) -> _Object:
        number, data = made
        name = _layout.benchmark(self._identifier, self._began, number)
        keys = self._vault.keys
        identifier = ZERO_ID if is_zero(data) else keys.chunk_id(data)
        return _Object(name, identifier, keys.seal(Kind.CHUNK, name, data, level=self._vault.config.level))

    def _read(self, names: Sequence[str]) -> None:
        found = self._each("read", self._vault.store.get, names)
        self._each("unpack", self._unpack, list(zip(names, found, strict=True)))

    def _unpack(self, stored: tuple[str, Buffer]) -> None:
        name, data = stored
        memory = self._scratch.memory
        length = self._vault.keys.unseal_into(Kind.CHUNK, name, data, memory)
        if self._vault.keys.chunk_id(memory[:length]) != self._ids[name]:
            raise DamagedError(name, "the store gave back other bytes than it was given")


def _steps(count: int, most: int) -> Iterator[range]:
    return (range(start, min(start + most, count)) for start in range(0, count, most))


def sample(number: int, size: int) -> Buffer:
    """Return made-up data that a processor compresses about as fast as those of an operating system, to the half."""
    chance = np.random.default_rng(number)
    known = np.random.default_rng(0).integers(0, 256, (_RECORDS, _RECORD), np.uint8)
    found = known[chance.integers(0, _RECORDS, -(-size // _RECORD))]
    noise = chance.random(len(found)) < _NOISE
    found[noise] = chance.integers(0, 256, (int(noise.sum()), _RECORD), np.uint8)
    return found.reshape(-1)[:size].data
