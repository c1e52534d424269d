"""What scratch disks hold: given bytes, reproducible random ones, and the comparison of disks with them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from asyncvddk.models import SECTOR_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

Content: TypeAlias = bytes | Mapping[int, bytes]
"""Bytes from the start of a disk on, or pieces by their offset in bytes; whatever they leave out is zeros."""

_COMPARED_AT_ONCE: Final = 4 << 20
_SHOWN: Final = 16
_MIB: Final = 1 << 20


class Readable(Protocol):
    """What ``assert_same_content`` compares: an ``AsyncDisk``, or anything with a size and ``read_at``."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def read_at(self, offset: int, length: int, /) -> bytes:
        """Return exactly ``length`` bytes from byte ``offset``. What it raises ends the comparison."""
        ...


def pieces_of(content: Content) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of every piece, ascending."""
    if isinstance(content, Mapping):
        yield from sorted(content.items())
    elif content:
        yield 0, content


def size_for(*contents: Content) -> int:
    """Return the size of a disk that holds ``contents``: whole MiB, at least one."""
    end = max((offset + len(data) for content in contents for offset, data in pieces_of(content)), default=0)
    return max(1, -(-end // _MIB)) * _MIB


def random_bytes(length: int, *, seed: int = 0) -> bytes:
    """Return ``length`` random bytes, the same ones for the same ``seed``, on every machine."""
    return random.Random(seed).randbytes(length)  # noqa: S311  (no secret)


def random_blocks(size: int, *, count: int = 8, length: int = 65536, seed: int = 0) -> dict[int, bytes]:
    """Return ``count`` pieces of ``length`` random bytes, scattered over a disk of ``size`` bytes: a ``Content``.

    Offsets are multiples of ``length``; no two pieces overlap. The same arguments give the same pieces, on every
    machine. Raises ValueError: there is no room for so many.
    """
    places = size // length if length > 0 else 0
    if not 0 <= count <= places:
        raise ValueError(f"count={count}: a disk of {size} bytes has room for 0 to {places} pieces of {length} bytes")
    chosen = random.Random(seed)  # noqa: S311  (no secret)
    return {place * length: chosen.randbytes(length) for place in sorted(chosen.sample(range(places), count))}


class Image:
    """A disk in memory, to compare others with: zeros, then each of ``contents`` over those before."""

    def __init__(self, size: int, *contents: Content) -> None:
        """Describe a disk of ``size`` bytes, a multiple of 512. Raises ValueError: a piece goes beyond its ends."""
        self._pieces = [piece for content in contents for piece in pieces_of(content)]
        if size <= 0 or size % SECTOR_SIZE:
            raise ValueError(f"size={size}: a disk has a positive multiple of {SECTOR_SIZE} bytes")
        for offset, data in self._pieces:
            if offset < 0 or offset + len(data) > size:
                raise ValueError(f"{len(data)} bytes at {offset} leave a disk of {size} bytes")
        self._size = size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    async def read_at(self, offset: int, length: int, /) -> bytes:
        """Return ``length`` bytes from byte ``offset``. Raises ValueError: they leave the disk."""
        if not 0 <= offset <= offset + length <= self._size:
            raise ValueError(f"{length} bytes at {offset} leave a disk of {self._size} bytes")
        result = bytearray(length)
        for start, data in self._pieces:
            first, end = max(start, offset), min(start + len(data), offset + length)
            if first < end:
                result[first - offset : end - offset] = data[first - start : end - start]
        return bytes(result)


async def assert_same_content(actual: Readable, expected: Readable) -> None:
    """Compare two disks, byte by byte, in bounded memory. Raises AssertionError: sizes or bytes differ, and where."""
    if actual.size != expected.size:
        raise AssertionError(f"the disk has {actual.size} bytes, {expected.size} are expected")
    for offset in range(0, actual.size, _COMPARED_AT_ONCE):
        length = min(_COMPARED_AT_ONCE, actual.size - offset)
        found, wanted = await actual.read_at(offset, length), await expected.read_at(offset, length)
        if found != wanted:
            at = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
            shown = slice(at, at + _SHOWN)
            raise AssertionError(f"byte {offset + at}: {found[shown]!r} is read, {wanted[shown]!r} is expected")


async def assert_content(disk: Readable, *contents: Content) -> None:
    """Check that ``disk`` reads as ``contents``, each over those before, and as zeros everywhere else.

    Raises AssertionError, which names the first byte that differs; ValueError: a piece leaves the disk.
    """
    await assert_same_content(disk, Image(disk.size, *contents))
