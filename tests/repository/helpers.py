"""Small backups for tests: content from seeds, put and read back through the public interface."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asyncvddk._secret import Secret
from asyncvddk.repository import Argon2Cost, Repository
from asyncvddk.repository._opening import make, new_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from asyncvddk.repository import Config, DiskWriter, Put, Snapshot, Store

CHUNK = 1 << 18
SMALL = 1 << 12
"""Chunks smaller than a user may have, for tests with many runs; see ``small_chunks``."""
CHEAP = Argon2Cost(memory_kib=64, iterations=1, lanes=1)
PASSWORD = "correct horse battery staple"  # noqa: S105


def new_repository(
    store: Store, password: str | None = None, *, chunk_size: int = CHUNK, page_entries: int = 4
) -> Config:
    """Make a repository with small pages, so that a few chunks fill several."""
    secret = Secret.of(password)
    return make(store, secret, new_config(secret, chunk_size=chunk_size, level=1, page_entries=page_entries), CHEAP)


def content(seed: int, size: int, chunk: int = CHUNK) -> bytes:
    """Return bytes that compress to about half; a third of the chunks are zero."""
    source = random.Random(seed)
    parts = []
    for start in range(0, size, chunk):
        length = min(chunk, size - start)
        parts.append(bytes(length) if source.random() < 1 / 3 else (source.randbytes(length // 2) * 3)[:length])
    return b"".join(parts)


def changed(data: bytes, seed: int) -> bytes:
    """Return the data with some bytes changed, here and there."""
    source, copy = random.Random(seed), bytearray(data)
    for _ in range(3):
        place = source.randrange(len(data))
        copy[place : place + 100] = source.randbytes(len(copy[place : place + 100]))
    return bytes(copy)


def put_all(disk: DiskWriter, data: bytes, numbers: Iterable[int] | None = None) -> list[Put]:
    """Put chunks of the data, all unless ``numbers`` says which."""
    size = disk.chunk_size
    wanted = range(disk.chunks) if numbers is None else numbers
    return [disk.put(number, data[number * size : (number + 1) * size]) for number in wanted]


async def back_up(
    repository: Repository, data: bytes, *, source: str = "vm", parent: Snapshot | None = None, tag: str = ""
) -> Snapshot:
    """Make a snapshot of one disk."""
    async with repository.session(source, parent=parent, host="here") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=len(data))
        put_all(disk, data)
        config = await session.put_blob(b"configuration of " + tag.encode())
        return await session.commit(tags=[tag], config=config)


async def restored(repository: Repository, snapshot: Snapshot) -> bytes:
    """Return all bytes of a snapshot's one disk."""
    (entry,) = snapshot.disks
    async with await repository.open_disk(snapshot, entry.key) as disk:
        return await disk.read_at(0, disk.size)


@asynccontextmanager
async def opened(store: Store, password: str | None = None) -> AsyncIterator[Repository]:
    """Open a repository whose store stays open, one request at a time, knowing nothing from before."""
    async with Repository.open(store, password=password, cache="", threads=1) as repository:
        yield repository
