"""A machine made anew from its backup: its disks, its hardware, and nothing left if that fails."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from asyncvddk import Vddk
from asyncvddk.backup import backup
from asyncvddk.repository import ObjectMissingError, Repository
from asyncvddk.vsphere import (
    NotFoundError,
    NotPossibleError,
    VSphereError,
    _new_machine,
    back_up_machines,
    cleanup,
    machines,
    restore_as_new,
)
from asyncvddk.vsphere._journal import Journal
from asyncvddk.vsphere._properties import below
from asyncvddk.vsphere._vim import vim
from tests.backup.fakes import MemoryDisk
from tests.fix_vsphere import MIB
from tests.repository.faults import DictStore
from tests.vsphere.conftest import session_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncvddk.repository import Snapshot
    from asyncvddk.vsphere import VSphere
    from tests.fix_vsphere import Bench

CHANCE = random.Random(4)


class World(NamedTuple):
    """What a test works with."""

    vsphere: VSphere
    vddk: Vddk
    repository: Repository
    store: DictStore
    snapshot: Snapshot
    """Of the machine ``web``, with data on both disks."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Folder of journals."""
    return tmp_path / "journal"


@pytest.fixture
async def world(bench: Bench, journal: Path) -> AsyncIterator[World]:
    """Back up the machine ``web``."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=1 << 18)
    async with (
        Repository.open(store, password=None, cache="") as repository,
        Vddk(config=bench.library()) as vddk,
        session_at(bench) as vsphere,
    ):
        moref = bench.machines["web"]
        await bench.guest_writes(vddk, moref, MIB, CHANCE.randbytes(MIB + 5))
        await bench.guest_writes(vddk, moref, 100, CHANCE.randbytes(1000), key=2001)
        web = [machine for machine in await machines(vsphere) if machine.name == "web"]
        (result,) = await back_up_machines(vsphere, vddk, repository, web, journal=journal)
        assert result.snapshot is not None, result.error
        yield World(vsphere, vddk, repository, store, result.snapshot)


async def test_the_new_machine_has_the_disks_and_the_hardware_of_the_old_one(
    bench: Bench, world: World, journal: Path
) -> None:
    """Under another name, off, with an identity of its own; the old one is not touched."""
    vsphere, vddk, repository, _, snapshot = world
    moref = bench.machines["web"]
    contents = [bench.guest_reads(moref, key) for key in (2000, 2001)]
    await bench.guest_writes(vddk, moref, 0, b"the old one goes on")
    made = await restore_as_new(vsphere, vddk, repository, snapshot, name="web-copy", datastore="ds1", journal=journal)
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


async def test_what_cannot_be_is_told_before_anything_is_made(bench: Bench, world: World, journal: Path) -> None:
    """A datastore or host that is not there, a snapshot that is of no machine."""
    vsphere, vddk, repository, _, snapshot = world
    for datastore, host, text in (("ds9", None, "datastore ds9"), ("ds1", "esx9", "host esx9: there is none")):
        with pytest.raises(NotFoundError, match=text):
            await restore_as_new(
                vsphere, vddk, repository, snapshot, name="new", datastore=datastore, host=host, journal=journal
            )
    other = await backup(repository, [MemoryDisk(bytearray(10)).disk("1")], source="no machine")
    with pytest.raises(NotPossibleError, match="no configuration"):
        await restore_as_new(vsphere, vddk, repository, other, name="new", datastore="ds1", journal=journal)
    assert {machine.name for machine in await machines(vsphere)} == {"web", "db"}
    assert bench.calls("CreateVM_Task") == []


async def test_a_host_that_is_under_maintenance_gets_no_machine(bench: Bench, world: World, journal: Path) -> None:
    """Another one that has the datastore does, unless this one is asked for; without any, it is told why."""
    vsphere, vddk, repository, _, snapshot = world
    hosts = await vsphere.call(lambda: _hosts(vsphere), what="list the hosts")
    old = next(machine.host for machine in await machines(vsphere) if machine.name == "web")
    assert old is not None
    new = partial(restore_as_new, vsphere, vddk, repository, snapshot, datastore="ds1", journal=journal)
    await vsphere.task(partial(hosts[old].EnterMaintenanceMode_Task, 0), what="maintenance")
    with pytest.raises(NotPossibleError, match=f"{old} is in maintenance mode"):
        await new(name="refused", host=old)
    made = await new(name="elsewhere")
    assert made.machine.host in hosts.keys() - {old}
    for name in hosts.keys() - {old}:
        await vsphere.task(partial(hosts[name].EnterMaintenanceMode_Task, 0), what="maintenance")
    with pytest.raises(NotPossibleError, match=", ".join(f"{name} is in maintenance mode" for name in sorted(hosts))):
        await new(name="refused")
    assert len(bench.calls("CreateVM_Task")) == 1


def _hosts(vsphere: VSphere) -> dict[str, Any]:
    """Return the hosts by name."""
    found = below(vsphere.content, vsphere.content.rootFolder, {vim.HostSystem: ("name",)})
    return {values["name"]: thing for thing, values in found}


async def test_if_a_disk_cannot_be_restored_the_new_machine_is_removed(
    bench: Bench, world: World, journal: Path
) -> None:
    """With its files; the error is the disk's."""
    vsphere, vddk, repository, store, snapshot = world
    root = snapshot.disk("2001").root.hex()
    store.delete([name for name in store.objects if root in name])
    with pytest.raises(ObjectMissingError):
        await restore_as_new(vsphere, vddk, repository, snapshot, name="new", datastore="ds1", journal=journal)
    assert {machine.name for machine in await machines(vsphere)} == {"web", "db"}
    assert [call.method for call in bench.calls("CreateVM_Task", "Destroy_Task")] == [
        "CreateVM_Task",
        "Destroy_Task",
    ]
    assert list(journal.iterdir()) == []


async def test_what_a_killed_restore_has_made_is_removed_by_cleanup(
    world: World, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its reference, which is in the journal; a machine that nobody knows to be made is told."""
    vsphere, vddk, repository, store, snapshot = world
    store.delete([name for name in store.objects if snapshot.disk("2001").root.hex() in name])
    with monkeypatch.context() as patch:
        patch.setattr(_new_machine, "discard_machine", _killed)
        with pytest.raises(ObjectMissingError) as caught:
            await restore_as_new(vsphere, vddk, repository, snapshot, name="new", datastore="ds1", journal=journal)
        assert "asyncvddk cleanup" in caught.value.__notes__[-1]
    assert {machine.name for machine in await machines(vsphere)} == {"web", "db", "new"}
    report = await cleanup(vsphere, vddk, journal=journal)
    assert (report.made, report.problems) == (["new"], [])
    assert {machine.name for machine in await machines(vsphere)} == {"web", "db"}
    async with Journal.open(journal, server=vsphere.server, instance=vsphere.about.instance) as kept:
        await kept.begin("machine", vm="", machine="lost")
    (problem,) = (await cleanup(vsphere, vddk, journal=journal)).problems
    assert "nobody knows whether the machine lost was made" in problem


async def _killed(*_: object, **__: object) -> None:
    raise VSphereError("killed")
