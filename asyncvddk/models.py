"""Values of the public interface: frozen dataclasses and enumerations. Sizes and offsets are bytes everywhere.

Numbers of the enumerations are those of VMware's ``vixDiskLib.h`` (generations 5.0 to 8.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

SECTOR_SIZE = 512
"""Bytes of the unit in which VDDK counts; also for disks with 4 KiB sectors."""


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


class Secret:
    """A password, cookie or key: never printed, compared or pickled by accident.

    ``reveal`` gives the text back; keep the result as short as possible.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap ``text``."""
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        """Hide the text."""
        return "Secret('***')"

    def __bool__(self) -> bool:
        """Tell whether there is any text."""
        return bool(self._text)

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse: a pickled secret would be plain text in a file."""
        raise TypeError("a Secret cannot be pickled")

    @classmethod
    def of(cls, value: str | Secret | None) -> Secret | None:
        """Wrap a plain string; leave a ``Secret`` and ``None`` as they are."""
        return cls(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class StorageObject:
    """A first-class disk (FCD) instead of a disk of a virtual machine; library 6.7 or newer."""

    disk_id: str
    datastore_moref: str
    """Managed object of the datastore, as ``datastore-15``."""
    snapshot_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """Where a remote disk is and who asks. A local (hosted) disk needs none.

    Either ``user`` and ``password``, or ``cookie`` (value of the SOAP session cookie; then ``user`` and ``password``
    may accompany it), and either ``vmx_spec`` or ``storage_object``.
    """

    server: str
    """Name or address of the vCenter or ESXi host."""
    vmx_spec: str | None = None
    """``moref=vm-16``, or ``dir/x.vmx?dcPath=...&dsName=...``."""
    user: str | None = None
    password: Secret | None = None
    cookie: Secret | None = None
    thumbprint: str | None = None
    """SHA-1 of the server's certificate, 20 hexadecimal pairs with colons."""
    port: int = 0
    """TCP port of the SOAP service; 0 is the library's default, 443."""
    nfc_port: int = 0
    """TCP port of the NFC service; 0 is the library's default, 902."""
    storage_object: StorageObject | None = None

    def __post_init__(self) -> None:
        """Refuse what crashes the native library: a missing server, user, password or disk."""
        for name in ("password", "cookie"):
            object.__setattr__(self, name, Secret.of(getattr(self, name)))
        if not self.server:
            raise ValueError("server: name or address of the vCenter or ESXi host is needed")
        if not self.cookie and not (self.user and self.password):
            raise ValueError("credentials: give user and password, or cookie")
        if (self.vmx_spec is None) == (self.storage_object is None):
            raise ValueError("give either vmx_spec (as 'moref=vm-16') or storage_object, not both or none")
        for name, port in (("port", self.port), ("nfc_port", self.nfc_port)):
            if not 0 <= port < 1 << 16:
                raise ValueError(f"{name}={port}: a TCP port lies in 0..65535 (0: the library's default)")


@dataclass(frozen=True, slots=True)
class CreateParams:
    """What a new local disk shall be."""

    size: int
    """Bytes, a multiple of 512, at least 512."""
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE
    adapter: AdapterType = AdapterType.SCSI_LSILOGIC
    hw_version: int = 13
    """Virtual hardware version; 13 is ESXi 6.5."""

    def __post_init__(self) -> None:
        """Refuse what the library would cut to its own width."""
        if not 0 < self.hw_version < 1 << 16:
            raise ValueError(f"hw_version={self.hw_version}: a virtual hardware version lies in 1..65535")
        if not 0 < self.size < 1 << 63 or self.size % SECTOR_SIZE:
            raise ValueError(f"size={self.size}: a disk has a positive multiple of {SECTOR_SIZE} bytes, below 2**63")
