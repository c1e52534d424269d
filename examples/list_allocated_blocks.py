"""How do I find out which parts of a disk hold data, and which of them a snapshot has changed?

Output::

    base      [Block(offset=0, length=65536), Block(offset=5242880, length=131072)]
    snapshot  [Block(offset=0, length=65536), Block(offset=5242880, length=131072), Block(offset=8388608, length=65536)]
    changed   [Block(offset=8388608, length=65536)]
    in 1 MiB  [Block(offset=8388608, length=1048576)]
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import OpenFlags, Vddk
from asyncvddk.testing import make_chain  # you have disks already

MIB = 1 << 20


async def main(folder: Path) -> None:
    """Ask the base, the chain, and the snapshot's own link alone."""
    async with Vddk() as vddk, vddk.connect(read_only=True) as connection, vddk.connect() as writing:
        contents = [{0: b"x" * 100, 5 * MIB: b"y" * 131072}, {8 * MIB: b"z"}]
        base, snapshot = await make_chain(writing, folder / "vm.vmdk", contents, size=16 * MIB)
        for name, path in (("base", base), ("snapshot", snapshot)):
            async with connection.open(path) as disk:
                print(f"{name:9}", [block async for block in disk.allocated_blocks()])
        async with connection.open(snapshot, OpenFlags.SINGLE_LINK) as link:
            print(f"{'changed':9}", [block async for block in link.allocated_blocks()])
            coarse = link.allocated_blocks(8 * MIB, 8 * MIB, chunk_size=MIB)  # a part of the disk, larger chunks
            print(f"{'in 1 MiB':9}", [block async for block in coarse])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
