"""Names of the objects in a store. Pure; nothing else makes or reads names.

::

    config                                  written once: id, chunk size, page entries, compression, encryption
    keys/<id>                               the master key under one password
    chunks/<2 hex>/<64 hex>                 a chunk
    meta/<2 hex>/<64 hex>                   a page, root or blob
    snapshots/<source>/<utc>-<id>           the commit point of a backup; the source's name is hidden
    trash/<source>/<utc>-<id>.<unix>        a forgotten snapshot, and since when
    sessions/<utc>-<id>/pin                 a running backup lives as long as this is there
    sessions/<utc>-<id>/beat-<unix>         ... and was last heard of at that time
    sessions/<utc>-<id>/ack-<n>             ... and has kept what it uses of plan n
    sessions/<utc>-<id>/part-<unix>         how far it was at that time; stays when it is interrupted
    gc/lock/<id>/<unix>                     a running collection, last heard of at that time
    gc/<n>/plan  keep-<id>  sweep  done     one collection after the other
    quarantine/<folder>/<2 hex>/<64 hex>    what a check took away
    probe/<id>                              tried when the store is opened
    probe/<unix>-<id>-<n>                   data of a benchmark, and since when
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

CONFIG: Final = "config"
CHUNKS: Final = "chunks"
META: Final = "meta"
SNAPSHOTS: Final = "snapshots"
TRASH: Final = "trash"
SESSIONS: Final = "sessions"
KEYS: Final = "keys"
GC: Final = "gc"
LOCK: Final = "gc/lock"
QUARANTINE: Final = "quarantine"
PROBE: Final = "probe"

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_SNAPSHOT: Final = re.compile(r"snapshots/(?P<source>[0-9a-f]{16})/(?P<stamp>\d{8}T\d{6}Z)-(?P<id>[0-9a-f]{16})")
_TRASHED: Final = re.compile(r"trash/(?P<rest>[0-9a-f]{16}/\d{8}T\d{6}Z-(?P<id>[0-9a-f]{16}))\.(?P<since>\d+)")
_ADDRESSED: Final = re.compile(r"(?:quarantine/)?(?P<folder>chunks|meta)/[0-9a-f]{2}/(?P<id>[0-9a-f]{64})")
_BENCHMARK: Final = re.compile(r"probe/(?P<since>\d+)-[0-9a-f]{16}-\d+")
_NUMBER: Final = "{:012d}"


def new_id() -> str:
    """Return 16 random hexadecimal digits."""
    return secrets.token_hex(8)


def stamped(now: float, unique: str) -> str:
    """Return a name that sorts by time."""
    return f"{time.strftime(_STAMP, time.gmtime(now))}-{unique}"


def addressed(folder: str, identifier: bytes) -> str:
    """Return the name of what is stored by its id in ``chunks`` or ``meta``."""
    text = identifier.hex()
    return f"{folder}/{text[:2]}/{text}"


def chunk(identifier: bytes) -> str:
    """Return a chunk's name."""
    return addressed(CHUNKS, identifier)


def meta(identifier: bytes) -> str:
    """Return the name of a page, root or blob."""
    return addressed(META, identifier)


def id_of(name: str) -> bytes | None:
    """Return the id in the name of a chunk or of metadata, quarantined or not; None for other names."""
    match = _ADDRESSED.fullmatch(name)
    return bytes.fromhex(match["id"]) if match else None


def snapshot(hidden_source: str, now: float, identifier: str) -> str:
    """Return a snapshot's name."""
    return f"{SNAPSHOTS}/{hidden_source}/{stamped(now, identifier)}"


def snapshot_id(name: str) -> str | None:
    """Return the id in the name of a snapshot, forgotten or not; None for other names."""
    match = _SNAPSHOT.fullmatch(name) or _TRASHED.fullmatch(name)
    return match["id"] if match else None


def source_of(name: str) -> str | None:
    """Return the hidden source in the name of a snapshot; None for other names."""
    match = _SNAPSHOT.fullmatch(name)
    return match["source"] if match else None


def trashed(name: str, now: float) -> str:
    """Return the name of a snapshot that is forgotten now."""
    return f"{TRASH}/{name.removeprefix(SNAPSHOTS + '/')}.{int(now)}"


def trashed_since(name: str) -> int | None:
    """Return since when a snapshot is forgotten, in seconds since 1970; None for other names."""
    match = _TRASHED.fullmatch(name)
    return int(match["since"]) if match else None


def pin(session: str) -> str:
    """Return the name of what keeps a session alive."""
    return f"{SESSIONS}/{session}/pin"


def beat(session: str, now: float) -> str:
    """Return the name of a session's sign of life."""
    return f"{SESSIONS}/{session}/beat-{int(now)}"


def acknowledgement(session: str, plan: int) -> str:
    """Return the name of a session's word that it has kept what it uses of a plan."""
    return f"{SESSIONS}/{session}/ack-{plan}"


def part(session: str, now: int) -> str:
    """Return the name of a session's checkpoint."""
    return f"{SESSIONS}/{session}/part-{now}"


def collection(number: int, what: str) -> str:
    """Return the name of ``plan``, ``keep-<id>``, ``sweep`` or ``done`` of a collection."""
    return f"{GC}/{_NUMBER.format(number)}/{what}"


def lock(identifier: str, now: float) -> str:
    """Return the name of a collector's lock."""
    return f"{LOCK}/{identifier}/{int(now)}"


def benchmark(identifier: str, now: float, number: int) -> str:
    """Return the name of an object that is stored to measure how long that takes."""
    return f"{PROBE}/{int(now)}-{identifier}-{number}"


def benchmark_since(name: str) -> int | None:
    """Return when a benchmark began, in seconds since 1970; None for other names."""
    match = _BENCHMARK.fullmatch(name)
    return int(match["since"]) if match else None
