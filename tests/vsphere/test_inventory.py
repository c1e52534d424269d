"""The inventory tells of each machine what a backup has to know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from asyncvddk.vsphere import ObjectGoneError, Obstacle, machine, machines
from asyncvddk.vsphere._properties import values_of
from asyncvddk.vsphere._reading import disks_of, snapshots_of
from asyncvddk.vsphere._vim import Managed, vim, vmodl
from tests.fix_vsphere import MIB

if TYPE_CHECKING:
    from asyncvddk.vsphere import VSphere
    from tests.fix_vsphere import Bench


async def test_machines_and_where_they_are(bench: Bench, vsphere: VSphere) -> None:
    """Names, places, state and disks, all with one retrieval."""
    bench.forget_calls()
    db, web = await machines(vsphere)
    assert len(bench.calls("RetrievePropertiesEx")) == 1
    assert len(bench.calls("DestroyView")) == 1
    assert (web.name, web.moref, web.path, web.datacenter) == ("web", bench.machines["web"], "/DC0/vm/web", "/DC0")
    assert (web.running, db.running) == (True, False)
    assert web.host != db.host
    assert (web.cluster, web.datastores) == ("DC0_C0", ("ds1",))
    assert web.tracking_possible
    assert not web.tracking
    assert (web.uuid, web.source) != (db.uuid, db.source)
    one, two = web.disks
    assert (one.key, one.path, one.capacity, one.address) == (2000, "[ds1] web/web.vmdk", 4 * MIB, "scsi0:0")
    assert (two.key, two.capacity, two.obstacle, two.change_id) == (2001, MIB + 512, None, None)
    assert one.uuid
    assert (one.datastore, one.mode, web.snapshots) == ("ds1", "persistent", ())


async def test_a_machine_is_looked_at_again(bench: Bench, vsphere: VSphere) -> None:
    """It is as it is now; one that was deleted is told."""
    _, web = await machines(vsphere)
    bench.grow(web.moref, 8 * MIB)
    bench.set_mode(web.moref, "independent_persistent", key=2001)
    vm = vsphere.managed(vim.VirtualMachine, web.moref)
    await vsphere.task(
        lambda: vm.CreateSnapshot_Task(name="mine", description="d", memory=False, quiesce=False), what="snapshot"
    )
    now = await machine(vsphere, web)
    assert (now.path, now.cluster, now.host, now.datastores) == (web.path, web.cluster, web.host, web.datastores)
    assert [disk.capacity for disk in now.disks] == [8 * MIB, MIB + 512]
    assert [disk.obstacle for disk in now.disks] == [None, Obstacle.INDEPENDENT]
    assert [(one.name, one.moref) for one in now.snapshots] == [("mine", bench.snapshots()[0])]
    await vsphere.task(vm.PowerOffVM_Task, what="off")
    await vsphere.task(vm.Destroy_Task, what="destroy")
    with pytest.raises(ObjectGoneError):
        await machine(vsphere, web)


def test_an_answer_in_pages_is_read_to_its_end() -> None:
    """None is lost between two."""
    query = vmodl.query.PropertyCollector
    names = [f"vm-{number}" for number in range(5)]
    pages = [names[:2], names[2:4], names[4:]]

    class Collector:
        def RetrievePropertiesEx(self, specs: object, options: Managed) -> Managed:  # noqa: N802
            assert specs
            assert options.maxObjects
            return self.ContinueRetrievePropertiesEx("0")

        def ContinueRetrievePropertiesEx(self, token: str) -> Managed:  # noqa: N802
            objects = [
                query.ObjectContent(
                    obj=vim.VirtualMachine(name, None), propSet=[vmodl.DynamicProperty(name="name", val=name)]
                )
                for name in pages[int(token)]
            ]
            more = str(int(token) + 1) if int(token) < 2 else None
            return query.RetrieveResult(objects=objects, token=more)

    content = SimpleNamespace(propertyCollector=Collector())
    found = values_of(content, [vim.VirtualMachine(name, None) for name in names], "name")
    assert found == {name: name for name in names}


def device(backing: Managed, **controller: object) -> list[Managed]:
    """Return a disk with a backing, and its controller."""
    disk = vim.vm.device.VirtualDisk(key=2000, controllerKey=1000, unitNumber=3, capacityInKB=4096, backing=backing)
    return [vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=2, **controller), disk]


FLAT = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
RAW = vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo
PATH = "[ds] a/a.vmdk"
KEY = vim.encryption.CryptoKeyId(keyId="k")


@pytest.mark.parametrize(
    ("devices", "obstacle"),
    [
        (device(FLAT(fileName=PATH, diskMode="persistent")), None),
        (device(FLAT(fileName=PATH, diskMode="independent_persistent")), Obstacle.INDEPENDENT),
        (device(FLAT(fileName=PATH, diskMode="independent_nonpersistent")), Obstacle.INDEPENDENT),
        (device(FLAT(fileName=PATH, sharing="sharingMultiWriter")), Obstacle.MULTI_WRITER),
        (device(FLAT(fileName=PATH), sharedBus="physicalSharing"), Obstacle.SHARED_BUS),
        (device(FLAT(fileName=PATH, keyId=KEY)), Obstacle.ENCRYPTED),
        (device(FLAT(fileName=PATH, keyId=KEY, diskMode="independent_persistent")), Obstacle.INDEPENDENT),
        (device(RAW(fileName=PATH, compatibilityMode="physicalMode")), Obstacle.PHYSICAL_RDM),
        (device(RAW(fileName=PATH, compatibilityMode="virtualMode")), None),
        (device(vim.vm.device.VirtualDisk.RawDiskVer2BackingInfo(descriptorFileName=PATH)), Obstacle.PHYSICAL_RDM),
        (device(vim.vm.device.VirtualDisk.LocalPMemBackingInfo(fileName="")), Obstacle.UNKNOWN_BACKING),
    ],
)
def test_what_stands_in_the_way_of_a_disk(devices: list[Managed], obstacle: Obstacle | None) -> None:
    """The reason that no setting changes goes first; a raw mapping in virtual mode is as good as a file."""
    (disk,) = disks_of(devices)
    assert disk.obstacle is obstacle
    assert (disk.address, disk.capacity) == ("scsi2:3", 4 << 20)


def test_a_deep_chain_of_snapshots_is_listed() -> None:
    """Deeper than Python recurses; each branch after the other."""
    tree: list[Managed] = []
    for number in range(2000):
        item = vim.vm.SnapshotTree(
            snapshot=vim.vm.Snapshot(f"snapshot-{number}", None), name=str(number), childSnapshotList=tree
        )
        tree = [item]
    found = snapshots_of(vim.vm.SnapshotInfo(rootSnapshotList=tree))
    assert [one.moref for one in found] == [f"snapshot-{number}" for number in reversed(range(2000))]
    assert snapshots_of(None) == ()
