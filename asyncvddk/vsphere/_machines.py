"""Virtual machines and their disks, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Obstacle(Enum):
    """Why a disk cannot be backed up. The value is the reason in words."""

    INDEPENDENT = "independent: snapshots leave it out; change its mode to dependent while the machine is off"
    PHYSICAL_RDM = "a raw device mapping in physical mode: snapshots leave it out; back it up within the guest"
    MULTI_WRITER = "shared by several machines (multi-writer): snapshots are not possible"
    SHARED_BUS = "its controller shares the bus with other machines: snapshots are not possible"
    UNKNOWN_BACKING = "its kind of backing is not known: no file of a datastore"
    ENCRYPTED = "encrypted: it is read decrypted, so only an encrypted repository may have it, and only when allowed"


STOPS_SNAPSHOTS: Final = frozenset({Obstacle.MULTI_WRITER, Obstacle.SHARED_BUS})
"""With such a disk the whole machine has no snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachineDisk:
    """A disk of a virtual machine, as its configuration has it: that of now, or of a snapshot."""

    key: int
    """Device key, as 2000: the same for as long as the disk is attached."""
    label: str
    """As ``Hard disk 1``."""
    path: str
    """File, as ``[ds1] web/web.vmdk``; with snapshots it is that of the newest link."""
    capacity: int
    """Bytes."""
    mode: str
    """As ``persistent`` or ``independent_persistent``."""
    controller: str
    """As ``scsi0``, ``sata0``, ``nvme0`` or ``ide0``."""
    unit: int
    """Number at the controller."""
    uuid: str | None
    change_id: str | None
    """State of the changed-block tracking; None: changes are not tracked."""
    thin: bool | None
    """True: takes space on demand; None: not told."""
    encrypted: bool
    obstacle: Obstacle | None
    """Why it cannot be backed up; None: it can."""

    @property
    def address(self) -> str:
        """Place of the disk, as ``scsi0:1``."""
        return f"{self.controller}:{self.unit}"

    @property
    def datastore(self) -> str:
        """Name of its datastore."""
        return self.path[1:].partition("]")[0] if self.path.startswith("[") else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSnapshot:
    """A snapshot that a machine has."""

    moref: str
    name: str
    description: str
    created: float
    """Seconds since 1970, UTC."""
    quiesced: bool
    manifest: bool
    """True: the guest's applications took part, and told so (``backupManifest``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine:
    """A virtual machine, as it was when the inventory was read."""

    moref: str
    """As ``vm-16``; of this vCenter or host alone."""
    name: str
    uuid: str
    """Instance UUID, which no other machine of the vCenter has."""
    bios_uuid: str
    folder: str
    """Inventory path of its folder, as ``/DC0/vm/web``."""
    datacenter: str
    """Inventory path of the data center, as ``/DC0``."""
    host: str | None
    """Name of the ESXi host."""
    host_moref: str | None
    cluster: str | None
    datastores: tuple[str, ...]
    """Names, of those where its files are."""
    datastore_clusters: tuple[str, ...]
    power: str
    """``poweredOn``, ``poweredOff`` or ``suspended``."""
    connection: str
    """``connected``; anything else: its host or its files cannot be reached."""
    hardware_version: int
    """Number of the virtual hardware, as 19."""
    template: bool
    tracking: bool
    """Changed-block tracking is on."""
    tracking_possible: bool
    encrypted: bool
    vmx: str
    """Its configuration file, as ``[ds1] web/web.vmx``."""
    guest: str
    """Guest system, as it was chosen."""
    tools_running: bool
    used: int
    """Bytes that its files take on datastores, as far as the server tells."""
    snapshots: tuple[MachineSnapshot, ...]
    """All, the oldest branch first."""
    disks: tuple[VirtualMachineDisk, ...]
    """By device key."""

    @property
    def path(self) -> str:
        """Inventory path, as ``/DC0/vm/web``."""
        return f"{self.folder}/{self.name}"

    @property
    def running(self) -> bool:
        """True: its disks are being written."""
        return self.power == "poweredOn"

    @property
    def source(self) -> str:
        """Name of its backups in a repository: it stays when the machine is renamed or moved."""
        return f"vm:{self.uuid}"
