r"""How do I read any bytes of a disk?

Output::

    size 1073741824
    b'\x00\x00hello\x00'
    allocated: 999948288 + 65536
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import CreateParams, Vddk


async def make_disk(vddk: Vddk, path: Path) -> None:
    """Make a disk to read; you have yours already."""
    async with vddk.connect() as connection:
        await connection.create(path, CreateParams(size=1 << 30))
        async with connection.open(path) as disk:
            await disk.write_at(1_000_000_002, b"hello")


async def main(folder: Path) -> None:
    """Read eight bytes in the middle, then ask where there is anything at all."""
    async with Vddk() as vddk:
        await make_disk(vddk, folder / "disk.vmdk")
        async with vddk.open_disk(folder / "disk.vmdk") as disk:
            print("size", disk.size)
            print(await disk.read_at(1_000_000_000, 8))
            async for block in disk.allocated_blocks():
                print(f"allocated: {block.offset} + {block.length}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
