"""A user's program that backs up, checks, keeps and restores, for mypy --strict alone: it is never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from asyncvddk import AsyncDisk, Block, ConnectParams, CreateParams, Vddk
from asyncvddk.backup import (
    BackupDisk,
    BackupLimits,
    BackupOptions,
    BackupProgress,
    ChangedBlocks,
    DiskTarget,
    RawImage,
    RawTarget,
    ReadableDisk,
    RestoreResult,
    StreamTarget,
    VmdkTarget,
    backup,
    compare,
    find_disks,
    raw_disk,
    remote_disk,
    restore,
    vmdk_disk,
)
from asyncvddk.repository import (
    Decision,
    DiskEntry,
    GcReport,
    KeepRules,
    Repository,
    Snapshot,
    SnapshotDisk,
    VerifyReport,
    plan_forget,
)


class Watcher:
    """Is told how a backup goes."""

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Note the beginning of a disk."""
        assert_type((disk.key, progress.size), tuple[str, int])

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Note how far it is."""
        assert_type((disk.key, progress.stats.stored), tuple[str, int])

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Note how it ended."""


async def backing_up(vddk: Vddk, params: ConnectParams) -> Snapshot:
    """Make a backup of every kind of disk."""
    await Repository.init("/srv/backups", password="...", chunk_size=1 << 20)  # noqa: S106
    changed = ChangedBlocks([Block(0, 512)], since="52 de/7")
    disks: list[BackupDisk] = [
        *find_disks(vddk, ["/vms"]),
        vmdk_disk(vddk, Path("a.vmdk")),
        raw_disk("/dev/vdb", key="vdb"),
        remote_disk(vddk, "[ds1] vm/vm.vmdk", params, snapshot="snapshot-47", changed=changed, identity=None),
    ]
    options = BackupOptions(mode="auto", checkpoint_every_s=10)
    limits = BackupLimits(jobs=8, jobs_per_host=4, memory_limit=64 << 20)
    BackupOptions(mode="some")  # type: ignore[arg-type]
    BackupLimits(8)  # type: ignore[call-arg]
    async with Repository.open("s3://bucket/backups", password=None, options={"region": "eu-central-1"}) as repository:
        snapshot = await backup(
            repository, disks, source="vm", parent="latest", options=options, limits=limits, observer=Watcher()
        )
        assert_type(snapshot.disk("vdb").stats.new, int)
        assert_type(await repository.verify(2, subset=(1, 7)), VerifyReport)
        decisions = plan_forget(await repository.snapshots("vm"), KeepRules(last=3, daily=7))
        assert_type(decisions, list[Decision])
        await repository.forget(decision.snapshot for decision in decisions if not decision.keep)
        assert_type(await repository.gc(dry_run=True), GcReport)
        return snapshot


async def restoring(repository: Repository, snapshot: Snapshot, vddk: Vddk, existing: AsyncDisk) -> None:
    """Read a backup as a disk, and bring it back in every way."""
    async with await repository.open_disk(snapshot, "vdb", cache_size=1 << 20) as disk:
        assert_type(disk, SnapshotDisk)
        assert_type(await disk.read_at(0, 512), bytes)
        assert_type([block async for block in disk.allocated_blocks()], list[Block])
        readable: ReadableDisk = disk
        async with RawTarget(Path("x.raw"), disk.size) as raw:
            assert_type(await restore(readable, raw, progress=lambda state: state.bytes_done), RestoreResult)
        async with VmdkTarget(vddk, Path("x.vmdk"), CreateParams(size=disk.size)) as vmdk:
            await restore(disk, vmdk)
        await restore(disk, DiskTarget(existing, only_different=True))
        await restore(disk, StreamTarget(1), start=512, length=512)
        async with RawImage("x.raw") as image:
            assert_type(await compare(disk, image), list[Block])
