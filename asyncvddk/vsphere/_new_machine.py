"""A machine made anew from a backup: its disks as VMDKs in a datastore that is mounted here, then itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.backup import VmdkTarget, restore
from asyncvddk.models import AdapterType, CreateParams, DiskType
from asyncvddk.repository import _threads
from asyncvddk.vsphere._configuration import MachineConfiguration
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._properties import properties
from asyncvddk.vsphere._specification import specification
from asyncvddk.vsphere._vim import Managed, moref, vim
from asyncvddk.vsphere.errors import NotFoundError, NotPossibleError, VSphereError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import RestoreProgress
    from asyncvddk.repository import DiskEntry, Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere

_SECTOR: Final = 512

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMachine:
    """A machine that was made."""

    moref: str
    name: str
    disks: tuple[str, ...]
    """Paths, as ``[ds1] web/web.vmdk``."""
    missing: tuple[str, ...]
    """What the backup does not have, or what could not be made as it was."""


async def restore_as_new(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    *,
    name: str,
    datastore: str,
    mounted: Path,
    like: VirtualMachine,
    connect_networks: bool = False,
    progress: Callable[[DiskEntry, RestoreProgress], object] | None = None,
) -> NewMachine:
    """Make the machine of a backup anew under the name ``name``, off, with new identifiers.

    Its disks are written as thin VMDKs to a new folder in ``mounted``, where the datastore ``datastore`` (as an NFS
    volume) is mounted on this machine. ``like`` is a machine of the inventory whose folder, host and resource pool the
    new one gets. Network adapters get new addresses and, unless ``connect_networks``, are not connected at the start:
    the old machine may still run.

    Raises NotPossibleError and NotFoundError before anything is made, OSError, NativeError, DamagedError, FaultError.
    After an error, or cancelled, nothing is left: neither files nor a machine.
    """
    if snapshot.config is None:
        raise NotPossibleError(f"snapshot {snapshot.id} has no configuration of a machine: restore its disks singly")
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise NotPossibleError(f"name={name!r}: it is the name of a folder, too: without slashes, not hidden")
    configuration = MachineConfiguration.read(await repository.blob(snapshot.config))
    folder = mounted / name
    places = await vsphere.call(partial(_places, vsphere, like, datastore, name), what=f"look for a place for {name}")
    made: list[str] = []
    ours: list[Path] = []

    def make_folder() -> None:
        folder.mkdir(mode=0o755)
        ours.append(folder)

    async def note(result: Managed) -> None:
        made.append(moref(result))

    try:
        await _threads.run(make_folder)
        files: dict[str, str] = {}
        for number, entry in enumerate(snapshot.disks):
            file = f"{name}.vmdk" if number == 0 else f"{name}_{number}.vmdk"
            await _write(vddk, repository, snapshot, entry, folder / file, progress)
            files[entry.key] = f"[{datastore}] {name}/{file}"
        spec, missing = specification(
            configuration, name, f"[{datastore}] {name}", files, places.networks, connect=connect_networks
        )
        await vsphere.task(
            lambda: places.folder.CreateVM_Task(config=spec, pool=places.pool, host=places.host),
            what=f"make the machine {name}",
            ended=note,
        )
        if configuration.nvram is not None:  # now: a server may make one of its own with the machine
            await _threads.run(partial((folder / f"{name}.nvram").write_bytes, configuration.nvram))
    except BaseException as error:
        await to_its_end(_unmake(vsphere, made, ours, error))
        raise
    _logger.info("machine_made", machine=name, moref=made[0])
    return NewMachine(moref=made[0], name=name, disks=tuple(files.values()), missing=tuple(missing))


async def _write(  # noqa: PLR0913, PLR0917  (each is a thing of its own)
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    entry: DiskEntry,
    path: Path,
    progress: Callable[[DiskEntry, RestoreProgress], object] | None,
) -> None:
    told = None if progress is None else partial(progress, entry)
    size = -(-entry.capacity // _SECTOR) * _SECTOR
    params = CreateParams(size=size, disk_type=DiskType.VMFS_THIN, adapter=AdapterType.SCSI_LSILOGIC)
    target = VmdkTarget(vddk, path, params, sync=True)
    async with await repository.open_disk(snapshot, entry.key) as source, target as writing:
        await restore(source, writing, progress=told)


async def _unmake(vsphere: VSphere, made: list[str], folders: list[Path], error: BaseException) -> None:
    """Leave nothing; what cannot be removed becomes a note of the error."""
    for machine in made:
        try:
            vm = vsphere.managed(vim.VirtualMachine, machine)
            await vsphere.call(vm.UnregisterVM, what=f"unregister {machine}")
        except VSphereError as problem:
            error.add_note(f"the machine {machine} is left: {problem}")
            return
    for folder in folders:
        try:
            await _threads.run(partial(shutil.rmtree, folder))
        except OSError as problem:
            error.add_note(f"{folder} is left: {problem}")


@dataclass(frozen=True, slots=True)
class _Places:
    folder: Managed
    pool: Managed
    host: Managed
    networks: Mapping[str, Managed]


def _places(vsphere: VSphere, like: VirtualMachine, datastore: str, name: str) -> _Places:
    """Return where a machine is made that is beside another one. Blocking."""
    content = vsphere.content
    vm = vsphere.managed(vim.VirtualMachine, like.moref)
    found = properties(content, vm, ["parent", "resourcePool", "runtime.host"])
    if not all(key in found for key in ("parent", "resourcePool", "runtime.host")):
        raise NotPossibleError(f"{like.name} is no machine to make another one beside: it has no folder, pool or host")
    host = properties(content, found["runtime.host"], ["datastore", "network", "name"])
    stores = {str(properties(content, store, ["name"]).get("name")): store for store in host.get("datastore") or ()}
    if datastore not in stores:
        raise NotFoundError(f"the host {host.get('name')} has no datastore {datastore!r}, but {sorted(stores)}")
    if content.searchIndex.FindChild(found["parent"], name) is not None:
        raise NotPossibleError(f"a machine {name!r} is there already: give another name")
    networks = {}
    for network in host.get("network") or ():
        networks[str(properties(content, network, ["name"]).get("name"))] = network
    return _Places(found["parent"], found["resourcePool"], found["runtime.host"], networks)
