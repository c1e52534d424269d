"""A machine made anew from its backup: by the stored configuration, with empty disks that are then filled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from asyncvddk.backup import EmptyDiskTarget
from asyncvddk.vsphere._configuration import MachineConfiguration
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._inventory import machines
from asyncvddk.vsphere._restoring import DiskPair, RestoredDisk, Writing, guarded
from asyncvddk.vsphere._vim import Managed, moref, vim
from asyncvddk.vsphere.errors import NotFoundError, NotPossibleError, VSphereError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import RestoreProgress
    from asyncvddk.repository import Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere

_SCSI: Final = "ParaVirtualSCSIController"

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewMachine:
    """A machine that was made from a backup."""

    machine: VirtualMachine
    disks: list[RestoredDisk]
    left_out: tuple[str, ...]
    """What of the configuration has no counterpart here, as a network that does not exist."""


async def restore_as_new(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    *,
    name: str,
    datastore: str,
    host: str | None = None,
    transport_modes: Sequence[str] | None = None,
    journal: Path | None = None,
    progress: Callable[[DiskPair, RestoreProgress], object] | None = None,
) -> NewMachine:
    """Make the machine of ``snapshot`` anew as ``name``, with the disks of the snapshot on ``datastore``.

    Processors, memory, firmware, controllers, disks and network adapters are as the stored configuration has them;
    disks are thin, MAC addresses new, so that both machines can run. It is made in the folder where the old one was,
    or in that of the data center, on ``host`` (by name; default: the old one's, else any that has the datastore), and
    is off. It is locked while its disks are written (noted in ``journal``, as by ``back_up_machines``). If a disk
    cannot be restored, or when this is cancelled, the new machine is removed again.

    Raises NotPossibleError (no configuration is stored with the snapshot, or no disk), NotFoundError (datastore or
    host), FaultError (as DuplicateName), and what a disk failed of.
    """
    if snapshot.config is None:
        raise NotPossibleError(f"snapshot {snapshot.id}: no configuration of a machine is stored with it")
    stored = MachineConfiguration.read(await repository.blob(snapshot.config))
    wanted = [disk for disk in stored.disks if any(entry.key == str(disk["key"]) for entry in snapshot.disks)]
    if not wanted:
        raise NotPossibleError(f"snapshot {snapshot.id}: it has no disk of the machine {stored.name}")
    find = partial(_find_place, vsphere, stored, datastore, host)
    place = await vsphere.call(find, what=f"find a place for {name}")
    spec, left_out = _spec(stored, wanted, name, datastore, place.networks)
    if stored.nvram is not None:
        left_out.append("NVRAM: the firmware's variables are in the backup, the new machine begins with its own")
    made: list[str] = []

    async def note(result: Managed) -> None:
        made.append(moref(result))

    try:
        await vsphere.task(partial(_start, place, spec), what=f"make the machine {name}", ended=note)
        machine = next(one for one in await machines(vsphere) if one.moref == made[0])
        pairs = _pairs(snapshot, wanted, machine)
        async with guarded(vsphere, vddk, machine, journal):
            writing = Writing(
                vsphere, vddk, repository, snapshot, machine, EmptyDiskTarget, transport_modes, progress=progress
            )
            disks = await writing.all(pairs)
        _refuse_failed(disks)
    except BaseException:
        for new in made:  # also if it was cancelled while the server made it
            await to_its_end(_destroy(vsphere, new, name))
        raise
    return NewMachine(machine, disks, tuple(left_out))


def _refuse_failed(disks: Sequence[RestoredDisk]) -> None:
    """Raise what the first disk failed of, if one did."""
    for disk in disks:
        if disk.error is not None:
            raise disk.error


@dataclass(frozen=True, slots=True)
class _Place:
    folder: Managed
    pool: Managed
    host: Managed
    networks: dict[str, Managed]
    """By name, those of the host."""


def _start(place: _Place, spec: Managed) -> Managed:
    return place.folder.CreateVM_Task(config=spec, pool=place.pool, host=place.host)


async def _destroy(vsphere: VSphere, made: str, name: str) -> None:
    """Remove what was made; if that fails, the log says what is left."""
    thing = vsphere.managed(vim.VirtualMachine, made)
    try:
        await vsphere.task(lambda: thing.Destroy_Task(), what=f"remove the machine {name}")  # noqa: PLW0108
    except VSphereError as error:
        _logger.warning("machine_left", machine=name, moref=made, reason=str(error), remedy="delete it")


def _find_place(vsphere: VSphere, stored: MachineConfiguration, datastore: str, host: str | None) -> _Place:
    """Look for host, pool and folder. Blocking."""
    content = vsphere.content
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.HostSystem], True)  # noqa: FBT003
    try:
        hosts = {str(one.name): one for one in view.view}
    finally:
        view.Destroy()
    fitting = {name: one for name, one in hosts.items() if datastore in {str(store.name) for store in one.datastore}}
    if host is not None and host not in hosts:
        raise NotFoundError(f"host {host}: there is none of this name, but {', '.join(sorted(hosts))}")
    if not fitting or (host is not None and host not in fitting):
        raise NotFoundError(f"datastore {datastore}: {host or 'no host'} does not have it")
    old = str(stored.data["machine"].get("host") or "")
    chosen = fitting[host or (old if old in fitting else min(fitting))]
    return _Place(
        folder=_folder(content, chosen, stored),
        pool=chosen.parent.resourcePool,
        host=chosen,
        networks={str(one.name): one for one in chosen.network},
    )


def _folder(content: Managed, host: Managed, stored: MachineConfiguration) -> Managed:
    """Return the folder where the machine was; if it is gone, or elsewhere, that of the host's data center."""
    datacenter = host
    while not isinstance(datacenter, vim.Datacenter):
        datacenter = datacenter.parent
    found = content.searchIndex.FindByInventoryPath(str(stored.data["machine"].get("folder") or "").strip("/"))
    return found if isinstance(found, vim.Folder) else datacenter.vmFolder


def _spec(
    stored: MachineConfiguration, disks: list[dict[str, Any]], name: str, datastore: str, networks: dict[str, Managed]
) -> tuple[Managed, list[str]]:
    """Return what the server makes, and what of the old machine has no counterpart."""
    hardware, left_out = stored.hardware, []
    needed = {disk["controller"] for disk in disks}
    changes = [_controller(one) for one in stored.controllers if one["name"] in needed]
    keys = {one["name"]: one["key"] for one in stored.controllers}
    changes += [_disk(disk, keys, datastore) for disk in disks]
    for adapter in stored.networks:
        if (network := networks.get(str(adapter["network"]))) is None:
            left_out.append(f"{adapter['label']}: the host has no network {adapter['network']}")
        else:
            changes.append(_network(adapter, network))
    spec = vim.vm.ConfigSpec(
        name=name,
        guestId=hardware["guest_id"],
        version=hardware["version"] or None,
        numCPUs=hardware["processors"],
        numCoresPerSocket=hardware["cores_per_socket"],
        memoryMB=hardware["memory"] >> 20,
        firmware=hardware["firmware"],
        annotation=hardware["annotation"],
        changeTrackingEnabled=hardware["tracking"],
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        deviceChange=changes,
    )
    if hardware["secure_boot"]:
        spec.bootOptions = vim.vm.BootOptions(efiSecureBootEnabled=True)
    return spec, left_out


def _added(device: Managed, *, file: str | None = None) -> Managed:
    return vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation=file, device=device)


def _controller(one: dict[str, Any]) -> Managed:
    kind = getattr(vim.vm.device, one["type"], None) or getattr(vim.vm.device, _SCSI)
    device = kind(key=one["key"], busNumber=one["bus"])
    if hasattr(device, "sharedBus"):
        device.sharedBus = "noSharing"
    return _added(device)


def _disk(disk: dict[str, Any], keys: dict[str, int], datastore: str) -> Managed:
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=f"[{datastore}]", diskMode="persistent", thinProvisioned=True
    )
    device = vim.vm.device.VirtualDisk(
        key=disk["key"],
        controllerKey=keys.get(disk["controller"], 200),  # an IDE controller, which each machine has, is not listed
        unitNumber=disk["unit"],
        capacityInBytes=disk["capacity"],
        capacityInKB=disk["capacity"] >> 10,
        backing=backing,
    )
    return _added(device, file="create")


def _network(adapter: dict[str, Any], network: Managed) -> Managed:
    kind = getattr(vim.vm.device, adapter["type"], None) or vim.vm.device.VirtualVmxnet3
    device = kind(key=adapter["key"], addressType="generated")
    device.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
        startConnected=adapter["connected"], allowGuestControl=True, connected=False
    )
    if isinstance(network, vim.dvs.DistributedVirtualPortgroup):
        port = vim.dvs.PortConnection(portgroupKey=network.key, switchUuid=network.config.distributedVirtualSwitch.uuid)
        device.backing = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(port=port)
    else:
        device.backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
            network=network, deviceName=str(network.name)
        )
    return _added(device)


def _pairs(snapshot: Snapshot, wanted: list[dict[str, Any]], machine: VirtualMachine) -> list[DiskPair]:
    """Return which disk goes where: to the one at the same place of the same controller."""
    there = {disk.address: disk for disk in machine.disks}
    pairs = []
    for disk in wanted:
        address = f"{disk['controller']}:{disk['unit']}"
        if address not in there:
            raise NotPossibleError(f"{machine.path}: the new machine has no disk at {address}")
        pairs.append(DiskPair(snapshot.disk(str(disk["key"])), there[address]))
    return pairs
