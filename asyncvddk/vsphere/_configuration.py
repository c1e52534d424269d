"""A machine's configuration as it is stored with its backup: JSON that people and ``restore`` can read."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from asyncvddk.vsphere._reading import controller_name, disks_of
from asyncvddk.vsphere._vim import Managed, moref, type_name, vim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncvddk.vsphere._machines import VirtualMachine

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class MachineConfiguration:
    """What is stored with a backup. ``data`` is JSON's idea of it; the properties name what programs need."""

    data: Mapping[str, Any]

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read what ``to_bytes`` wrote. Raises ValueError."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"no configuration of a machine: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else None
            raise ValueError(
                f"no configuration of a machine, or of another format ({found}); this program reads {FORMAT}"
            )
        return cls(data)

    def to_bytes(self) -> bytes:
        """Return JSON."""
        return json.dumps(self.data, ensure_ascii=False, indent=1).encode()

    @property
    def name(self) -> str:
        """Name of the machine."""
        return str(self.data["machine"]["name"])

    @property
    def level(self) -> str:
        """How consistent the disks are, as ``Frozen.level`` tells."""
        return str(self.data["level"])

    @property
    def hardware(self) -> Mapping[str, Any]:
        """Processors, memory, firmware ..."""
        return dict(self.data["hardware"])

    @property
    def controllers(self) -> list[dict[str, Any]]:
        """Controllers of disks."""
        return list(self.data["controllers"])

    @property
    def disks(self) -> list[dict[str, Any]]:
        """All disks, with the fields of ``VirtualMachineDisk``; ``stored`` tells whether the backup has it."""
        return list(self.data["disks"])

    @property
    def networks(self) -> list[dict[str, Any]]:
        """Network adapters."""
        return list(self.data["networks"])

    @property
    def vmx(self) -> str | None:
        """Text of the configuration file, if it could be read."""
        return self.data.get("vmx")

    @property
    def nvram(self) -> bytes | None:
        """Firmware's variables, if they could be read."""
        text = self.data.get("nvram")
        return None if text is None else base64.b64decode(text)


def describe(  # noqa: PLR0913  (each is a fact of its own)
    machine: VirtualMachine,
    config: Managed,
    *,
    stored: Mapping[int, str | None],
    snapshot: Mapping[str, str],
    level: str,
    server: str,
    xml: str,
    files: Mapping[str, bytes],
    missing: Mapping[str, str],
) -> MachineConfiguration:
    """Make what is stored, of a snapshot's configuration (``ConfigInfo``).

    ``xml``: all of that configuration, as the interface has it. ``stored``: the machine's disks by key, with the reason
    why a disk is not in the backup, or None. ``files``: ``vmx`` and ``nvram``, as far as they could be read;
    ``missing``: why not.
    """
    devices = list(config.hardware.device or ())
    frozen = {disk.key: disk for disk in disks_of(devices)}
    disks = [frozen.get(disk.key, disk) for disk in machine.disks]
    data: dict[str, Any] = {
        "format": FORMAT,
        "made": time.time(),
        "server": server,
        "machine": {key: value for key, value in asdict(machine).items() if key not in {"disks", "snapshots"}},
        "level": level,
        "snapshot": dict(snapshot),
        "hardware": _hardware(config),
        "controllers": [
            {
                "key": int(device.key),
                "name": controller_name(device),
                "type": type_name(device),
                "bus": int(device.busNumber or 0),
                "shared_bus": str(getattr(device, "sharedBus", None) or "noSharing"),
            }
            for device in devices
            if isinstance(device, vim.vm.device.VirtualController) and not _built_in(device)
        ],
        "disks": [
            {
                **{key: value for key, value in asdict(disk).items() if key != "obstacle"},
                "stored": disk.key in stored and stored[disk.key] is None,
                "reason": stored.get(disk.key, "not selected"),
            }
            for disk in disks
        ],
        "networks": [_network(device) for device in devices if isinstance(device, vim.vm.device.VirtualEthernetCard)],
        "config_xml": xml,
        "missing": dict(missing),
    }
    if "vmx" in files:
        data["vmx"] = files["vmx"].decode("utf-8", "replace")
    if "nvram" in files:
        data["nvram"] = base64.b64encode(files["nvram"]).decode()
    return MachineConfiguration(data)


def _built_in(device: Managed) -> bool:
    """Tell whether each machine has such a controller anyway."""
    kinds = vim.vm.device
    return isinstance(
        device,
        (
            kinds.VirtualPCIController,
            kinds.VirtualPS2Controller,
            kinds.VirtualSIOController,
            kinds.VirtualIDEController,
        ),
    )


def _hardware(config: Managed) -> dict[str, Any]:
    hardware = config.hardware
    options = getattr(config, "bootOptions", None)
    return {
        "version": str(config.version or ""),
        "guest_id": str(config.guestId or ""),
        "guest": str(config.guestFullName or ""),
        "processors": int(hardware.numCPU or 1),
        "cores_per_socket": int(hardware.numCoresPerSocket or 1),
        "memory": int(hardware.memoryMB or 0) << 20,
        "firmware": str(getattr(config, "firmware", None) or "bios"),
        "secure_boot": bool(getattr(options, "efiSecureBootEnabled", None)),
        "annotation": str(config.annotation or ""),
        "tracking": bool(config.changeTrackingEnabled),
    }


def _network(device: Managed) -> dict[str, Any]:
    backing = device.backing
    port = getattr(backing, "port", None)
    info = device.deviceInfo
    return {
        "key": int(device.key),
        "label": str(info.label) if info is not None else "",
        "type": type_name(device),
        "mac": device.macAddress,
        "address_type": device.addressType,
        "network": getattr(backing, "deviceName", None),
        "network_moref": moref(backing.network) if getattr(backing, "network", None) else None,
        "port_group": getattr(port, "portgroupKey", None),
        "switch": getattr(port, "switchUuid", None),
        "connected": bool(device.connectable.startConnected) if device.connectable is not None else True,
    }
