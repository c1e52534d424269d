""":mod:`asyncvddk.models` to C structures and back: models count bytes, C counts sectors."""

from __future__ import annotations

import ctypes
import os
from array import array
from typing import TYPE_CHECKING, Final

from asyncvddk.errors import NotSupportedError
from asyncvddk.models import SECTOR_SIZE, AdapterType, DiskInfo, Geometry
from asyncvddk.native import _structs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk.models import CreateParams, DiskType
    from asyncvddk.native._loader import Library

_SECTOR_SIZES_SINCE: Final = (7,)


def c_text(text: str, what: str, *, errors: str = "strict") -> bytes:
    """Return ``text`` as UTF-8 for C; ``what`` names it in errors, which never show it.

    ``errors`` says what becomes of characters that UTF-8 lacks, as for ``str.encode``. Raises ValueError: ``text`` has
    an embedded NUL, where C would end it.
    """
    return _refuse_nul(text.encode("utf-8", errors), what)


def c_path(path: str | os.PathLike[str]) -> bytes:
    """Return a path, local or on a datastore, as the file system's bytes for C.

    Raises ValueError: it is empty or has an embedded NUL.
    """
    if not (data := os.fsencode(path)):
        raise ValueError("path: it is empty")
    return _refuse_nul(data, "path")


def _refuse_nul(data: bytes, what: str) -> bytes:
    """Return ``data`` unless it has an embedded NUL."""
    if b"\0" in data:
        raise ValueError(f"{what}: it has an embedded NUL character")
    return data


def create_params(params: CreateParams, library: Library) -> _structs.CreateParams:
    """Return the C form of ``params``, always in its 32-byte form, of which older libraries read the first 24.

    Raises NotSupportedError: the sector sizes are not 512, and ``library`` is older than 7.0.
    """
    logical = params.logical_sector_size or 0
    physical = params.physical_sector_size or logical
    if max(logical, physical) > SECTOR_SIZE and not library.is_at_least(*_SECTOR_SIZES_SINCE):
        raise NotSupportedError(
            f"logical_sector_size, physical_sector_size: sectors of 4096 bytes need a library of version 7.0, {library}"
        )
    return _structs.CreateParams(
        diskType=params.disk_type,
        adapterType=params.adapter,
        hwVersion=params.hw_version,
        capacity=params.size // SECTOR_SIZE,
        logicalSectorSize=logical,
        physicalSectorSize=physical,
    )


def clone_params(disk_type: DiskType, adapter: AdapterType, hw_version: int) -> _structs.CreateParams:
    """Return the C form of what a clone shall be; its capacity is that of its source."""
    return _structs.CreateParams(diskType=disk_type, adapterType=adapter, hwVersion=hw_version)


def disk_info(address: int, library_major: int | None) -> DiskInfo:
    """Copy the ``VixDiskLibInfo`` at ``address``, which may be freed afterwards.

    Before version 7 the structure ends ahead of the sector sizes: they are read only when ``library_major``
    is known to be at least 7.
    """
    info = _structs.Info.from_address(address)
    tells = library_major is not None and (library_major,) >= _SECTOR_SIZES_SINCE
    return DiskInfo(
        size=info.capacity * SECTOR_SIZE,
        adapter=AdapterType(info.adapterType),
        links=info.numLinks,
        bios_geometry=_geometry(info.biosGeo),
        physical_geometry=_geometry(info.physGeo),
        parent_hint=text_of(info.parentFileNameHint),
        uuid=text_of(info.uuid),
        logical_sector_size=(info.logicalSectorSize or None) if tells else None,
        physical_sector_size=(info.physicalSectorSize or None) if tells else None,
    )


def _geometry(geometry: _structs.Geometry) -> Geometry:
    """Copy a geometry."""
    return Geometry(geometry.cylinders, geometry.heads, geometry.sectors)


def text_of(data: bytes | None) -> str | None:
    """Decode a text of the library; an empty one counts as none."""
    return os.fsdecode(data) if data else None


def block_list(address: int) -> array[int]:
    """Copy the ``VixDiskLibBlockList`` at ``address``, which may be freed afterwards.

    Flat and in sectors: offset, length, offset, length, ... Half a million blocks are 8 MiB, no objects.
    """
    first = address + _structs.BlockList.blocks.offset
    count = _structs.BlockList.from_address(address).numBlocks
    return array("Q", ctypes.string_at(first, count * ctypes.sizeof(_structs.Block)))


def block_pairs(address: int) -> Iterator[tuple[int, int]]:
    """As :func:`block_list`, but in bytes and one (offset, length) at a time. The list is copied at once."""
    flat = block_list(address)
    return ((offset * SECTOR_SIZE, length * SECTOR_SIZE) for offset, length in zip(flat[::2], flat[1::2], strict=True))


def metadata_keys(data: bytes) -> list[str]:
    """Split what ``GetMetadataKeys`` wrote: names that end in NUL, one more NUL behind the last."""
    return [os.fsdecode(name) for name in data.split(b"\0\0", 1)[0].split(b"\0") if name]
