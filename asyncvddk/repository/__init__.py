"""The store of backups: disks cut into chunks, each stored once, compressed, encrypted, found by its content.

``Repository`` is the object to begin with. Needs the extra ``backup``; imports nothing of the disk layer.
"""

from asyncvddk.errors import VddkError

try:
    from asyncvddk.repository._codec import DEFAULT_LEVEL, LEVELS
    from asyncvddk.repository._damage import Finding, Hit
    from asyncvddk.repository._diskwriter import DiskWriter, Put, Sealed
    from asyncvddk.repository._gc import GcReport
    from asyncvddk.repository._index import Grid
    from asyncvddk.repository._keep import Decision, KeepRules, plan_forget
    from asyncvddk.repository._keyslots import Argon2Cost, KeySlot
    from asyncvddk.repository._manifests import CHUNK_SIZES, Config, DiskEntry, DiskStats, FailedDisk, Snapshot
    from asyncvddk.repository._reader import SnapshotDisk
    from asyncvddk.repository._repository import DEFAULT_CHUNK_SIZE, Repository
    from asyncvddk.repository._session import Session
    from asyncvddk.repository._stats import RepositoryStats
    from asyncvddk.repository._store import Store, StoredObject, open_store
    from asyncvddk.repository._verify import VerifyReport, verify_store
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {
        "backports",
        "blake3",
        "cryptography",
        "msgspec",
        "numpy",
        "obstore",
    }:
        raise
    raise VddkError(f"the repository needs {error.name}: pip install 'asyncvddk[backup]'") from error
