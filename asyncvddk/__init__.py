"""Asyncio-native access to VMware virtual disks through the C interface of VDDK (``libvixDiskLib.so``).

Start
-----

::

    async with Vddk() as vddk, vddk.open_disk("disk.vmdk") as disk:
        async for block in disk.allocated_blocks():
            data = await disk.read_at(block.offset, block.length)

``Vddk`` is the library, ``Connection`` a way to disks, ``AsyncDisk`` an open disk. Without a VDDK the package's own
open engine does local VMDK files; ``Vddk(libdir)`` or the variable ``ASYNCVDDK_LIBDIR`` names a VDDK of VMware. Sizes
and offsets are bytes everywhere. Copies of whole disks are in ``asyncvddk.copy``, the command line in
``asyncvddk.cli``; the folder ``examples`` of the sources answers one question a file.

Connections
-----------

``vddk.connect()`` leads to local disks, ``vddk.connect(ConnectParams(...))`` to those of a vCenter or ESXi host.
``Connection.open`` opens disks; ``create``, ``clone``, ``grow``, ``rename``, ``unlink`` and ``check_repair`` work on
closed local ones. ``vddk.open_disk`` does it all for one disk: it keeps the virtual machine from moving
(``Vddk.access``), connects and opens, and undoes all of it when the disk is closed or a step fails.

A password is a ``Secret``, which shows nowhere; its owner wipes it, no connection does. ``Vddk.thumbprint_of`` fetches
a server's thumbprint, ``LibraryConfig`` has the library's configuration as values. Libraries from 6.5 to 9 are taken:
an older one refuses what it does not know (``NotSupportedError``).

What opens is an ``Opening``: ``async with`` it, or ``await`` it and close by ``await thing.aclose()``.

Reading and writing
-------------------

``read_at``, ``readinto_at`` and ``write_at`` take any offset and length. Any number of tasks may use a disk at once;
where the library can, their requests are in flight together. Writes that share a sector wait for each other, so that
no unaligned one loses another's bytes. What was written is on storage after ``flush``. A buffer stays the caller's;
until its call has ended it can be neither resized nor reused.

``AsyncDisk.stream`` gives a ``DiskStream``, an async file over a disk; ``AsyncDisk.metadata`` is the disk database, an
async mapping. What works on a whole disk (``clone``, ``create``, ``shrink`` ...) returns an ``Operation``: await it, or
watch its percentages.

Cancellation
------------

A call that is still queued never runs. One that runs in the library is waited for, because C uses the buffer, then the
cancellation goes on; long operations are asked to stop. Afterwards an object is usable or closed, never in between,
and what was half made is removed. Closing always runs to its end.

When the library fails
----------------------

Nothing of this happens unless it is asked for. ``call_timeout_s``, of ``Vddk`` or of one connection, is the time limit
of every native call: what runs longer is given up with its connection, as ``Connection.abort`` does it by hand and
``Vddk.abort`` for all. A ``RetryPolicy`` has connecting and opening tried again; ``vddk.open_disk`` with one returns a
``RetryingDisk``, whose reads are tried again as well, over a new connection if the policy allows that.

Errors
------

All are a ``VddkError``; ``asyncvddk.errors`` draws the tree. What the library refuses is a ``NativeError``, whose
class follows from its code, with ``code``, ``symbol``, ``text`` and ``hint``: what to do. Wrong arguments are
ValueError or TypeError, before anything happens. The use of what is closed is a ``ClosedError``.

Threads and processes
---------------------

Each connection has one thread, in C, that makes all its calls in order; objects belong to the event loop that made
them. A process has one library with one configuration; any number of ``Vddk`` objects share it. Start child processes
by ``spawn``: threads do not survive ``fork``.

The library's messages go to ``structlog``, secrets masked.

Testing your own code
---------------------

``asyncvddk.testing`` makes scratch disks and starts an engine that fails, hangs, is slow, or plays a server; an
installed asyncvddk brings its fixtures to pytest.
"""

from asyncvddk._config import LibraryConfig
from asyncvddk._params import ConnectParams, DatastoreFolder, StorageObject
from asyncvddk._secret import Secret
from asyncvddk._version import __version__
from asyncvddk.disks._access import Access
from asyncvddk.disks._connection import Connection
from asyncvddk.disks._disk import AsyncDisk
from asyncvddk.disks._library import Vddk
from asyncvddk.disks._metadata import DiskMetadata, ReadableMetadata
from asyncvddk.disks._opening import Opening
from asyncvddk.disks._operation import Operation
from asyncvddk.disks._retry import RetryPolicy
from asyncvddk.disks._retrying import RetryingDisk
from asyncvddk.disks._stream import DiskStream
from asyncvddk.errors import (
    AbortedError,
    AccessDeniedError,
    AccessLockedError,
    AuthenticationError,
    CallTimeoutError,
    ChainError,
    ClosedError,
    ConnectionFailedError,
    DiskChangedError,
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
    "AbortedError",
    "Access",
    "AccessDeniedError",
    "AccessLockedError",
    "AdapterType",
    "AsyncDisk",
    "AuthenticationError",
    "Block",
    "CallTimeoutError",
    "ChainError",
    "CleanupResult",
    "ClosedError",
    "ConnectParams",
    "Connection",
    "ConnectionFailedError",
    "CreateParams",
    "DatastoreFolder",
    "DiskChangedError",
    "DiskError",
    "DiskExistsError",
    "DiskFullError",
    "DiskInfo",
    "DiskLockedError",
    "DiskMetadata",
    "DiskNotFoundError",
    "DiskStream",
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
    "Operation",
    "OperationCancelledError",
    "OutOfMemoryError",
    "OutOfRangeError",
    "ReadableMetadata",
    "RetryPolicy",
    "RetryingDisk",
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
