"""The way back: tracking begins anew after it; a new machine is asked for as the old one was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asyncvddk.vsphere import (
    MachineConfiguration,
    VirtualMachine,
    machines,
    restore_disks,
)
from asyncvddk.vsphere._journal import journals
from asyncvddk.vsphere._specification import specification
from asyncvddk.vsphere._vim import moref, vim
from tests.fix_vsphere import MIB

if TYPE_CHECKING:
    from pathlib import Path

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
    options: dict[str, Any] = {"keys": {"2000"}, "networks": {}, "connect": False}
    spec, missing = specification(found, "n", "ds", **options | more)
    return spec, [change.device for change in spec.deviceChange], missing


def test_hardware_is_as_it_was() -> None:
    """Processors, memory, firmware; each disk at its controller."""
    spec, (controller, disk), missing = devices_of(configuration())
    assert (spec.numCPUs, spec.memoryMB, spec.firmware, spec.version, missing) == (2, 1024, "efi", "vmx-19", [])
    assert spec.bootOptions.efiSecureBootEnabled
    assert spec.files.vmPathName == "[ds]"
    assert disk.controllerKey == controller.key != disk.key
    assert (disk.backing.fileName, disk.backing.thinProvisioned, disk.capacityInBytes) == ("[ds]", True, 4096)
    assert [change.fileOperation for change in spec.deviceChange] == [None, "create"]


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
    _, devices, missing = devices_of(configuration(), keys=set())
    assert (len(devices), missing) == (1, ["Hard disk 1: it could not be read"])
    ide = configuration().disks[0] | {"controller": "ide1"}
    assert devices_of(configuration(disks=[ide], controllers=[]))[1][0].controllerKey == 201
