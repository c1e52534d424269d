"""Machines and disks that no server has."""

from __future__ import annotations

from typing import Any

from asyncvddk.repository import DiskEntry
from asyncvddk.vsphere import VirtualMachine, VirtualMachineDisk

MIB = 1 << 20


def a_disk(key: int = 2000, **more: Any) -> VirtualMachineDisk:  # noqa: ANN401  (its fields)
    """Return a disk."""
    fields: dict[str, Any] = {
        "label": f"Hard disk {key - 1999}",
        "path": f"[ds1] web/web_{key - 2000}.vmdk",
        "capacity": 4 * MIB,
        "mode": "persistent",
        "controller": "scsi0",
        "unit": key - 2000,
        "uuid": f"uuid-{key}",
        "change_id": None,
        "thin": True,
        "encrypted": False,
        "obstacle": None,
    }
    return VirtualMachineDisk(key=key, **fields | more)


def a_machine(name: str = "web", **more: Any) -> VirtualMachine:  # noqa: ANN401  (its fields)
    """Return a machine with one disk."""
    fields: dict[str, Any] = {
        "moref": "vm-1",
        "uuid": f"instance-{name}",
        "bios_uuid": f"bios-{name}",
        "folder": "/DC0/vm",
        "datacenter": "/DC0",
        "host": "esx1.test",
        "host_moref": "host-1",
        "cluster": "gold",
        "datastores": ("ds1",),
        "datastore_clusters": (),
        "power": "poweredOn",
        "connection": "connected",
        "hardware_version": 19,
        "template": False,
        "tracking": True,
        "tracking_possible": True,
        "encrypted": False,
        "vmx": f"[ds1] {name}/{name}.vmx",
        "guest": "Other",
        "tools_running": True,
        "used": MIB,
        "snapshots": (),
        "disks": (a_disk(),),
    }
    return VirtualMachine(name=name, **fields | more)


def an_entry(**more: Any) -> DiskEntry:  # noqa: ANN401  (its fields)
    """Return the backup of ``a_disk()``."""
    fields: dict[str, Any] = {
        "key": "2000",
        "name": "d",
        "uuid": "uuid-2000",
        "capacity": 4 * MIB,
        "change_id": "52 aa/7",
        "root": b"",
        "mode": "allocated",
    }
    return DiskEntry(**fields | more)
