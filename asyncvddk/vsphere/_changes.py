"""Which bytes of a disk changed since its last backup, by changed-block tracking: surely all of them, or a reason.

What the server says is believed only where it can be right. Whatever is odd about it leads to the one safe answer, to
read all that is allocated, and the reason is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.backup import ChangedBlocks
from asyncvddk.vsphere._ranges import Ranges
from asyncvddk.vsphere._vim import vim
from asyncvddk.vsphere.errors import FaultError, ObjectGoneError, VSphereError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.repository import DiskEntry
    from asyncvddk.vsphere._machines import VirtualMachineDisk
    from asyncvddk.vsphere._session import VSphere

_ID: Final = re.compile(r"(.+)/(\d+)")

_logger = structlog.get_logger()


class ChangesInvalidError(VSphereError):
    """An answer of the server that cannot be right."""


@dataclass(frozen=True, slots=True)
class Window:
    """One answer: what changed in ``length`` bytes from byte ``start`` on."""

    start: int
    length: int
    areas: Sequence[tuple[int, int]]
    """(start, length) of each changed area."""


class ChangedAreas:
    """Takes answers, window by window, until they cover the disk."""

    def __init__(self, capacity: int) -> None:
        """Begin at byte 0 of a disk of ``capacity`` bytes."""
        self._capacity = capacity
        self._next = 0
        self.ranges = Ranges()

    @property
    def next(self) -> int | None:
        """Byte from which on to ask; None: all is known, and there is nothing to ask for at the end of a disk."""
        return self._next if self._next < self._capacity else None

    def take(self, window: Window) -> None:
        """Take the answer for byte ``next``; one without an area is not the end. Raises ChangesInvalidError."""
        end = window.start + window.length
        if window.start > self._next:
            raise ChangesInvalidError(f"asked from byte {self._next} on, the server answers from {window.start} on")
        if end <= self._next:
            raise ChangesInvalidError(f"asked from byte {self._next} on, the server's answer ends at {end}")
        if end > self._capacity:
            raise ChangesInvalidError(f"the answer goes to byte {end} of a disk of {self._capacity} bytes")
        self.ranges.add([piece for area in window.areas if (piece := self._checked(*area)) is not None])
        self._next = end

    def _checked(self, start: int, length: int) -> tuple[int, int] | None:
        """Return start and end of an area; the last one of a disk may be rounded up."""
        if start < 0 or length < 0 or start >= self._capacity:
            raise ChangesInvalidError(f"an area of {length} bytes at byte {start} of a disk of {self._capacity} bytes")
        return (start, min(start + length, self._capacity)) if length else None


def since(base: DiskEntry | None, disk: VirtualMachineDisk) -> tuple[str | None, str | None]:
    """Return (the change id to ask since, None), or (None, why nothing can be asked).

    ``base`` is the last backup of the disk, ``disk`` what its snapshot's configuration says.
    """
    if base is None:
        return None, "no earlier backup of this disk"
    reason = _another_disk(base, disk) or _other_tracking(base.change_id, disk.change_id)
    return (None, reason) if reason else (base.change_id, None)


def _another_disk(base: DiskEntry, disk: VirtualMachineDisk) -> str | None:
    """Return why a disk is not the one that was backed up, None if it is."""
    if disk.uuid is None or base.uuid != disk.uuid:
        return "it is another disk than in the last backup"
    if base.capacity != disk.capacity:
        return f"its size changed from {base.capacity} to {disk.capacity} bytes"
    return None


def _other_tracking(before: str | None, now: str | None) -> str | None:
    """Return why the one change id says nothing about the way to the other."""
    if before is None:
        return "the last backup has no change id: changes were not tracked then"
    if now is None:
        return "changes are not tracked"
    old, new = _ID.fullmatch(before), _ID.fullmatch(now)
    if old is None or new is None:
        return f"a change id is not as expected: {before!r}, {now!r}"
    if old[1] != new[1]:
        return "the tracking was begun anew since the last backup"
    if int(old[2]) > int(new[2]):
        return "the disk is in an older state than in the last backup: a snapshot was reverted to"
    return None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed on a disk, or why nobody can tell."""

    blocks: ChangedBlocks | None
    reason: str | None
    """Why all that is allocated is read; None: only ``blocks`` are."""
    size: int
    """Bytes that changed; without ``blocks`` those of the disk."""


async def changes_of(
    vsphere: VSphere, vm: str, snapshot: str, disk: VirtualMachineDisk, base: DiskEntry | None
) -> Changes:
    """Ask what changed on ``disk``, as ``snapshot`` of the machine ``vm`` has it, since its backup ``base``.

    Raises ObjectGoneError (the snapshot), ServerConnectionError, LoginError; other faults are a reason.
    """
    start, reason = since(base, disk)
    if start is not None:
        try:
            ranges = await _ask(vsphere, vm, snapshot, disk, start)
            return Changes(ChangedBlocks(ranges, start), None, ranges.bytes)
        except ObjectGoneError:
            raise
        except FaultError as error:
            reason = f"the server cannot tell what changed ({error.fault}{': ' if error.text else ''}{error.text})"
        except ChangesInvalidError as error:
            reason = f"what the server says of changes cannot be right: {error}"
        _logger.warning(
            "changes_not_known", vm=vm, disk=disk.path, reason=reason, effect="all that is allocated is read"
        )
    return Changes(None, reason, disk.capacity)


async def _ask(vsphere: VSphere, vm: str, snapshot: str, disk: VirtualMachineDisk, start: str) -> Ranges:
    machine, frozen = vsphere.managed(vim.VirtualMachine, vm), vsphere.managed(vim.vm.Snapshot, snapshot)
    areas = ChangedAreas(disk.capacity)

    def ask(offset: int) -> Window:
        answer = machine.QueryChangedDiskAreas(frozen, disk.key, offset, start)
        found = [(int(area.start), int(area.length)) for area in answer.changedArea or ()]
        return Window(int(answer.startOffset), int(answer.length), found)

    while (offset := areas.next) is not None:
        place = offset
        areas.take(await vsphere.call(lambda place=place: ask(place), what=f"changes of {disk.path}"))  # type: ignore[misc]
    return areas.ranges
