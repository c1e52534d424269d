"""``asyncvddk vms``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, Common, Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import table
from asyncvddk.cli._run import run_command
from asyncvddk.cli._server import SERVER, Server
from asyncvddk.cli._text import count_of, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.vsphere import VirtualMachine


def vms(
    *rules: Annotated[
        str, Parameter(name="RULE", help="Names (with * and ?), vm-16, folder:PATH, datastore:NAME, cluster:, host:.")
    ],
    disks: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    server: Server = SERVER,
    common: Common = COMMON,
) -> int:
    """List the virtual machines of a vCenter or an ESXi host, and what a backup would meet there.

    Parameters
    ----------
    disks
        List the disks of each machine, and why one cannot be backed up.
    json
        Write JSON, an object a line.
    """

    async def command() -> int:
        from asyncvddk.vsphere import Selection, machines  # noqa: PLC0415  (pyVmomi takes its time to load)

        wanted = Selection.parse(rules or ["all"], templates=True)
        async with server.session() as vsphere:
            every = await machines(vsphere)
            found = wanted.machines(every) if rules else every
        if json:
            for machine in found:
                emit("machine", **_facts(machine))
        elif disks:
            _show_disks(found)
        else:
            table(_HEAD, [_row(machine) for machine in found])
            total = format_size(sum(disk.capacity for machine in found for disk in machine.disks))
            tell(
                f"{count_of(len(found), 'machine')}, {count_of(sum(len(one.disks) for one in found), 'disk')}, {total}"
            )
        return _exit.DONE

    return run_command(command, common, logs=True)


_HEAD = ("MACHINE", "REF", "POWER", "HOST", "DATASTORES", "DISKS", "SIZE", "TRACKING", "SNAPSHOTS", "NOTES")


def _row(machine: VirtualMachine) -> tuple[str, ...]:
    tracking = "on" if machine.tracking else "off" if machine.tracking_possible else "impossible"
    return (
        machine.path,
        machine.moref,
        machine.power,
        machine.host or "-",
        ",".join(machine.datastores),
        str(len(machine.disks)),
        format_size(sum(disk.capacity for disk in machine.disks)),
        tracking,
        str(len(machine.snapshots)),
        ", ".join(_notes(machine)),
    )


def _notes(machine: VirtualMachine) -> list[str]:
    """Return what stands in the way of a backup, or is special."""
    hindered = sum(disk.obstacle is not None for disk in machine.disks)
    notes = {
        "template": machine.template,
        machine.connection: machine.connection != "connected",
        "encrypted": machine.encrypted,
        f"{count_of(hindered, 'disk')} left out (--disks tells why)": hindered > 0,
    }
    return [note for note, true in notes.items() if true]


def _show_disks(found: Sequence[VirtualMachine]) -> None:
    head = ("MACHINE", "KEY", "ADDRESS", "LABEL", "SIZE", "MODE", "PATH", "NOTE")
    rows = [
        (
            machine.path,
            str(disk.key),
            disk.address,
            disk.label,
            format_size(disk.capacity),
            disk.mode,
            disk.path,
            disk.obstacle.value if disk.obstacle else "",
        )
        for machine in found
        for disk in machine.disks
    ]
    table(head, rows)


def _facts(machine: VirtualMachine) -> dict[str, object]:
    return {
        "path": machine.path,
        "name": machine.name,
        "moref": machine.moref,
        "uuid": machine.uuid,
        "source": machine.source,
        "power": machine.power,
        "connection": machine.connection,
        "host": machine.host,
        "cluster": machine.cluster,
        "datastores": list(machine.datastores),
        "hardware_version": machine.hardware_version,
        "template": machine.template,
        "tracking": machine.tracking,
        "tracking_possible": machine.tracking_possible,
        "encrypted": machine.encrypted,
        "snapshots": [{"moref": one.moref, "name": one.name} for one in machine.snapshots],
        "disks": [
            {
                "key": disk.key,
                "address": disk.address,
                "label": disk.label,
                "size": disk.capacity,
                "mode": disk.mode,
                "path": disk.path,
                "obstacle": disk.obstacle.name.lower() if disk.obstacle else None,
            }
            for disk in machine.disks
        ],
    }
