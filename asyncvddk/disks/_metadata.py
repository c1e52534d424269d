"""DiskMetadata: the disk database as an async mapping, on the library's two-call length protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar, overload

from asyncvddk.errors import MetadataKeyError, NativeError
from asyncvddk.native import _marshal, _memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from asyncvddk.threads._calls import HandleCall

D = TypeVar("D")

_TOO_SMALL: Final = 24  # VIX_E_BUFFER_TOOSMALL: the answer to asking for the length


class ReadableMetadata(ABC):
    """The reading half of the disk database: found as ``RetryingDisk.metadata``; ``DiskMetadata`` has it, too.

    ::

        print(await disk.metadata["uuid"], await disk.metadata.get("no.such"))
        async for key in disk.metadata:
            print(key)

    Keys are ASCII, named without the ``ddb.`` of the descriptor: ``adapterType``, ``uuid``, ``geometry.cylinders``; any
    others are yours. Values are text; bytes that are no UTF-8 come as surrogates and go back as they came. Nothing is
    stored here: each method asks the library. A child shows its parents' entries where it has none of its own.

    All methods raise ClosedError and NativeError by code; ValueError for a key that is empty or for an embedded NUL,
    before anything is called. Cancellation: as of the disk.
    """

    def __getitem__(self, key: str) -> Awaitable[str]:
        """Return an awaitable of the value. Raises MetadataKeyError, a KeyError, when it is awaited."""
        return self._read(key)

    @overload
    async def get(self, key: str) -> str | None: ...
    @overload
    async def get(self, key: str, default: D) -> str | D: ...
    async def get(self, key: str, default: D | None = None) -> str | D | None:
        """Return the value, or ``default`` if there is no such key."""
        try:
            return await self._read(key)
        except MetadataKeyError:
            return default

    async def contains(self, key: str) -> bool:
        """Tell whether there is such a key."""
        return await self.get(key) is not None

    async def keys(self) -> list[str]:
        """Return all keys, in the library's order."""
        return await self._keys()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over the keys that are there at the start."""
        for key in await self.keys():
            yield key

    async def items(self) -> list[tuple[str, str]]:
        """Return all keys with their values; each value is a call of its own."""
        return [(key, await self._read(key)) for key in await self.keys()]

    async def as_dict(self) -> dict[str, str]:
        """Return a copy of all keys with their values."""
        return dict(await self.items())

    @abstractmethod
    async def _keys(self) -> list[str]:
        """Ask for all keys."""

    @abstractmethod
    async def _read(self, key: str) -> str:
        """Ask for a value."""


class DiskMetadata(ReadableMetadata):
    """The disk database: what a disk keeps besides its data. Found as ``AsyncDisk.metadata``.

    ::

        await disk.metadata.set("backup.last", "2026-11-27")
        print(await disk.metadata["backup.last"], await disk.metadata.get("no.such"))
        async for key in disk.metadata:
            print(key)

    What keys and values are, and how entries are read: see ``ReadableMetadata``.

    There is no deletion: VDDK has none, and an empty value is the nearest to it.

    All methods raise ClosedError and NativeError by code; ValueError for a key that is empty or for an embedded NUL,
    before anything is called. Cancellation: as ``AsyncDisk``.
    """

    def __init__(self, call: HandleCall) -> None:
        """Belongs to ``AsyncDisk``."""
        self._call = call

    async def set(self, key: str, value: str) -> None:
        """Create or replace an entry. Raises AccessDeniedError: the disk is open for reading only."""
        await self.update({key: value})

    async def update(self, entries: Mapping[str, str]) -> None:
        """Create or replace several entries, one after the other; the first that fails ends it. Raises as ``set``.

        All are checked before the first is written.
        """
        for texts in [(check_key(key), _text(value, "value")) for key, value in entries.items()]:
            await self._call("WriteMetadata", *map(_memory.bytes_address, texts), keep=texts)

    async def _keys(self) -> list[str]:
        return list(_marshal.metadata_keys(await _sized(self._call, "GetMetadataKeys", keep=None)))

    async def _read(self, key: str) -> str:
        native = check_key(key)
        data = await _sized(self._call, "ReadMetadata", _memory.bytes_address(native), keep=native)
        return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def check_key(key: str) -> bytes:
    """Return a key for C. Raises ValueError: it is empty, or has a NUL in it."""
    if not key:
        raise ValueError("key: it is empty")
    return _text(key, "key")


def _text(text: str, what: str) -> bytes:
    """Return a text for C, bytes that were no UTF-8 as they were read."""
    return _marshal.c_text(text, what, errors="surrogateescape")


async def _sized(call: HandleCall, name: str, *args: int, keep: object) -> bytes:
    """Ask for the length, then for the content; ask again when it grew in between."""
    room = 0
    while True:
        data, needed = bytearray(room), _memory.Cell()
        pinned = _memory.Pinned(data, writable=True)
        try:
            await call(name, *args, pinned.address if room else 0, room, needed.address, keep=(keep, pinned, needed))
        except NativeError as exc:
            if exc.code != _TOO_SMALL or needed.value <= room:
                raise
        else:
            if room or not needed.value:
                return bytes(data)
        room = needed.value
