"""From pyVmomi's values to ours. Pure: asks the server nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncvddk.vsphere._machines import MachineSnapshot, Obstacle, VirtualMachineDisk
from asyncvddk.vsphere._vim import Managed, moref, type_name, vim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONTROLLERS: Final = (
    ("VirtualSCSIController", "scsi"),
    ("VirtualAHCIController", "sata"),
    ("VirtualSATAController", "sata"),
    ("VirtualNVMEController", "nvme"),
    ("VirtualIDEController", "ide"),
)
_RAW: Final = frozenset({"VirtualDiskRawDiskMappingVer1BackingInfo", "VirtualDiskRawDiskVer2BackingInfo"})


def disks_of(devices: Sequence[Managed]) -> tuple[VirtualMachineDisk, ...]:
    """Return the disks among the devices of a machine's configuration."""
    controllers = {device.key: device for device in devices if isinstance(device, vim.vm.device.VirtualController)}
    found = [
        _disk(device, controllers.get(device.controllerKey))
        for device in devices
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]
    return tuple(sorted(found, key=lambda disk: disk.key))


def _disk(device: Managed, controller: Managed) -> VirtualMachineDisk:
    backing = device.backing
    encrypted = getattr(backing, "keyId", None) is not None
    info = device.deviceInfo
    return VirtualMachineDisk(
        key=int(device.key),
        label=str(info.label) if info is not None else str(device.key),
        path=str(getattr(backing, "fileName", None) or ""),
        capacity=int(device.capacityInBytes or device.capacityInKB * 1024),
        mode=str(getattr(backing, "diskMode", None) or "persistent"),
        controller=controller_name(controller),
        unit=int(device.unitNumber or 0),
        uuid=getattr(backing, "uuid", None) or None,
        change_id=getattr(backing, "changeId", None) or None,
        thin=getattr(backing, "thinProvisioned", None),
        encrypted=encrypted,
        obstacle=_obstacle(backing, controller, encrypted=encrypted),
    )


def controller_name(controller: Managed) -> str:
    """Return the name of a controller, as ``scsi0``."""
    if controller is None:
        return "none"
    for kind, name in _CONTROLLERS:
        cls = getattr(vim.vm.device, kind, None)
        if cls is not None and isinstance(controller, cls):
            return f"{name}{controller.busNumber}"
    return f"{type_name(controller)}{controller.busNumber}"


def _obstacle(backing: Managed, controller: Managed, *, encrypted: bool) -> Obstacle | None:
    """Return what is in the way; what no setting of a backup can change goes first."""
    kind = type_name(backing)
    if kind in _RAW and getattr(backing, "compatibilityMode", "physicalMode") != "virtualMode":
        return Obstacle.PHYSICAL_RDM
    if str(getattr(backing, "sharing", None) or "") == "sharingMultiWriter":
        return Obstacle.MULTI_WRITER
    if str(getattr(controller, "sharedBus", None) or "noSharing") != "noSharing":
        return Obstacle.SHARED_BUS
    if not getattr(backing, "fileName", None):
        return Obstacle.UNKNOWN_BACKING
    if str(getattr(backing, "diskMode", None) or "").startswith(("independent", "nonpersistent", "undoable")):
        return Obstacle.INDEPENDENT
    return Obstacle.ENCRYPTED if encrypted else None


def snapshots_of(info: Managed) -> tuple[MachineSnapshot, ...]:
    """Return all snapshots of a machine (``VirtualMachineSnapshotInfo``, or None)."""
    return tuple(_tree(info.rootSnapshotList or ())) if info is not None else ()


def _tree(items: Sequence[Managed]) -> Iterator[MachineSnapshot]:
    rest = list(items)
    while rest:  # a chain may be deeper than Python recurses
        item = rest.pop(0)
        yield MachineSnapshot(
            moref=moref(item.snapshot),
            name=str(item.name),
            description=str(item.description or ""),
            created=item.createTime.timestamp() if item.createTime else 0.0,
            quiesced=bool(item.quiesced),
            manifest=bool(item.backupManifest),
        )
        rest[:0] = item.childSnapshotList or ()
