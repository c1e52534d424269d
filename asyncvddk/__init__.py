"""Asyncio-native access to VMware virtual disks through the C interface of VDDK (``libvixDiskLib.so``).

::

    async with Vddk() as vddk, vddk.open_disk("disk.vmdk") as disk:
        async for block in disk.allocated_blocks():
            data = await disk.read_at(block.offset, block.length)

Without a VDDK the package's own engine does local VMDK files. Sizes and offsets are bytes everywhere. Copies of whole
disks are in ``asyncvddk.copy``, the command line in ``asyncvddk.cli``.
"""

from asyncvddk._access import Access
from asyncvddk._config import LibraryConfig
from asyncvddk._connection import Connection
from asyncvddk._disk import AsyncDisk
from asyncvddk._library import Vddk
from asyncvddk._opening import Opening
from asyncvddk._params import ConnectParams, DatastoreFolder, StorageObject
from asyncvddk._secret import Secret
from asyncvddk._version import __version__
from asyncvddk.errors import (
    AccessDeniedError,
    AccessLockedError,
    AuthenticationError,
    ChainError,
    ClosedError,
    ConnectionFailedError,
    DiskError,
    DiskExistsError,
    DiskFullError,
    DiskLockedError,
    DiskNotFoundError,
    EncryptedDiskError,
    InvalidArgumentError,
    InvalidDiskError,
    LibraryLoadError,
    MetadataKeyError,
    NativeError,
    NeedsRepairError,
    NotSupportedError,
    OperationCancelledError,
    OutOfMemoryError,
    OutOfRangeError,
    UnsupportedError,
    VddkError,
)
from asyncvddk.models import (
    AdapterType,
    Block,
    CleanupResult,
    CreateParams,
    DiskInfo,
    DiskType,
    Geometry,
    HardwareVersion,
    OpenFlags,
)

__all__ = [
    "Access",
    "AccessDeniedError",
    "AccessLockedError",
    "AdapterType",
    "AsyncDisk",
    "AuthenticationError",
    "Block",
    "ChainError",
    "CleanupResult",
    "ClosedError",
    "ConnectParams",
    "Connection",
    "ConnectionFailedError",
    "CreateParams",
    "DatastoreFolder",
    "DiskError",
    "DiskExistsError",
    "DiskFullError",
    "DiskInfo",
    "DiskLockedError",
    "DiskNotFoundError",
    "DiskType",
    "EncryptedDiskError",
    "Geometry",
    "HardwareVersion",
    "InvalidArgumentError",
    "InvalidDiskError",
    "LibraryConfig",
    "LibraryLoadError",
    "MetadataKeyError",
    "NativeError",
    "NeedsRepairError",
    "NotSupportedError",
    "OpenFlags",
    "Opening",
    "OperationCancelledError",
    "OutOfMemoryError",
    "OutOfRangeError",
    "Secret",
    "StorageObject",
    "UnsupportedError",
    "Vddk",
    "VddkError",
    "__version__",
]

for _public in [globals()[_name] for _name in __all__]:
    if isinstance(_public, type):
        _public.__module__ = __name__  # tracebacks and help() show the name to import
