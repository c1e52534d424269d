"""A machine made anew from its backup: by the stored configuration, with empty disks that are then filled."""

from __future__ import annotations

import contextlib
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncvddk.backup import EmptyDiskTarget
from asyncvddk.vsphere._access import locked
from asyncvddk.vsphere._configuration import MachineConfiguration
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._inventory import machines
from asyncvddk.vsphere._journal import Entry, Journal, default_folder
from asyncvddk.vsphere._properties import below
from asyncvddk.vsphere._restoring import DiskPair, RestoredDisk, Writing
from asyncvddk.vsphere._specification import specification
from asyncvddk.vsphere._vim import Managed, moref, vim
from asyncvddk.vsphere.errors import FaultError, NotFoundError, NotPossibleError, ObjectGoneError, VSphereError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import RestoreProgress
    from asyncvddk.repository import Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere


_HOST: Final = ("name", "datastore", "network", "runtime.connectionState", "runtime.inMaintenanceMode")


@dataclass(frozen=True, slots=True)
class NewMachine:
    """A machine that was made from a backup."""

    machine: VirtualMachine
    disks: list[RestoredDisk]
    left_out: tuple[str, ...]
    """What is not as it was: networks that do not exist here, disks and files that the backup does not have."""


async def restore_as_new(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    *,
    name: str,
    datastore: str,
    host: str | None = None,
    connect_networks: bool = False,
    transport_modes: Sequence[str] | None = None,
    journal: Path | None = None,
    progress: Callable[[DiskPair, RestoreProgress], object] | None = None,
) -> NewMachine:
    """Make the machine of ``snapshot`` anew as ``name``, with the disks of the snapshot on ``datastore``.

    Processors, memory, firmware, controllers, disks and network adapters are as the stored configuration has them;
    disks are thin, MAC addresses new. Its adapters are not connected at the start unless ``connect_networks``: the old
    machine may still run. It is made in the folder where that one was, or in the data center's, on ``host`` (by name;
    default: the old one's, else any that has the datastore, is connected and not in maintenance), and is off. The
    firmware's variables (NVRAM) are not written. If a disk cannot be restored, or when this is cancelled, the new
    machine is removed again.

    Raises NotPossibleError (no configuration is stored with the snapshot, or no disk; no host works that has the
    datastore), NotFoundError (datastore or host), FaultError (as DuplicateName), and what a disk failed of.
    """
    if snapshot.config is None:
        raise NotPossibleError(f"snapshot {snapshot.id}: no configuration of a machine is stored with it")
    stored = MachineConfiguration.read(await repository.blob(snapshot.config))
    wanted = [disk for disk in stored.disks if any(entry.key == str(disk["key"]) for entry in snapshot.disks)]
    if not wanted:
        raise NotPossibleError(f"snapshot {snapshot.id}: it has no disk of the machine {stored.name}")
    find = partial(_find_place, vsphere, stored, datastore, host)
    place = await vsphere.call(find, what=f"find a place for {name}")
    keys = {str(disk["key"]) for disk in wanted}
    spec, left_out = specification(stored, name, datastore, keys, place.networks, connect=connect_networks)
    folder = journal or default_folder()
    async with Journal.open(folder, server=vsphere.server, instance=vsphere.about.instance) as kept:
        entry = await kept.begin("machine", vm="", machine=name)
        try:
            made = await vsphere.task(
                partial(_start, place, spec),
                what=f"make the machine {name}",
                ended=lambda result: kept.know(entry, vm=moref(result)),
            )
            machine = next(one for one in await machines(vsphere) if one.moref == moref(made))
            pairs = _pairs(snapshot, wanted, machine)
            async with AsyncExitStack() as lock:
                if vsphere.about.vcenter:
                    identity = f"asyncvddk-{secrets.token_hex(8)}"
                    await lock.enter_async_context(locked(vsphere, vddk, kept, machine, identity))
                writing = Writing(
                    vsphere, vddk, repository, snapshot, machine, EmptyDiskTarget, transport_modes, progress=progress
                )
                disks = await writing.all(pairs)
            _refuse_failed(disks)
        except BaseException as error:
            await to_its_end(_give_up(vsphere, kept, entry, error))
            raise
        await kept.end(entry)
    return NewMachine(machine, disks, tuple(left_out))


async def _give_up(vsphere: VSphere, journal: Journal, number: int, error: BaseException) -> None:
    """Remove what was made; what cannot be becomes a note of the error, and stays in the journal."""
    entry = next(one for one in journal.left if one.number == number)
    try:
        await discard_machine(vsphere, journal, entry, refused=isinstance(error, FaultError))
    except VSphereError as problem:
        error.add_note(f"the new machine may be left, asyncvddk cleanup removes it: {problem}")


async def discard_machine(vsphere: VSphere, journal: Journal, entry: Entry, *, refused: bool = False) -> None:
    """Remove a machine that is not complete, by its reference in the journal; ``refused``: it was never made.

    Raises NotFoundError if it is not known whether it was made, FaultError and others of ``VSphere.task``.
    """
    vm, name = entry.facts["vm"], entry.facts["machine"]
    if vm:
        thing = vsphere.managed(vim.VirtualMachine, vm)
        with contextlib.suppress(ObjectGoneError):
            await vsphere.task(thing.Destroy_Task, what=f"remove the machine {name}")
    elif not refused:
        raise NotFoundError(
            f"nobody knows whether the machine {name} was made: look for it, delete it, then delete {journal.path}"
        )
    await journal.end(entry.number)


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


def _find_place(vsphere: VSphere, stored: MachineConfiguration, datastore: str, host: str | None) -> _Place:
    """Look for host, pool and folder. Blocking."""
    content = vsphere.content
    found = below(content, content.rootFolder, {vim.HostSystem: _HOST, vim.Datastore: ("name",)})
    stores = {moref(thing) for thing, values in found if values["name"] == datastore}
    hosts = {values["name"]: (thing, values) for thing, values in found if isinstance(thing, vim.HostSystem)}
    if host is not None and host not in hosts:
        raise NotFoundError(f"host {host}: there is none of this name, but {', '.join(sorted(hosts))}")
    fitting = {
        name: _reason_against(values)
        for name, (_, values) in hosts.items()
        if host in {None, name} and stores & {moref(store) for store in values["datastore"]}
    }
    if not fitting:
        raise NotFoundError(f"datastore {datastore}: {host or 'no host'} does not have it")
    usable = [name for name, reason in fitting.items() if reason is None]
    if not usable:
        reasons = ", ".join(f"{name} {reason}" for name, reason in sorted(fitting.items()))
        raise NotPossibleError(f"datastore {datastore}: {reasons}")
    old = str(stored.data["machine"].get("host") or "")
    chosen, values = hosts[old if old in usable else min(usable)]
    return _Place(
        folder=_folder(content, chosen, stored),
        pool=chosen.parent.resourcePool,
        host=chosen,
        networks={str(one.name): one for one in values["network"]},
    )


def _reason_against(host: dict[str, Managed]) -> str | None:
    """Return why no machine can be made on a host with these properties now."""
    if host["runtime.connectionState"] != "connected":
        return f"is {host['runtime.connectionState']}"
    return "is in maintenance mode" if host["runtime.inMaintenanceMode"] else None


def _folder(content: Managed, host: Managed, stored: MachineConfiguration) -> Managed:
    """Return the folder where the machine was; if it is gone, or elsewhere, that of the host's data center."""
    datacenter = host
    while not isinstance(datacenter, vim.Datacenter):
        datacenter = datacenter.parent
    found = content.searchIndex.FindByInventoryPath(str(stored.data["machine"].get("folder") or "").strip("/"))
    return found if isinstance(found, vim.Folder) else datacenter.vmFolder


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
