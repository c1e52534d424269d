"""Machines that clients of the bench make, and where they are."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from asyncvddk import CreateParams, DiskType, Vddk
from tests.fix_vsphere import MIB, Bench, Machine
from tests.vsphere.clients import disks, machine, session, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


def every(client: Any, kind: type) -> dict[str, Any]:  # noqa: ANN401  (pyVmomi's objects have no types)
    """Return all objects of a kind, by name."""
    view = client.content.viewManager.CreateContainerView(client.content.rootFolder, [kind], recursive=True)
    return {one.name: one for one in view.view}


def test_clusters_and_datastore_clusters(new_bench: Callable[..., Bench]) -> None:
    """Machines are on the hosts and datastores that were asked for."""
    bench = new_bench(
        Machine("a", datastore="ds1", host=1),
        Machine("b", disks=(MIB, MIB, MIB), datastore="ds3", host=3),
        hosts=2,
        clusters=2,
        datastores=("ds1", "ds2", "ds3"),
        pods={"fast": ("ds1", "ds2")},
    )
    with session(bench) as client:
        assert {name: len(one.host) for name, one in every(client, vim.ClusterComputeResource).items()} == {
            "DC0_C0": 2,
            "DC0_C1": 2,
        }
        (pod,) = every(client, vim.StoragePod).values()
        assert {one.name for one in pod.childEntity} == {"ds1", "ds2"}
        a, b = machine(client, bench, "a"), machine(client, bench, "b")
        assert [one.runtime.host.parent.name for one in (a, b)] == ["DC0_C0", "DC0_C1"]
        assert [[store.name for store in one.datastore] for one in (a, b)] == [["ds1"], ["ds3"]]
        assert a.resourcePool.owner.name == "DC0_C0"
        assert (bench.folders["ds3"] / "b" / "b_2-flat.vmdk").stat().st_size == MIB
        assert [one.fileName for one in (disk.backing for disk in disks(snapshot(b).config).values())] == [
            "[ds3] b/b.vmdk",
            "[ds3] b/b_1.vmdk",
            "[ds3] b/b_2.vmdk",
        ]


def test_the_configuration_file_is_kept_up_to_date(bench: Bench) -> None:
    """Unless the test has written another one."""
    file = bench.folders["ds1"] / "web" / "web.vmx"
    with session(bench) as client:
        vm = machine(client, bench, "web")
        snapshot(vm)
        assert 'scsi0:0.fileName = "web-000001.vmdk"\n' in file.read_text()
        file.write_text("mine")
        snapshot(vm)
        assert file.read_text() == "mine"


def test_a_copied_machine_is_registered(bench: Bench) -> None:
    """With what its configuration file says, under another name."""
    folder = bench.folders["ds1"]
    shutil.copytree(folder / "web", folder / "copy")
    (folder / "copy" / "web-flat.vmdk").write_bytes(b"copied" + bytes(4 * MIB - 6))
    with session(bench) as client:
        old = machine(client, bench, "web")
        task = old.parent.RegisterVM_Task(
            path="[ds1] copy/web.vmx", name="copy", asTemplate=False, pool=old.resourcePool, host=old.runtime.host
        )
        WaitForTask(task)
        new = task.info.result
        assert (new.name, new.config.uuid, new.runtime.powerState) == ("copy", old.config.uuid, "poweredOff")
        found = {key: (disk.backing.fileName, disk.capacityInBytes) for key, disk in disks(new.config).items()}
        assert found == {2000: ("[ds1] copy/web.vmdk", 4 * MIB), 2001: ("[ds1] copy/web_1.vmdk", MIB + 512)}
        snapshot(new)
        assert bench.guest_reads(new._moId)[:6] == b"copied"
        WaitForTask(new.PowerOnVM_Task())
        assert new.runtime.powerState == "poweredOn"
        WaitForTask(new.PowerOffVM_Task())
        WaitForTask(new.Destroy_Task())
        assert set(every(client, vim.VirtualMachine)) == {"web", "db"}
        with pytest.raises(vim.fault.NotFound):
            WaitForTask(old.parent.RegisterVM_Task(path="[ds1] no/no.vmx", asTemplate=False, pool=old.resourcePool))


async def test_a_machine_is_made_of_disks_that_are_there(bench: Bench) -> None:
    """As a restore does it: the engine makes the disk, and a machine gets it; one more is added later."""
    folder = bench.folders["ds1"] / "new"
    folder.mkdir()
    async with Vddk() as vddk:
        async with vddk.connect() as local:
            await local.create(folder / "disk.vmdk", CreateParams(size=3 * MIB, disk_type=DiskType.VMFS_FLAT))
            async with local.open(folder / "disk.vmdk") as disk:
                await disk.write_at(MIB, b"restored")
        with session(bench) as client:
            old = machine(client, bench, "web")
            controller = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")
            spec = vim.vm.ConfigSpec(
                name="new",
                guestId="otherGuest",
                files=vim.vm.FileInfo(vmPathName="[ds1] new/new.vmx"),
                deviceChange=[added(controller), added(disk_at("[ds1] new/disk.vmdk", 0, 3 * MIB))],
            )
            task = old.parent.CreateVM_Task(config=spec, pool=old.resourcePool, host=old.runtime.host)
            WaitForTask(task)
            new = task.info.result
            more = added(disk_at("[ds1] new/more.vmdk", 1, MIB))
            more.fileOperation = "create"
            WaitForTask(new.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[more])))
            sizes = {disk.backing.fileName: disk.capacityInBytes for disk in disks(new.config).values()}
            assert sizes == {"[ds1] new/disk.vmdk": 3 * MIB, "[ds1] new/more.vmdk": MIB}
            first, _ = disks(new.config)
            assert bench.guest_reads(new._moId, first)[MIB : MIB + 8] == b"restored"
            await bench.guest_writes(vddk, new._moId, 0, b"goes on", key=first)
            missing = added(disk_at("[ds1] new/missing.vmdk", 2, MIB))
            with pytest.raises(vim.fault.FileNotFound):
                WaitForTask(new.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[missing])))


def added(device: Any) -> Any:  # noqa: ANN401
    """Return the order to add a device."""
    return vim.vm.device.VirtualDeviceSpec(operation="add", device=device)


def disk_at(file: str, unit: int, size: int) -> Any:  # noqa: ANN401
    """Return a disk at the first controller."""
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode="persistent")
    return vim.vm.device.VirtualDisk(
        key=-1 - unit,
        controllerKey=1000,
        unitNumber=unit,
        capacityInBytes=size,
        capacityInKB=size // 1024,
        backing=backing,
    )
