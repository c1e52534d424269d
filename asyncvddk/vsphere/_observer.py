"""What a backup of machines tells while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from asyncvddk.backup import BackupObserver
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._results import MachineResult

Step: TypeAlias = Literal["checking", "freezing", "looking", "copying", "thawing"]
"""What is done with a machine: checks and its lock; the snapshot; changed blocks and configuration; its disks are
read; the snapshot is removed."""


class MachineObserver(Protocol):
    """Is told what happens, on the event loop; must not block."""

    def step(self, machine: VirtualMachine, step: Step) -> None:
        """Take note: a machine has come so far."""
        ...

    def disks(self, machine: VirtualMachine) -> BackupObserver | None:
        """Return who is told of the machine's disks."""
        ...

    def ended(self, result: MachineResult) -> None:
        """Take note: a machine is done, or failed, and its snapshot is gone or told to be left."""
        ...
