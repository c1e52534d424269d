"""Numbers of ``vixDiskLib.h`` under their C names. Enumerations for users are in :mod:`asyncvddk.models`."""

from __future__ import annotations

from typing import Final

VIX_OK: Final = 0
VIX_ASYNC: Final = 25000
"""An asynchronous call returns it when accepted; any other value means that no callback will come."""

VIXDISKLIB_SECTOR_SIZE: Final = 512

# Limits of VixDiskLib_QueryAllocatedBlocks.
VIXDISKLIB_MIN_CHUNK_SIZE: Final = 128
"""Sectors."""
VIXDISKLIB_MAX_CHUNK_SIZE: Final = 131_072
"""Sectors."""
VIXDISKLIB_MAX_CHUNK_NUMBER: Final = 524_288
"""Chunks of one call."""

VIXDISKLIB_FLAG_OPEN_COMPRESSION_MASK: Final = 0x3F0

# How the user proves who he is (VixDiskLibCredType).
VIXDISKLIB_CRED_UID: Final = 1
VIXDISKLIB_CRED_SESSIONID: Final = 2
VIXDISKLIB_CRED_TICKETID: Final = 3
VIXDISKLIB_CRED_SSPI: Final = 4
"""Windows only."""
VIXDISKLIB_CRED_UNKNOWN: Final = 256

# What the connection leads to (VixDiskLibSpecType).
VIXDISKLIB_SPEC_VMX: Final = 0
VIXDISKLIB_SPEC_VSTORAGE_OBJECT: Final = 1
VIXDISKLIB_SPEC_DATASTORE: Final = 2
"""From 8.0.1 on; the public sources disagree on the number."""
VIXDISKLIB_SPEC_UNKNOWN: Final = 256
