"""Backups at a bench, and what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncvddk.vsphere import (
    Budget,
    MachineBackupOptions,
    MachineConfiguration,
    MachineObserver,
    MachineResult,
    VSphere,
    back_up_machines,
    machines,
)
from asyncvddk.vsphere._journal import journals

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.repository import Repository, Snapshot
    from tests.fix_vsphere import Bench

CHUNK = 1 << 18


class Backups:
    """Makes backups at a bench, and looks at what they leave."""

    def __init__(self, bench: Bench, vsphere: VSphere, vddk: Vddk, repository: Repository, folder: Path) -> None:
        """Take all that a backup needs."""
        self.bench, self.vsphere, self.vddk, self.repository, self.folder = bench, vsphere, vddk, repository, folder

    async def make(
        self,
        *names: str,
        observer: MachineObserver | None = None,
        budget: Budget | None = None,
        **options: Any,  # noqa: ANN401
    ) -> list[MachineResult]:
        """Back up machines by name, or all."""
        rules = options.pop("selection", None)
        chosen = [one for one in await machines(self.vsphere) if not names or one.name in names]
        return await back_up_machines(
            self.vsphere,
            self.vddk,
            self.repository,
            chosen,
            selection=rules,
            options=MachineBackupOptions(**options),
            journal=self.folder,
            observer=observer,
            budget=budget,
        )

    async def stored(self, snapshot: Snapshot | None, key: int = 2000) -> bytes:
        """Return a disk of a snapshot, whole."""
        assert snapshot
        async with await self.repository.open_disk(snapshot, str(key)) as disk:
            return await disk.read_at(0, disk.size)

    async def configuration(self, snapshot: Snapshot | None) -> MachineConfiguration:
        """Return the configuration that was stored."""
        assert snapshot
        assert snapshot.config
        return MachineConfiguration.read(await self.repository.blob(snapshot.config))

    async def write(self, name: str, offset: int, data: bytes, *, key: int = 2000) -> None:
        """Write as the guest."""
        await self.bench.guest_writes(self.vddk, self.bench.machines[name], offset, data, key=key)

    def guest(self, name: str, key: int = 2000) -> bytes:
        """Return a disk as the guest sees it."""
        return self.bench.guest_reads(self.bench.machines[name], key)

    def assert_nothing_left(self) -> None:
        """Neither a snapshot nor a journal; each snapshot that was made was removed, and no other."""
        assert self.bench.snapshots() == []
        assert journals(self.folder) == []
