"""How do I convert a disk to another type, watch the progress, and stop halfway?

Output::

    cloned: 100 %
    stopped after the first percent; left: ['copy.vmdk', 'disk.vmdk']
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import DiskType, Vddk
from asyncvddk.testing import make_disk, random_blocks  # you have a disk already

MIB = 1 << 20


async def main(folder: Path) -> None:
    """Clone twice; the second time the block is left at the first percentage."""
    async with Vddk() as vddk, vddk.connect() as connection:
        source = await make_disk(connection, folder / "disk.vmdk", random_blocks(32 * MIB, count=256), size=32 * MIB)
        last = 0
        async with connection.clone(folder / "copy.vmdk", source, disk_type=DiskType.STREAM_OPTIMIZED) as progress:
            async for percent in progress:
                last = max(last, percent)  # or draw a bar
        print("cloned:", last, "%")

        async with connection.clone(folder / "other.vmdk", source) as progress:
            async for _ in progress:
                break
        names = sorted(path.name for path in folder.iterdir())  # noqa: ASYNC240  (nobody else waits here)
        print("stopped after the first percent; left:", names)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
