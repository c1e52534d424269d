"""How do I send a disk somewhere else than to a file, and keep the memory bounded?

Anything with a ``write`` is a target; this one counts the blocks that are not zero and hashes them.

Output::

    64 MiB disk, 3 MiB to read, 1 MiB not zero
    places that hold data: 4.0 MiB
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path

from asyncvddk import CreateParams, Vddk
from asyncvddk.copy import copy_disk

MIB = 1 << 20


class HashTarget:
    """Keeps a hash of every chunk that is not zero."""

    def __init__(self) -> None:
        """Begin with none."""
        self.hashes: dict[int, str] = {}

    async def write(self, offset: int, data: memoryview) -> int:
        """Take a chunk; several may come at once, in any order. The buffer is used again when this returns."""
        if not any(data):
            return 0
        self.hashes[offset] = hashlib.sha256(data).hexdigest()
        return len(data)


async def main(path: Path) -> None:
    """Write one MiB of data and two of zeros, then copy."""
    async with Vddk() as vddk, vddk.connect() as connection:
        await connection.create(path, CreateParams(size=64 * MIB))
        async with connection.open(path) as disk:
            await disk.write_at(4 * MIB, b"data" * (MIB // 4))
            await disk.write_at(8 * MIB, bytes(2 * MIB))
            target = HashTarget()
            result = await copy_disk(disk, target, chunk_size=MIB, in_flight=4)
    read, written = result.bytes_read // MIB, result.bytes_written // MIB
    print(f"{result.size // MIB} MiB disk, {read} MiB to read, {written} MiB not zero")
    for offset in sorted(target.hashes):
        print(f"places that hold data: {offset / MIB} MiB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "disk.vmdk")))
