"""What to ask a server for to make a machine as a backup's configuration has it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncvddk.vsphere._vim import Managed, moref, vim

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from asyncvddk.vsphere._configuration import MachineConfiguration

_SECTOR: Final = 512
_LEAST_MEMORY_MIB: Final = 4
_IDE: Final = 200
"""Key of the first IDE controller, which each machine has."""


def specification(  # noqa: PLR0913  (each is a fact of its own)
    configuration: MachineConfiguration,
    name: str,
    datastore: str,
    keys: Collection[str],
    networks: Mapping[str, Managed],
    *,
    connect: bool,
) -> tuple[Managed, list[str]]:
    """Return what to ask the server for (ConfigSpec), and what is missing or other than it was.

    The disks with these ``keys`` are made on ``datastore``, empty and thin. ``networks``: those that the host has, by
    name; ``connect``: adapters are connected at the start if they were.
    """
    hardware = configuration.hardware
    devices = _Devices(configuration)
    devices.disks(keys, datastore)
    devices.networks(networks, connect=connect)
    spec = vim.vm.ConfigSpec(
        name=name,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        guestId=hardware["guest_id"] or "otherGuest",
        numCPUs=hardware["processors"],
        numCoresPerSocket=hardware["cores_per_socket"],
        memoryMB=max(_LEAST_MEMORY_MIB, hardware["memory"] >> 20),
        firmware=hardware["firmware"],
        annotation=hardware["annotation"],
        deviceChange=list(map(_added, devices.made)),
    )
    if hardware["version"]:
        spec.version = hardware["version"]
    if hardware["secure_boot"]:
        spec.bootOptions = vim.vm.BootOptions(efiSecureBootEnabled=True)
    if configuration.nvram is not None:
        devices.missing.append("firmware variables (NVRAM): they are in the backup, and are not written")
    return spec, devices.missing


def _added(device: Managed) -> Managed:
    made = "create" if isinstance(device, vim.vm.device.VirtualDisk) else None
    return vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation=made, device=device)


class _Devices:
    """The devices of the new machine."""

    def __init__(self, configuration: MachineConfiguration) -> None:
        self.made: list[Managed] = []
        self.missing = [f"{what}: {reason}" for what, reason in configuration.data.get("missing", {}).items()]
        self._configuration = configuration
        self._controllers: dict[str, int] = {}
        for controller in configuration.controllers:
            self._controller(controller)

    def _add(self, kind: Managed, **fields: Any) -> int:  # noqa: ANN401  (those of the device)
        """Add a device under a key of its own, which the server replaces; return it."""
        key = -100 - len(self.made)
        self.made.append(kind(key=key, **fields))
        return key

    def _controller(self, controller: Mapping[str, Any]) -> None:
        kind = getattr(vim.vm.device, controller["type"], None)
        if kind is None:
            self.missing.append(f"controller {controller['name']}: {controller['type']} is not known")
            return
        shared = {"sharedBus": controller["shared_bus"]} if controller["name"].startswith("scsi") else {}
        self._controllers[controller["name"]] = self._add(kind, busNumber=controller["bus"], **shared)

    def disks(self, keys: Collection[str], datastore: str) -> None:
        """Add the disks with these keys."""
        for disk in self._configuration.disks:
            if str(disk["key"]) not in keys:
                self.missing.append(f"{disk['label']}: {disk['reason'] or 'it could not be read'}")
                continue
            size = -(-int(disk["capacity"]) // _SECTOR) * _SECTOR
            self._add(
                vim.vm.device.VirtualDisk,
                controllerKey=self._controller_of(disk),
                unitNumber=disk["unit"],
                capacityInBytes=size,
                capacityInKB=size // 1024,
                backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
                    fileName=f"[{datastore}]", diskMode="persistent", thinProvisioned=True
                ),
            )

    def _controller_of(self, disk: Mapping[str, Any]) -> int:
        name = str(disk["controller"])
        if name.startswith("ide"):
            return _IDE + int(name.removeprefix("ide"))
        if name not in self._controllers:
            used = sum(known.startswith("scsi") for known in self._controllers)
            kind = vim.vm.device.ParaVirtualSCSIController
            self._controllers[name] = self._add(kind, busNumber=used, sharedBus="noSharing")
            self.missing.append(f"{disk['label']}: its controller {name} is a SCSI one now")
        return self._controllers[name]

    def networks(self, networks: Mapping[str, Managed], *, connect: bool) -> None:
        """Add the adapters whose networks are there, with new addresses."""
        for network in self._configuration.networks:
            backing = _backing(network, networks)
            if backing is None:
                wanted = network["network"] or network["port_group"]
                self.missing.append(f"{network['label']}: there is no network {wanted!r} here")
                continue
            state = vim.vm.device.VirtualDevice.ConnectInfo(
                startConnected=connect and network["connected"], allowGuestControl=True, connected=False
            )
            kind = getattr(vim.vm.device, network["type"], vim.vm.device.VirtualVmxnet3)
            self._add(kind, backing=backing, connectable=state, addressType="generated")


def _backing(network: Mapping[str, Any], networks: Mapping[str, Managed]) -> Managed:
    """Return what connects an adapter to its network; None: that is not there."""
    kinds = vim.vm.device.VirtualEthernetCard
    if network["port_group"] is not None:
        if network["port_group"] not in {moref(one) for one in networks.values()}:
            return None
        port = vim.dvs.PortConnection(portgroupKey=network["port_group"], switchUuid=network["switch"])
        return kinds.DistributedVirtualPortBackingInfo(port=port)
    if network["network"] in networks:
        return kinds.NetworkBackingInfo(deviceName=network["network"])
    return None
