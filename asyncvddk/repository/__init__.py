"""The store of backups: disks cut into chunks, each stored once, compressed, encrypted, found by its content.

``Repository`` is the object to begin with. Needs the extra ``backup``; imports nothing of the disk layer. All sizes
and offsets are bytes.
"""

import asyncvddk.repository._extra  # noqa: F401  (first: it says what is missing)
from asyncvddk.repository._benchmark import BenchmarkReport
from asyncvddk.repository._keep import Decision, KeepRules, plan_forget
from asyncvddk.repository._reader import SnapshotDisk
from asyncvddk.repository._repository import DEFAULT_CHUNK_SIZE, Repository
from asyncvddk.repository._stats import RepositoryStats
from asyncvddk.repository.checking._damage import Finding, Hit
from asyncvddk.repository.checking._verify import VerifyProgress, VerifyReport, verify_store
from asyncvddk.repository.collection._gc import GcReport
from asyncvddk.repository.errors import (
    ChunksLostError,
    DamagedError,
    KeySlotError,
    ObjectMissingError,
    RepositoryBusyError,
    RepositoryError,
    RepositoryExistsError,
    RepositoryNotFoundError,
    SessionLostError,
    SnapshotNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnsuitableError,
    WrongPasswordError,
)
from asyncvddk.repository.format._index import Grid
from asyncvddk.repository.format._keyslots import Argon2Cost, KeySlot
from asyncvddk.repository.format._manifests import CHUNK_SIZES, Config, DiskEntry, DiskStats, FailedDisk, Snapshot
from asyncvddk.repository.store._store import Store, StoredObject
from asyncvddk.repository.store._urls import open_store
from asyncvddk.repository.writing._diskwriter import DiskWriter, Put, Sealed
from asyncvddk.repository.writing._session import Session

__all__ = [
    "CHUNK_SIZES",
    "DEFAULT_CHUNK_SIZE",
    "Argon2Cost",
    "BenchmarkReport",
    "ChunksLostError",
    "Config",
    "DamagedError",
    "Decision",
    "DiskEntry",
    "DiskStats",
    "DiskWriter",
    "FailedDisk",
    "Finding",
    "GcReport",
    "Grid",
    "Hit",
    "KeepRules",
    "KeySlot",
    "KeySlotError",
    "ObjectMissingError",
    "Put",
    "Repository",
    "RepositoryBusyError",
    "RepositoryError",
    "RepositoryExistsError",
    "RepositoryNotFoundError",
    "RepositoryStats",
    "Sealed",
    "Session",
    "SessionLostError",
    "Snapshot",
    "SnapshotDisk",
    "SnapshotNotFoundError",
    "Store",
    "StoreAccessError",
    "StoreError",
    "StoreFullError",
    "StoreUnsuitableError",
    "StoredObject",
    "VerifyProgress",
    "VerifyReport",
    "WrongPasswordError",
    "open_store",
    "plan_forget",
    "verify_store",
]
