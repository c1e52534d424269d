"""The disk database: the library's two-call length protocol as plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from asyncvddk.errors import NativeError
from asyncvddk.native import _marshal, _memory

if TYPE_CHECKING:
    from collections.abc import Awaitable

_TOO_SMALL: Final = 24  # VIX_E_BUFFER_TOOSMALL: the answer to asking for the length


class Call(Protocol):
    """A call of one disk's handle, as ``AsyncDisk`` makes it."""

    def __call__(self, name: str, *args: int, keep: object = None) -> Awaitable[None]:
        """Call ``VixDiskLib_<name>(handle, *args)``."""


async def _sized(call: Call, name: str, *args: int, keep: object) -> bytes:
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


async def names(call: Call) -> list[str]:
    """Return the names of all entries."""
    return list(_marshal.metadata_keys(await _sized(call, "GetMetadataKeys", keep=None)))


async def read(call: Call, name: str) -> str:
    """Return one entry."""
    key = _marshal.c_text(name, "name")
    data = await _sized(call, "ReadMetadata", _memory.bytes_address(key), keep=key)
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


async def write(call: Call, name: str, value: str) -> None:
    """Create or replace one entry."""
    texts = _marshal.c_text(name, "name"), _marshal.c_text(value, "value")
    await call("WriteMetadata", *map(_memory.bytes_address, texts), keep=texts)
