"""A plan says what a backup then does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk.backup import BackupOptions
from asyncvddk.repository import DiskStats, Snapshot
from asyncvddk.vsphere import MachineBackupOptions, Obstacle, Selection, machines, plan_machines
from asyncvddk.vsphere._plan import plan
from asyncvddk.vsphere._results import feasible
from tests.vsphere.fakes import MIB, a_disk, a_machine, an_entry

if TYPE_CHECKING:
    from tests.vsphere.backups import Backups


def snapshot(**entry: Any) -> Snapshot:  # noqa: ANN401  (fields of its disk)
    """Return a backup of ``a_machine()``."""
    fields = {"mode": "changed", "read_whole": time.time(), "stats": DiskStats(read=MIB // 4)}
    disk = an_entry(**fields | entry)
    return Snapshot(id="f00d", source="vm:x", time=0.0, finished=0.0, disks=(disk,))


TRACKED = a_disk(change_id="52 aa/9")


@pytest.mark.parametrize(
    ("parent", "options", "mode", "reason", "last"),
    [
        (None, {}, "allocated", "no earlier backup of this disk", None),
        (snapshot(), {}, "changed", None, MIB // 4),
        (snapshot(mode="allocated"), {}, "changed", None, None),
        (snapshot(change_id=None), {}, "allocated", "not tracked then", None),
        (snapshot(read_whole=0.0), {}, "allocated", "time to read all", None),
        (snapshot(), {"backup": BackupOptions(mode="full")}, "full", "mode full", 4 * MIB),
        (snapshot(mode="allocated"), {"backup": BackupOptions(mode="allocated")}, "allocated", "mode", MIB // 4),
    ],
)
def test_how_a_disk_would_be_read(
    parent: Snapshot | None, options: dict[str, Any], mode: str, reason: str | None, last: int | None
) -> None:
    """With the reason, at most so many bytes, and those of the last time."""
    machine = a_machine(disks=(TRACKED,), used=3 * MIB)
    found = plan(machine, machine.disks, (), parent, MachineBackupOptions(**options))
    (disk,) = found.disks
    assert (disk.mode, disk.last) == (mode, last)
    assert (reason or "None") in str(disk.reason)
    assert disk.at_most == (4 * MIB if mode == "full" else 3 * MIB)
    assert found.expected == (last or disk.at_most)


@pytest.mark.parametrize(
    ("machine", "options", "tracking", "quiesced"),
    [
        ({}, {}, "on", True),
        ({"tracking": False}, {}, "switched on", True),
        ({"tracking": False}, {"enable_tracking": False}, "off", True),
        ({"tracking": False, "tracking_possible": False}, {"quiesce": "never"}, "off", False),
        ({"power": "poweredOff"}, {}, "on", False),
    ],
)
def test_what_would_be_done_to_a_machine(
    machine: dict[str, Any], options: dict[str, Any], tracking: str, *, quiesced: bool
) -> None:
    """Tracking that is switched on, and a quiesced snapshot."""
    one = a_machine(**machine)
    found = plan(one, one.disks, (), None, MachineBackupOptions(**options))
    assert (found.tracking, found.quiesced) == (tracking, quiesced)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"connection": "inaccessible"}, "it is inaccessible"),
        ({"disks": ()}, "no disks"),
        ({"disks": (a_disk(obstacle=Obstacle.INDEPENDENT),)}, "none of its disks"),
        ({"disks": (a_disk(), a_disk(2001, obstacle=Obstacle.SHARED_BUS))}, "Hard disk 2 is its controller shares"),
        ({"disks": (a_disk(obstacle=Obstacle.ENCRYPTED),)}, "none of its disks"),
        ({"snapshots": ("one",) * 28}, "28 snapshots already"),
    ],
)
def test_why_a_machine_cannot_be_backed_up(machine: dict[str, Any], reason: str) -> None:
    """The reason, in words."""
    found = feasible(a_machine(**machine), None, MachineBackupOptions(), encrypted_repository=True)
    assert reason in str(found.reason)


def test_encrypted_disks_need_leave_and_an_encrypted_repository() -> None:
    """Both: their data arrive decrypted."""
    machine = a_machine(disks=(a_disk(obstacle=Obstacle.ENCRYPTED), a_disk(2001)))
    for allowed in (True, False):
        for encrypted in (True, False):
            options = MachineBackupOptions(allow_encrypted=allowed)
            found = feasible(machine, None, options, encrypted_repository=encrypted)
            assert (len(found.disks), len(found.skipped)) == ((2, 0) if allowed and encrypted else (1, 1))


async def test_a_plan_changes_nothing_and_comes_true(backups: Backups) -> None:
    """Before a backup and after one; nothing on the server is changed."""
    rules = Selection.parse(["all"], exclude_disks=["2001"])
    for mode in ("allocated", "changed"):
        backups.bench.forget_calls()
        inventory = await machines(backups.vsphere)
        _, web = await plan_machines(backups.repository, inventory, selection=rules)
        assert {call.method for call in backups.bench.calls()} <= {
            "CreateContainerView",
            "RetrievePropertiesEx",
            "DestroyView",
        }
        (planned,) = web.disks
        assert (planned.mode, [one.reason for one in web.skipped]) == (mode, ["not selected"])
        _, result = await backups.make(selection=rules)
        assert result.snapshot
        assert (result.snapshot.disk("2000").mode, result.changes[2000].reason) == (planned.mode, planned.reason)
        assert result.snapshot.disk("2000").stats.read <= planned.at_most
