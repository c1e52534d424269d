"""Disks against each other, byte by byte, and what is said of where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncvddk.cli import _areas
from asyncvddk.cli._text import count_of, format_size

if TYPE_CHECKING:
    from asyncvddk.backup import BackupDisk, ReadableDisk
    from asyncvddk.cli._check_report import CheckReporter, ComparedDisk
    from asyncvddk.disks._library import Vddk
    from asyncvddk.models import Block

_SHOWN: Final = 3
"""Areas that are named where not all are asked for."""


class Comparison:
    """How two disks compare."""

    def __init__(self, sizes: tuple[int, int], areas: list[Block], *, whole: bool = True) -> None:
        """Take what was found; ``whole``: all areas are known."""
        self.sizes = sizes
        """Bytes of the one, and of the other; where these differ, nothing else was compared."""
        self.areas = areas
        """Where they differ, in sectors of 512 bytes."""
        self._whole = whole

    @property
    def equal(self) -> bool:
        """True if they are the same, bit for bit."""
        return self.sizes[0] == self.sizes[1] and not self.areas

    def text(self) -> str:
        """Return the result in words."""
        if self.sizes[0] != self.sizes[1]:
            return f"different sizes, {self.sizes[0]} and {self.sizes[1]} bytes"
        if self.equal:
            return f"equal, {format_size(self.sizes[0])}"
        first = self.areas[0].offset
        if not self._whole:
            return f"different, in the sector at byte {first}"
        length = format_size(sum(area.length for area in self.areas))
        shown = ", ".join(f"{area.length} from byte {area.offset} on" for area in self.areas[:_SHOWN])
        more = ", ..." if len(self.areas) > _SHOWN else ""
        return f"different, {length} in {count_of(len(self.areas), 'area')}: {shown}{more}"

    def facts(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        return {
            "equal": self.equal,
            "sizes": list(self.sizes),
            "different": sum(area.length for area in self.areas),
            "areas": [_areas.as_json(area) for area in self.areas],
        }


async def compare_disks(
    one: ReadableDisk, other: ReadableDisk, disk: ComparedDisk, reporter: CheckReporter, *, first: bool = False
) -> Comparison:
    """Compare two open disks; ``first``: up to the first difference."""
    from asyncvddk.backup import compare  # noqa: PLC0415  (numpy and others take their time to load)

    sizes = one.size, other.size
    if sizes[0] != sizes[1]:
        return Comparison(sizes, [])
    reporter.began(disk, one.size)
    areas = await compare(one, other, most=1 if first else None, progress=lambda state: reporter.compared(disk, state))
    return Comparison(sizes, areas, whole=not first)


def only_disk(vddk: Vddk, path: str) -> BackupDisk:
    """Return the disk at a path. Raises ValueError for a folder with several, OSError."""
    from asyncvddk.backup import find_disks  # noqa: PLC0415  (numpy and others take their time to load)

    found = find_disks(vddk, [path])
    if len(found) != 1:
        raise ValueError(f"{path}: one disk, please, not {len(found)}: {', '.join(disk.key for disk in found)}")
    return found[0]
