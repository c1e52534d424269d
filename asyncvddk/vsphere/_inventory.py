"""The inventory: all virtual machines and where they are, read with one question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from asyncvddk.vsphere._machines import VirtualMachine
from asyncvddk.vsphere._properties import below, properties
from asyncvddk.vsphere._reading import disks_of, snapshots_of
from asyncvddk.vsphere._vim import Managed, moref, vim
from asyncvddk.vsphere.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncvddk.vsphere._session import VSphere

_MACHINE: Final = (
    "name",
    "parent",
    "parentVApp",
    "config.instanceUuid",
    "config.uuid",
    "config.version",
    "config.template",
    "config.changeTrackingEnabled",
    "config.hardware.device",
    "config.files.vmPathName",
    "config.guestFullName",
    "capability.changeTrackingSupported",
    "runtime.host",
    "runtime.powerState",
    "runtime.connectionState",
    "guest.toolsRunningStatus",
    "summary.storage.committed",
    "snapshot",
    "datastore",
)
_ENCRYPTION: Final = "config.keyId"
_ENCRYPTION_SINCE: Final = "6.5"
_TRACKING_SINCE: Final = 7
"""Virtual hardware."""


@dataclass(frozen=True, slots=True)
class _Places:
    """What machines are in, by identifier."""

    names: Mapping[str, str]
    parents: Mapping[str, str]
    kinds: Mapping[str, str]

    def path(self, identifier: str | None) -> str:
        """Return the inventory path, without the root folder's name."""
        parts: list[str] = []
        while identifier is not None and identifier in self.names:
            if (parent := self.parents.get(identifier)) is None:
                break
            parts.append(self.names[identifier])
            identifier = parent
        return "".join(f"/{part}" for part in reversed(parts))

    def above(self, identifier: str | None, kind: str) -> str | None:
        """Return the nearest object of a kind, itself counted."""
        while identifier is not None and self.kinds.get(identifier) != kind:
            identifier = self.parents.get(identifier)
        return identifier


async def machines(vsphere: VSphere) -> tuple[VirtualMachine, ...]:
    """Return all virtual machines that the session's user sees, templates too, by path.

    Raises FaultError, ServerConnectionError, LoginError.
    """
    wanted = _machine_properties(vsphere)

    def read() -> list[tuple[Managed, dict[str, Managed]]]:
        content = vsphere.content
        found = below(content, content.rootFolder, {vim.VirtualMachine: wanted, **_PLACES})
        return [*found, (content.rootFolder, {"name": ""})]

    found = await vsphere.call(read, what="read the inventory")
    places = _places(found)
    made = [_machine(thing, values, places) for thing, values in found if isinstance(thing, vim.VirtualMachine)]
    return tuple(sorted((machine for machine in made if machine is not None), key=lambda machine: machine.path))


async def machine(vsphere: VSphere, known: VirtualMachine) -> VirtualMachine:
    """Return a machine as it is now, its folder as it was known. Raises ObjectGoneError, NotFoundError, FaultError."""
    wanted = _machine_properties(vsphere)
    what = f"look at {known.name}"

    def read() -> tuple[Managed, dict[str, Managed], list[tuple[Managed, dict[str, Managed]]]]:
        thing = vsphere.managed(vim.VirtualMachine, known.moref)
        values = properties(vsphere.content, thing, wanted)
        around = [values["runtime.host"]] if "runtime.host" in values else []
        around += list(values.get("datastore") or ())
        return thing, values, [(one, properties(vsphere.content, one, _PLACE)) for one in around]

    thing, values, around = await vsphere.call(read, what=what)
    now = _machine(thing, values, _places(around))
    if now is None:
        raise NotFoundError(f"{what}: its configuration cannot be read now: its host or datastore is away")
    kept = ("folder", "datacenter", "cluster", "datastore_clusters")
    return VirtualMachine(
        **{name: getattr(now, name) for name in VirtualMachine.__dataclass_fields__ if name not in kept},
        **{name: getattr(known, name) for name in kept},
    )


_PLACE: Final = ("name", "parent")
_PLACES: Final[dict[Managed, tuple[str, ...]]] = dict.fromkeys(
    (
        vim.Folder,
        vim.Datacenter,
        vim.ComputeResource,
        vim.HostSystem,
        vim.Datastore,
        vim.StoragePod,
        vim.VirtualApp,
    ),
    _PLACE,
)


def _machine_properties(vsphere: VSphere) -> tuple[str, ...]:
    return (*_MACHINE, _ENCRYPTION) if vsphere.is_at_least(_ENCRYPTION_SINCE) else _MACHINE


def _places(found: list[tuple[Managed, dict[str, Managed]]]) -> _Places:
    around = [(moref(thing), type(thing).__name__, values) for thing, values in found]
    return _Places(
        names={name: _unquoted(values["name"]) for name, _, values in around if "name" in values},
        parents={name: moref(values["parent"]) for name, _, values in around if values.get("parent")},
        kinds={name: kind.rpartition(".")[2] for name, kind, _ in around},
    )


def _unquoted(name: object) -> str:
    """Return a name as people gave it: the server escapes slashes and percent signs in names."""
    return unquote(str(name))


def _machine(thing: Managed, values: Mapping[str, Managed], places: _Places) -> VirtualMachine | None:
    """Return a machine; None for one whose configuration the server cannot read now."""
    if "config.hardware.device" not in values:
        return None
    host = moref(values["runtime.host"]) if values.get("runtime.host") else None
    parent = moref(values["parent"]) if values.get("parent") else None
    if parent is None and values.get("parentVApp"):
        parent = moref(values["parentVApp"])
    stores = [moref(store) for store in values.get("datastore") or ()]
    version = _hardware_version(str(values.get("config.version") or ""))
    return VirtualMachine(
        moref=moref(thing),
        name=_unquoted(values["name"]),
        uuid=str(values.get("config.instanceUuid") or values.get("config.uuid") or ""),
        bios_uuid=str(values.get("config.uuid") or ""),
        folder=places.path(parent),
        datacenter=places.path(places.above(parent, "Datacenter")),
        host=places.names.get(host) if host else None,
        host_moref=host,
        cluster=_cluster(host, places),
        datastores=tuple(sorted(places.names[store] for store in stores if store in places.names)),
        datastore_clusters=tuple(sorted(set(_pods(stores, places)))),
        power=str(values.get("runtime.powerState") or "poweredOff"),
        connection=str(values.get("runtime.connectionState") or "connected"),
        hardware_version=version,
        template=bool(values.get("config.template")),
        tracking=bool(values.get("config.changeTrackingEnabled")),
        tracking_possible=bool(values.get("capability.changeTrackingSupported")) and version >= _TRACKING_SINCE,
        encrypted=values.get(_ENCRYPTION) is not None,
        vmx=str(values.get("config.files.vmPathName") or ""),
        guest=str(values.get("config.guestFullName") or ""),
        tools_running=str(values.get("guest.toolsRunningStatus") or "") == "guestToolsRunning",
        used=int(values.get("summary.storage.committed") or 0),
        snapshots=snapshots_of(values.get("snapshot")),
        disks=disks_of(values["config.hardware.device"] or ()),
    )


def _hardware_version(text: str) -> int:
    match = re.fullmatch(r"vmx-0*(\d+)", text)
    return int(match[1]) if match else 0


def _cluster(host: str | None, places: _Places) -> str | None:
    """Return the name of the host's cluster; a host that stands alone has none."""
    above = places.above(host, "ClusterComputeResource")
    return places.names.get(above) if above else None


def _pods(stores: list[str], places: _Places) -> Iterator[str]:
    for store in stores:
        pod = places.above(store, "StoragePod")
        if pod is not None:
            yield places.names[pod]
