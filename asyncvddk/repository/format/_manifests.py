"""What the objects that describe something hold: configuration, snapshots, sessions, collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from asyncvddk.repository.errors import DamagedError
from asyncvddk.repository.format import _codec
from asyncvddk.repository.format._crypto import checksum
from asyncvddk.repository.format._index import PAGE_ENTRIES

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T", bound=msgspec.Struct)

FORMAT: Final = 1
CHUNK_SIZES: Final = tuple(1 << bits for bits in range(18, 24))
"""256 KiB to 8 MiB."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What ``init`` decides for good."""

    id: str
    """32 hexadecimal digits."""
    format: int = FORMAT
    created: float
    """Seconds since 1970, UTC."""
    chunk_size: int
    """Bytes."""
    page_entries: int = PAGE_ENTRIES
    level: int
    """Of zstd; 0 stores everything as it is."""
    encryption: Literal["aes-256-gcm", "none"]

    def check(self) -> None:
        """Raise ValueError for a value that no repository has."""
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}; this version of asyncvddk reads {FORMAT}")
        if self.chunk_size not in CHUNK_SIZES:
            raise ValueError(f"chunk_size={self.chunk_size}: expected one of {', '.join(map(str, CHUNK_SIZES))}")
        if self.level not in _codec.LEVELS:
            raise ValueError(f"level={self.level}: zstd has {_codec.LEVELS[0]}..{_codec.LEVELS[-1]}; 0 is none")
        if not 1 <= self.page_entries <= 1 << 16:
            raise ValueError(f"page_entries={self.page_entries}: expected 1..65536")


class DiskStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the backup of a disk took. All in bytes of the source but ``stored``."""

    read: int = 0
    """Read from the source and given to ``put``."""
    zero: int = 0
    """Of these, all zero."""
    same: int = 0
    """Of these, as in the parent at the same place."""
    known: int = 0
    """Of these, in the repository already."""
    new: int = 0
    """Of these, stored by this backup."""
    stored: int = 0
    """Bytes that went to the store for them."""
    resumed: int = 0
    """Not read: an interrupted backup had read them, and the disk is as it was then."""


class DiskEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A disk in a snapshot."""

    key: str
    """Names the disk within its source: the device key of a VM's disk, or a path."""
    name: str
    uuid: str | None = None
    capacity: int
    """Bytes."""
    change_id: str | None = None
    """What to ask for to learn what changed since (changed block tracking)."""
    root: bytes
    """Id of the root: a digest of the whole disk."""
    mode: str
    """How it was read: ``full``, ``allocated``, ``changed`` ..."""
    read_whole: float = 0.0
    """When all that is allocated was read the last time, by this backup or one before; seconds since 1970, UTC."""
    mistrusted: bool = False
    """True: changed-block information was found wrong, or the parent; so the disk was read whole."""
    stats: DiskStats = DiskStats()


class FailedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that should be in a snapshot and is not."""

    key: str
    name: str
    reason: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One point in time of one source: the manifest that a commit writes."""

    id: str
    """16 hexadecimal digits."""
    source: str
    """What was backed up: the name of a virtual machine, a folder ..."""
    time: float
    """When the backup began; seconds since 1970, UTC."""
    finished: float
    """When it was committed."""
    disks: tuple[DiskEntry, ...]
    failed: tuple[FailedDisk, ...] = ()
    """Disks that could not be read."""
    partial: bool = False
    """True: something is missing, ``failed`` tells what."""
    parent: str | None = None
    """Id of the snapshot that was compared with; it may be gone, nothing depends on it."""
    config: bytes | None = None
    """Id of a blob with the virtual machine's configuration."""
    tags: tuple[str, ...] = ()
    host: str = ""
    """Machine that made the backup."""
    tool: str = ""
    """Program and version that made it."""

    def disk(self, key: str) -> DiskEntry:
        """Return the disk of that key. Raises KeyError, which tells the keys there are."""
        for disk in self.disks:
            if disk.key == key:
                return disk
        raise KeyError(f"snapshot {self.id} has no disk {key!r}, but {[disk.key for disk in self.disks]}")


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a session's parent from collection."""

    host: str
    started: float
    roots: tuple[bytes, ...]
    blobs: tuple[bytes, ...] = ()
    source: str = ""


class PartialDisk(msgspec.Struct, frozen=True, kw_only=True):
    """What a session has of a disk so far."""

    key: str
    uuid: str | None = None
    capacity: int
    """Bytes."""
    state: str
    """Names the content that is read: only a disk in the same state is gone on with."""
    root: bytes
    """Id of a root; what is not covered is zero in it."""
    covered: bytes
    """A bit for each chunk, the first one the highest of its byte: this chunk is as the index says."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a session is, for the next one of its source, should it be interrupted."""

    source: str
    disks: tuple[PartialDisk, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection found to be used by nothing. Ids stand one behind the other, sizes beside them (u64)."""

    created: float
    chunks: bytes
    chunk_sizes: bytes
    meta: bytes
    meta_sizes: bytes


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of chunks and of metadata: what a session keeps, or what a sweep may have deleted."""

    chunks: bytes = b""
    meta: bytes = b""


def pack(value: msgspec.Struct) -> bytes:
    """Return the content of an object that is sealed."""
    return msgspec.msgpack.encode(value)


def unpack(name: str, data: Buffer, kind: type[T]) -> T:
    """Read the content of an object that was sealed. Raises DamagedError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise DamagedError(name, f"no {kind.__name__.lower()}: {error}") from None


def write_text(value: msgspec.Struct) -> bytes:
    """Return the content of an object that is readable: JSON, and a line with its checksum."""
    line = msgspec.json.encode(value)
    return line + b"\n" + checksum(line).hex().encode() + b"\n"


def read_text(name: str, data: Buffer, kind: type[T]) -> T:
    """Read the content of a readable object. Raises DamagedError."""
    try:
        return msgspec.json.decode(checked_text(name, data), type=kind)
    except msgspec.MsgspecError as error:
        raise DamagedError(name, f"no {kind.__name__.lower()}: {error}") from None


def checked_text(name: str, data: Buffer) -> bytes:
    """Return the JSON of a readable object whose checksum is right. Raises DamagedError."""
    line, _, end = bytes(data).partition(b"\n")
    if end != checksum(line).hex().encode() + b"\n":
        raise DamagedError(name, "the checksum is wrong: damaged or changed by hand")
    return line
