"""The way back: tracking begins anew after it; a new machine is made whole or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import OutOfMemoryError
from asyncvddk.vsphere import (
    MachineConfiguration,
    NotFoundError,
    NotPossibleError,
    VirtualMachine,
    machines,
    restore_as_new,
    restore_disks,
)
from asyncvddk.vsphere._journal import journals
from asyncvddk.vsphere._specification import specification
from asyncvddk.vsphere._vim import Managed, moref, vim
from tests.fix_vsphere import MIB
from tests.vsphere.test_plan import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.backup import RestoreProgress
    from asyncvddk.repository import Snapshot
    from tests.vsphere.backups import Backups


async def power(backups: Backups, name: str, *, on: bool) -> None:
    """Switch a machine on or off."""
    vm = backups.vsphere.managed(vim.VirtualMachine, backups.bench.machines[name])
    await backups.vsphere.task(vm.PowerOnVM_Task if on else vm.PowerOffVM_Task, what="power")


async def named(backups: Backups, name: str) -> VirtualMachine:
    """Return a machine of the inventory."""
    return next(one for one in await machines(backups.vsphere) if one.name == name)


async def saved(backups: Backups) -> Snapshot:
    """Write something to both disks of ``web`` and back it up."""
    await backups.write("web", 70_000, b"good")
    await backups.write("web", MIB, b"good, too", key=2001)
    (result,) = await backups.make("web")
    assert result.snapshot
    return result.snapshot


async def test_a_restored_machine_is_backed_up_right(backups: Backups) -> None:
    """What tracking says does not fit what was written past it: it begins anew. Nothing is left in the journal."""
    made = await saved(backups)
    before = {key: backups.guest("web", key) for key in (2000, 2001)}
    await backups.write("web", 70_000, b"evil")
    await backups.write("web", 3 * MIB, b"x" * MIB)
    await backups.make("web")
    await power(backups, "web", on=False)
    locks: list[list[Path]] = []
    machine = await named(backups, "web")
    outcomes = await restore_disks(
        backups.vsphere,
        backups.vddk,
        backups.repository,
        made,
        machine,
        journal=backups.folder,
        progress=lambda *_: locks.append(journals(backups.folder)),
    )
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert locks
    assert all(len(found) == 1 for found in locks)
    assert {key: backups.guest("web", key) for key in (2000, 2001)} == before
    (later,) = await backups.make("web")
    assert later.changes[2000].reason is not None
    for key in (2000, 2001):
        assert await backups.stored(later.snapshot, key) == before[key]
    backups.assert_nothing_left()


async def test_a_machine_is_made_anew(backups: Backups) -> None:
    """With its hardware and the bytes of its disks, off, beside the old one, which is as it was."""
    (backups.bench.folders["ds1"] / "web" / "web.nvram").write_bytes(b"variables")
    made = await saved(backups)
    old = await named(backups, "web")
    new = await restore_as_new(
        backups.vsphere,
        backups.vddk,
        backups.repository,
        made,
        name="web again",
        datastore="ds1",
        mounted=backups.bench.folders["ds1"],
        like=old,
    )
    found = await named(backups, "web again")
    assert (found.moref, found.power, found.folder, found.host) == (new.moref, "poweredOff", old.folder, old.host)
    assert found.uuid != old.uuid
    assert new.disks == ("[ds1] web again/web again.vmdk", "[ds1] web again/web again_1.vmdk")
    assert [(disk.path, disk.capacity, disk.address) for disk in found.disks] == [
        (new.disks[0], 4 * MIB, "scsi0:0"),
        (new.disks[1], MIB + 512, "scsi0:1"),
    ]
    for disk, key in zip(found.disks, (2000, 2001), strict=True):
        assert backups.bench.guest_reads(new.moref, disk.key) == await backups.stored(made, key)
    folder = backups.bench.folders["ds1"] / "web again"
    assert (folder / "web again.nvram").read_bytes() == b"variables"
    assert (await named(backups, "web")).disks == old.disks


async def as_new(backups: Backups, made: Snapshot, **more: Any) -> None:  # noqa: ANN401
    """Make ``new`` of a backup, beside ``web``."""
    options: dict[str, Any] = {"name": "new", "datastore": "ds1", "mounted": backups.bench.folders["ds1"]}
    options |= {"like": await named(backups, "web")} | more
    await restore_as_new(backups.vsphere, backups.vddk, backups.repository, made, **options)


async def test_a_machine_that_was_made_too_late_is_unmade(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while the server makes it: it is unregistered, and its files are gone."""
    made = await saved(backups)
    making: list[asyncio.Future[None]] = []

    def told(machine: Managed) -> str:
        making[0].cancel()
        return moref(machine)

    monkeypatch.setattr("asyncvddk.vsphere._new_machine.moref", told)
    making.append(asyncio.ensure_future(as_new(backups, made)))
    with pytest.raises(asyncio.CancelledError):
        await making[0]
    assert len(backups.bench.calls("CreateVM_Task")) == len(backups.bench.calls("UnregisterVM")) == 1
    assert {one.name for one in await machines(backups.vsphere)} == {"web", "db"}
    assert not (backups.bench.folders["ds1"] / "new").exists()


async def test_a_machine_that_cannot_be_made_leaves_nothing(backups: Backups) -> None:
    """Refused before, failed, or cancelled: neither files nor a machine; what was there stays."""
    made = await saved(backups)
    folder = backups.bench.folders["ds1"]
    (folder / "taken").mkdir()
    (folder / "taken" / "file").write_bytes(b"theirs")
    before = sorted(folder.rglob("*"))
    for wrong, error in (
        ({"name": "a/b"}, NotPossibleError),
        ({"name": ""}, NotPossibleError),
        ({"name": "db"}, NotPossibleError),
        ({"name": "taken"}, FileExistsError),
        ({"datastore": "ds9"}, NotFoundError),
    ):
        with pytest.raises(error):
            await as_new(backups, made, **wrong)
    with pytest.raises(NotPossibleError, match="no configuration"):
        await as_new(backups, snapshot())
    told = 0

    def fail(*_: object) -> None:
        nonlocal told
        told += 1
        raise OutOfMemoryError("VixDiskLib_Write", 2, "no memory")

    with pytest.raises(OutOfMemoryError):
        await as_new(backups, made, progress=fail)
    assert told

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task

        def cancel(*_: RestoreProgress) -> None:
            task.cancel()

        await as_new(backups, made, progress=lambda *_: cancel())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(cancelled())
    assert sorted(folder.rglob("*")) == before
    assert {one.name for one in await machines(backups.vsphere)} == {"web", "db"}
    assert journals(backups.folder) == []


def configuration(**more: Any) -> MachineConfiguration:  # noqa: ANN401  (parts of it)
    """Return a configuration."""
    disk = {"key": 2000, "label": "Hard disk 1", "controller": "scsi0", "unit": 0, "capacity": 4096, "reason": None}
    data: dict[str, Any] = {
        "format": 1,
        "machine": {"name": "web"},
        "level": "crash",
        "hardware": {
            "version": "vmx-19",
            "guest_id": "debian12_64Guest",
            "processors": 2,
            "cores_per_socket": 2,
            "memory": 1 << 30,
            "firmware": "efi",
            "secure_boot": True,
            "annotation": "note",
        },
        "controllers": [
            {"name": "scsi0", "type": "ParaVirtualSCSIController", "bus": 0, "shared_bus": "noSharing", "key": 1000}
        ],
        "disks": [disk],
        "networks": [],
    }
    return MachineConfiguration.read(json.dumps(data | more).encode())


def devices_of(found: MachineConfiguration, **more: Any) -> tuple[Any, list[Any], list[str]]:  # noqa: ANN401
    """Return a specification, its devices, and what is missing."""
    options: dict[str, Any] = {"files": {"2000": "[ds] n/n.vmdk"}, "networks": {}, "connect": False}
    spec, missing = specification(found, "n", "[ds] n", **options | more)
    return spec, [change.device for change in spec.deviceChange], missing


def test_hardware_is_as_it_was() -> None:
    """Processors, memory, firmware; each disk at its controller."""
    spec, (controller, disk), missing = devices_of(configuration())
    assert (spec.numCPUs, spec.memoryMB, spec.firmware, spec.version, missing) == (2, 1024, "efi", "vmx-19", [])
    assert spec.bootOptions.efiSecureBootEnabled
    assert spec.files.vmPathName == "[ds] n/n.vmx"
    assert disk.controllerKey == controller.key != disk.key
    assert (disk.backing.fileName, disk.capacityInBytes) == ("[ds] n/n.vmdk", 4096)


def test_what_is_not_as_it_was_is_told() -> None:
    """A disk without its backup, a controller that nobody knows, a network that is not there."""
    network = {"label": "nic 1", "type": "VirtualVmxnet3", "network": "LAN", "port_group": None, "connected": True}
    far = network | {"label": "nic 2", "network": "far"}
    port = network | {"label": "nic 3", "network": None, "port_group": "dvportgroup-7", "switch": "s"}
    odd = {"name": "scsi0", "type": "FutureController", "bus": 0, "shared_bus": "noSharing", "key": 1000}
    found = configuration(networks=[network, far, port], controllers=[odd], missing={"nvram": "unreadable"})
    lan = {"LAN": vim.Network("network-1", None), "pg": vim.dvs.DistributedVirtualPortgroup("dvportgroup-7", None)}
    _, (controller, disk, one, three), missing = devices_of(found, networks=lan, connect=True)
    assert disk.controllerKey == controller.key
    assert (one.backing.deviceName, one.connectable.startConnected) == ("LAN", True)
    assert three.backing.port.portgroupKey == moref(lan["pg"])
    assert [text.partition(":")[0] for text in missing] == ["nvram", "controller scsi0", "Hard disk 1", "nic 2"]
    _, devices, missing = devices_of(configuration(), files={})
    assert (len(devices), missing) == (1, ["Hard disk 1: it could not be read"])
    ide = configuration().disks[0] | {"controller": "ide1"}
    assert devices_of(configuration(disks=[ide], controllers=[]))[1][0].controllerKey == 201
