"""How do I convert a disk to another type, watch the progress, and stop halfway?

Output::

    cloned: 100 %
    stopped after the first percent; left: ['copy.vmdk', 'disk.vmdk']
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from asyncvddk import DiskType, Vddk
from asyncvddk.testing import make_disk, random_blocks  # you have a disk already

MIB = 1 << 20


async def main(folder: Path) -> None:
    """Clone twice; the second time the task is cancelled by its own progress."""
    async with Vddk() as vddk, vddk.connect() as connection:
        source = await make_disk(connection, folder / "disk.vmdk", random_blocks(32 * MIB, count=256), size=32 * MIB)
        seen: list[int] = []
        await connection.clone(folder / "copy.vmdk", source, disk_type=DiskType.STREAM_OPTIMIZED, progress=seen.append)
        print("cloned:", seen[-1], "%")

        cloning = asyncio.create_task(
            connection.clone(folder / "other.vmdk", source, progress=lambda _: cloning.cancel())
        )
        with contextlib.suppress(asyncio.CancelledError):
            await cloning
        names = sorted(path.name for path in folder.iterdir())  # noqa: ASYNC240  (nobody else waits here)
        print("stopped after the first percent; left:", names)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
