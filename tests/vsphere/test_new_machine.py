"""A machine made anew from its backup: its disks, its hardware, and nothing left if that fails."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from asyncvddk import Vddk
from asyncvddk.backup import backup
from asyncvddk.repository import ObjectMissingError, Repository
from asyncvddk.vsphere import NotFoundError, NotPossibleError, back_up_machines, machines, restore_as_new
from tests.backup.fakes import MemoryDisk
from tests.fix_vsphere import MIB
from tests.repository.faults import DictStore
from tests.vsphere.conftest import session_at

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.repository import Snapshot
    from asyncvddk.vsphere import VSphere
    from tests.fix_vsphere import Bench

CHANCE = random.Random(4)


async def backed_up(bench: Bench, vsphere: VSphere, vddk: Vddk, repository: Repository, journal: Path) -> Snapshot:
    """Back up the machine ``web`` with some data on both disks."""
    moref = bench.machines["web"]
    await bench.guest_writes(vddk, moref, MIB, CHANCE.randbytes(MIB + 5))
    await bench.guest_writes(vddk, moref, 100, CHANCE.randbytes(1000), key=2001)
    web = [machine for machine in await machines(vsphere) if machine.name == "web"]
    (result,) = await back_up_machines(vsphere, vddk, repository, web, journal=journal)
    assert result.snapshot is not None, result.error
    return result.snapshot


async def test_the_new_machine_has_the_disks_and_the_hardware_of_the_old_one(bench: Bench, tmp_path: Path) -> None:
    """Under another name, off, with an identity of its own; the old one is not touched."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=1 << 18)
    async with (
        Repository.open(store, password=None, cache="") as repository,
        Vddk(config=bench.library()) as vddk,
        session_at(bench) as vsphere,
    ):
        snapshot = await backed_up(bench, vsphere, vddk, repository, tmp_path / "journal")
        moref = bench.machines["web"]
        contents = [bench.guest_reads(moref, key) for key in (2000, 2001)]
        await bench.guest_writes(vddk, moref, 0, b"the old one goes on")
        made = await restore_as_new(vsphere, vddk, repository, snapshot, name="web-copy", datastore="ds1")
        assert [disk.error for disk in made.disks] == [None, None]
        new = made.machine.moref
        assert [bench.guest_reads(new, disk.key) for disk in made.machine.disks] == contents
        found = {machine.moref: machine for machine in await machines(vsphere)}
        old, copy = found[moref], found[new]
        assert (copy.name, copy.power, copy.folder, copy.host) == ("web-copy", "poweredOff", old.folder, old.host)
        assert copy.uuid != old.uuid
        assert [(disk.address, disk.capacity) for disk in copy.disks] == [
            (disk.address, disk.capacity) for disk in old.disks
        ]
        assert all(disk.path.startswith("[ds1] web-copy/") for disk in copy.disks)
        assert sum(disk.result.bytes_written for disk in made.disks if disk.result) < 3 * MIB, "thin disks stay thin"


async def test_what_cannot_be_is_told_before_anything_is_made(bench: Bench, tmp_path: Path) -> None:
    """A datastore or host that is not there, a snapshot that is of no machine."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=1 << 18)
    async with (
        Repository.open(store, password=None, cache="") as repository,
        Vddk(config=bench.library()) as vddk,
        session_at(bench) as vsphere,
    ):
        snapshot = await backed_up(bench, vsphere, vddk, repository, tmp_path / "journal")
        for datastore, host, text in (("ds9", None, "datastore ds9"), ("ds1", "esx9", "host esx9: there is none")):
            with pytest.raises(NotFoundError, match=text):
                await restore_as_new(vsphere, vddk, repository, snapshot, name="new", datastore=datastore, host=host)
        other = await backup(repository, [MemoryDisk(bytearray(10)).disk("1")], source="no machine")
        with pytest.raises(NotPossibleError, match="no configuration"):
            await restore_as_new(vsphere, vddk, repository, other, name="new", datastore="ds1")
        assert {machine.name for machine in await machines(vsphere)} == {"web", "db"}
        assert bench.calls("CreateVM_Task") == []


async def test_if_a_disk_cannot_be_restored_the_new_machine_is_removed(bench: Bench, tmp_path: Path) -> None:
    """With its files; the error is the disk's."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=1 << 18)
    async with (
        Repository.open(store, password=None, cache="") as repository,
        Vddk(config=bench.library()) as vddk,
        session_at(bench) as vsphere,
    ):
        snapshot = await backed_up(bench, vsphere, vddk, repository, tmp_path / "journal")
        root = snapshot.disk("2001").root.hex()
        store.delete([name for name in store.objects if root in name])
        with pytest.raises(ObjectMissingError):
            await restore_as_new(vsphere, vddk, repository, snapshot, name="new", datastore="ds1")
        assert {machine.name for machine in await machines(vsphere)} == {"web", "db"}
        assert [call.method for call in bench.calls("CreateVM_Task", "Destroy_Task")] == [
            "CreateVM_Task",
            "Destroy_Task",
        ]
