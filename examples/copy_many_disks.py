"""How do I copy many disks at once, and know how each one ended?

Output::

    web.vmdk: 65536 of 16777216 bytes read
    mail.vmdk: 131072 of 16777216 bytes read
    lost.vmdk: [Errno 2] No such file or directory: 'lost.vmdk'
    ['mail.raw', 'web.raw']
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from asyncvddk import CreateParams, Vddk
from asyncvddk.copy import CopyOptions, copy_disks, plan_copies


async def make_disk(vddk: Vddk, path: str, data: bytes) -> None:
    """Make a disk to copy; you have yours already."""
    async with vddk.connect() as connection:
        await connection.create(path, CreateParams(size=16 << 20))
        async with connection.open(path) as disk:
            await disk.write_at(5 << 20, data)


async def main() -> None:
    """Copy three disks, of which one does not exist, two at a time."""
    async with Vddk() as vddk:
        await make_disk(vddk, "web.vmdk", b"x" * 1000)
        await make_disk(vddk, "mail.vmdk", b"y" * 100_000)
        options = CopyOptions()  # raw images; CopyOptions(vmdk=True) makes VMDKs
        plan = plan_copies(["web.vmdk", "mail.vmdk", "lost.vmdk"], "copies/", options)
        for outcome in await copy_disks(vddk, plan, options, jobs=2):
            result = outcome.result
            how = f"{result.bytes_read} of {result.size} bytes read" if result else outcome.error
            print(f"{outcome.job.source}: {how}")
    print(sorted(copy.name for copy in Path("copies").iterdir()))  # noqa: ASYNC240  (nobody else waits here)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        asyncio.run(main())
