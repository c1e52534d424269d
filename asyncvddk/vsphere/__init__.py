"""Virtual machines of a vCenter or an ESXi host: found, backed up, restored. Needs the extra ``vsphere``.

``VSphere`` is the object to begin with. Sizes and offsets are bytes.
"""

import asyncvddk.vsphere._vim  # noqa: F401  (first: it says what is missing)
from asyncvddk.vsphere._budget import Budget, BudgetLimits
from asyncvddk.vsphere._changes import Changes
from asyncvddk.vsphere._cleanup import CleanupReport, cleanup
from asyncvddk.vsphere._configuration import MachineConfiguration
from asyncvddk.vsphere._inventory import machine, machines
from asyncvddk.vsphere._machines import MachineSnapshot, Obstacle, VirtualMachine, VirtualMachineDisk
from asyncvddk.vsphere._new_machine import NewMachine, restore_as_new
from asyncvddk.vsphere._observer import MachineObserver
from asyncvddk.vsphere._plan import DiskPlan, MachinePlan, plan_machines
from asyncvddk.vsphere._restoring import DiskPair, RestoredDisk, pair_disks, restore_disks
from asyncvddk.vsphere._results import MachineBackupOptions, MachineResult, Skipped
from asyncvddk.vsphere._selection import DiskRule, MachineRule, Selection
from asyncvddk.vsphere._session import About, VSphere
from asyncvddk.vsphere._vm_backup import back_up_machines
from asyncvddk.vsphere.errors import (
    CertificateError,
    FaultError,
    JournalError,
    LoginError,
    NoPrivilegeError,
    NotFoundError,
    NotPossibleError,
    ObjectGoneError,
    ServerConnectionError,
    VSphereError,
)

__all__ = [
    "About",
    "Budget",
    "BudgetLimits",
    "CertificateError",
    "Changes",
    "CleanupReport",
    "DiskPair",
    "DiskPlan",
    "DiskRule",
    "FaultError",
    "JournalError",
    "LoginError",
    "MachineBackupOptions",
    "MachineConfiguration",
    "MachineObserver",
    "MachinePlan",
    "MachineResult",
    "MachineRule",
    "MachineSnapshot",
    "NewMachine",
    "NoPrivilegeError",
    "NotFoundError",
    "NotPossibleError",
    "ObjectGoneError",
    "Obstacle",
    "RestoredDisk",
    "Selection",
    "ServerConnectionError",
    "Skipped",
    "VSphere",
    "VSphereError",
    "VirtualMachine",
    "VirtualMachineDisk",
    "back_up_machines",
    "cleanup",
    "machine",
    "machines",
    "pair_disks",
    "plan_machines",
    "restore_as_new",
    "restore_disks",
]
