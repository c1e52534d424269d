"""How do I read a disk in a backup, without restoring it, and see what changed since the one before?

Output::

    a disk of 67108864 bytes, 2 allocated blocks
    b'hello'
    changed: Block(offset=33554432, length=1048576)
    b'world'
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from asyncvddk.backup import backup, raw_disk
from asyncvddk.repository import Repository


def write(path: Path, offset: int, data: bytes) -> None:
    """Make a sparse image to back up, or change it; you have yours already."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(64 << 20)
        file.seek(offset)
        file.write(data)


async def main() -> None:
    """Two backups of an image; the second one is read as if it were a disk."""
    image = Path("disk.raw")
    await Repository.init("backups", password=None)  # not encrypted
    async with Repository.open("backups", password=None, cache="") as repository:
        write(image, 1_000_000, b"hello")
        old = await backup(repository, [raw_disk(image)], source="image")
        write(image, 32 << 20, b"world")
        new = await backup(repository, [raw_disk(image)], source="image")
        async with await repository.open_disk(new, "disk.raw") as disk:
            blocks = [block async for block in disk.allocated_blocks()]
            print(f"a disk of {disk.size} bytes, {len(blocks)} allocated blocks")
            print(await disk.read_at(1_000_000, 5))
            for block in await repository.diff(old.disk("disk.raw").root, new.disk("disk.raw").root):
                print(f"changed: {block}")  # in whole chunks, 1 MiB here; no data are read for it
                print(await disk.read_at(block.offset, 5))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        asyncio.run(main())
