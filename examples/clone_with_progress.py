"""How do I convert a disk to another type, watch the progress, and stop halfway?

Output::

    cloned: 100 %
    stopped after the first percent; left: ['copy-flat.vmdk', 'copy.vmdk', 'disk.vmdk']
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import DiskType, Vddk
from asyncvddk.testing import make_disk, random_blocks  # you have a disk already

MIB = 1 << 20


async def main(folder: Path) -> None:
    """Clone twice; the second time it is left at the first percentage."""
    async with Vddk() as vddk, vddk.connect() as connection:
        source = await make_disk(connection, folder / "disk.vmdk", random_blocks(64 * MIB, count=1000))
        async with connection.clone(folder / "copy.vmdk", source, disk_type=DiskType.MONOLITHIC_FLAT) as progress:
            seen = [percent async for percent in progress]  # draw a bar here
        print("cloned:", seen[-1], "%")

        async with connection.clone(folder / "other.vmdk", source) as progress:
            async for _ in progress:
                break  # leaving the block stops it
        names = sorted(path.name for path in folder.iterdir())  # noqa: ASYNC240  (nobody else waits here)
        print("stopped after the first percent; left:", names)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
