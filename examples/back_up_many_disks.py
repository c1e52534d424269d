"""How do I back up many disks at once, again and again, and get any of them back?

Output::

    first: web.vmdk 524288 new bytes, mail.vmdk 262144 new bytes
    second: web.vmdk 262144 new bytes, mail.vmdk 0 new bytes
    gone.vmdk failed: [Errno 2] No such file or directory
    nothing is damaged
    web.vmdk as it was: b'version 1'
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

import structlog

from asyncvddk import CreateParams, Vddk
from asyncvddk.backup import RawTarget, backup, restore, vmdk_disk
from asyncvddk.repository import Repository, Snapshot


async def write(vddk: Vddk, path: str, *pieces: tuple[int, bytes]) -> None:
    """Make a disk to back up, or change it; you have yours already."""
    async with vddk.connect() as connection:
        if not Path(path).exists():  # noqa: ASYNC240  (nobody else waits here)
            await connection.create(path, CreateParams(size=8 << 20))
        async with connection.open(path) as disk:
            for offset, data in pieces:
                await disk.write_at(offset, data)


def tell(name: str, snapshot: Snapshot) -> None:
    """Print what was stored of each disk."""
    print(f"{name}: {', '.join(f'{disk.name} {disk.stats.new} new bytes' for disk in snapshot.disks)}")


async def main() -> None:
    """Two disks, two snapshots; then the first state of one of them, in a file."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # a disk that fails is logged, too
    await Repository.init("backups", password="choose a good one", chunk_size=1 << 18)  # noqa: S106
    async with Vddk() as vddk, Repository.open("backups", password="choose a good one", cache="") as repository:  # noqa: S106
        await write(vddk, "web.vmdk", (0, b"version 1"), (4 << 20, b"x" * 1000))
        await write(vddk, "mail.vmdk", (0, b"letters"))
        disks = [vmdk_disk(vddk, "web.vmdk"), vmdk_disk(vddk, "mail.vmdk")]
        first = await backup(repository, disks, source="office")
        tell("first", first)
        await write(vddk, "web.vmdk", (0, b"version 2"))
        second = await backup(repository, [*disks, vmdk_disk(vddk, "gone.vmdk")], source="office")
        tell("second", second)  # a snapshot in spite of the third disk, and it says so: second.partial
        print(*(f"{disk.name} failed: {disk.reason.partition(':')[0]}" for disk in second.failed))
        report = await repository.verify()
        print(*(report.findings or ["nothing is damaged"]))
        disk = await repository.open_disk(first, "web.vmdk")
        async with disk, RawTarget(Path("web.raw"), disk.size) as target:
            await restore(disk, target)
    print(f"web.vmdk as it was: {Path('web.raw').read_bytes()[:9]!r}")  # noqa: ASYNC240


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        asyncio.run(main())
