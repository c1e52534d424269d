"""Values of the public interface: frozen dataclasses and enumerations. Sizes and offsets are bytes everywhere.

Numbers of the enumerations are those of VMware's ``vixDiskLib.h`` (generations 5.0 to 8.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

SECTOR_SIZE = 512
"""Bytes of the unit in which VDDK counts; also for disks with 4 KiB sectors."""

_SECTOR_SIZES: Final = (512, 4096)


class DiskType(IntEnum):
    """How a disk lies on storage (``VixDiskLibDiskType``)."""

    MONOLITHIC_SPARSE = 1
    """One file that grows on demand, descriptor inside."""
    MONOLITHIC_FLAT = 2
    """A descriptor and one preallocated extent."""
    SPLIT_SPARSE = 3
    """Sparse extents of at most 2 GiB."""
    SPLIT_FLAT = 4
    """Preallocated extents of at most 2 GiB."""
    VMFS_FLAT = 5
    """As on an ESXi datastore: a descriptor and one preallocated extent."""
    STREAM_OPTIMIZED = 6
    """Compressed, written once from front to back."""
    VMFS_THIN = 7
    """As ``VMFS_FLAT``, space taken on demand."""
    VMFS_SPARSE = 8
    """Redo log of ESXi (COWD)."""
    UNKNOWN = 256


class AdapterType(IntEnum):
    """Virtual disk controller noted in the disk (``VixDiskLibAdapterType``)."""

    IDE = 1
    SCSI_BUSLOGIC = 2
    SCSI_LSILOGIC = 3
    UNKNOWN = 256

    @classmethod
    def _missing_(cls, value: object) -> AdapterType | None:
        """Take a number that no header names as an unknown adapter."""
        return cls.UNKNOWN if isinstance(value, int) else None


class HardwareVersion(IntEnum):
    """Version of the virtual hardware, as a new disk notes it (``VIXDISKLIB_HWVERSION_*``); a newer one is a number."""

    WORKSTATION_4 = 3
    WORKSTATION_5 = 4
    ESX30 = 4
    WORKSTATION_6 = 6
    ESX4X = 7
    ESX50 = 8
    ESX51 = 9
    ESX55 = 10
    ESX60 = 11
    ESX65 = 13
    CURRENT = 13


class OpenFlags(IntFlag):
    """How a disk is opened (``VIXDISKLIB_FLAG_OPEN_*``)."""

    NONE = 0
    UNBUFFERED = 1
    """Pass the host's cache by."""
    SINGLE_LINK = 2
    """Only this link of a snapshot chain; its holes then say nothing of the parent's data."""
    READ_ONLY = 4
    COMPRESSION_ZLIB = 16
    """Compress on the wire (nbd and nbdssl only)."""
    COMPRESSION_FASTLZ = 32
    COMPRESSION_SKIPZ = 64


@dataclass(frozen=True, slots=True)
class Block:
    """``length`` bytes of a disk from byte ``offset`` on."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """First byte behind the block."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Geometry:
    """Cylinders, heads and sectors per track: advisory, the size never follows from it."""

    cylinders: int
    heads: int
    sectors: int


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """What the library tells of an open disk."""

    size: int
    """Capacity in bytes."""
    adapter: AdapterType
    links: int
    """Links of the chain, this one counted."""
    bios_geometry: Geometry
    physical_geometry: Geometry
    parent_hint: str | None
    """Parent's name as the child notes it, ``None`` for a base disk."""
    uuid: str | None
    logical_sector_size: int | None
    """Bytes; ``None`` when the library is older than 7.0 and does not tell."""
    physical_sector_size: int | None


class CleanupResult(NamedTuple):
    """What crashed sessions had left behind, counted by ``Vddk.cleanup``."""

    cleaned: int
    """Leftovers removed."""
    remaining: int
    """Leftovers that could not be removed."""


@dataclass(frozen=True, slots=True)
class CreateParams:
    """What a new local disk shall be. Raises ValueError."""

    size: int
    """Bytes, a multiple of 512, at least 512."""
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE
    adapter: AdapterType = AdapterType.SCSI_LSILOGIC
    hw_version: int = HardwareVersion.CURRENT
    """Virtual hardware version, a ``HardwareVersion`` or a newer number."""
    logical_sector_size: int | None = None
    """Sector size that the disk shows to its machine, 512 or 4096 bytes; ``None`` is 512. Anything else than 512 needs
    library 7.0 or newer."""
    physical_sector_size: int | None = None
    """Sector size that the disk says its storage has: as ``logical_sector_size``, and not below it; ``None``: equal."""

    def __post_init__(self) -> None:
        """Refuse what the library would cut to its own width."""
        if not 0 < self.hw_version < 1 << 16:
            raise ValueError(f"hw_version={self.hw_version}: a virtual hardware version lies in 1..65535")
        if not 0 < self.size < 1 << 63 or self.size % SECTOR_SIZE:
            raise ValueError(f"size={self.size}: a disk has a positive multiple of {SECTOR_SIZE} bytes, below 2**63")
        sizes = (self.logical_sector_size, self.physical_sector_size)
        for name, size in zip(("logical_sector_size", "physical_sector_size"), sizes, strict=True):
            if size not in {None, *_SECTOR_SIZES}:
                raise ValueError(f"{name}={size}: sectors have 512 or 4096 bytes")
        if self.physical_sector_size is not None and self.physical_sector_size < (self.logical_sector_size or 0):
            raise ValueError(f"physical_sector_size={self.physical_sector_size}: it is below logical_sector_size")
