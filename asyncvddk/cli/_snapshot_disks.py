"""Snapshots and their disks, as the user calls them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli._options import size_parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.models import Block
    from asyncvddk.repository import DiskEntry, Repository, Snapshot


@Parameter(name="*")
@dataclass(frozen=True)
class Part:
    """Which bytes of a single disk."""

    offset: Annotated[int, size_parameter(show_default=False)] = 0
    """First byte, of a single disk (default: 0)."""
    length: Annotated[int | None, size_parameter(show_default=False)] = None
    """Bytes (default: to the end of the disk)."""

    def of(self, entry: DiskEntry) -> int:
        """Return how many bytes of a disk that is. Raises ValueError if they are not all within it."""
        length = entry.capacity - self.offset if self.length is None else self.length
        if length < 0 or self.offset + length > entry.capacity:
            wanted = f"{length} bytes from byte {self.offset} on" if length >= 0 else f"byte {self.offset}"
            raise ValueError(f"{entry.key}: {wanted}: outside a disk of {entry.capacity} bytes")
        return length


WHOLE = Part()


def chosen(snapshot: Snapshot, wanted: Sequence[str]) -> list[DiskEntry]:
    """Return the disks that have these keys, or names that no other has; all of them if ``wanted`` is empty.

    Raises ValueError, which tells what there is.
    """
    if wanted:
        return list({entry.key: entry for entry in (_disk(snapshot, text) for text in wanted)}.values())
    if snapshot.disks:
        return list(snapshot.disks)
    raise ValueError(f"snapshot {snapshot.id} has no disks")


def _disk(snapshot: Snapshot, text: str) -> DiskEntry:
    found = [disk for disk in snapshot.disks if disk.key == text] or [
        disk for disk in snapshot.disks if disk.name == text
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{text}: several disks have this name: {', '.join(disk.key for disk in found)}")
    for failed in snapshot.failed:
        if text in {failed.key, failed.name}:
            raise ValueError(f"{text}: not in snapshot {snapshot.id}, its backup failed: {failed.reason}")
    raise ValueError(
        f"snapshot {snapshot.id} has no disk {text!r}, but {', '.join(disk.key for disk in snapshot.disks)}"
    )


async def areas_of(repository: Repository, snapshot: Snapshot, entry: DiskEntry) -> list[Block]:
    """Return the areas of a disk that are stored, as far as chunks tell; all others are zero."""
    async with await repository.open_disk(snapshot, entry.key) as disk:
        return [block async for block in disk.allocated_blocks()]


def file_name(entry: DiskEntry) -> str:
    """Return a name for a disk's file; whatever a snapshot says, it does not lead out of a folder."""
    name = PurePosixPath(entry.name).name
    return name if name not in {"", ".", ".."} else "disk"


def source_of(disks: Sequence[str]) -> str:
    """Return the name of the source that disks are, if it has no other: the disk's, or that of their folder.

    Raises a CycloptsError if that folder has no name.
    """
    paths = [os.path.abspath(disk) for disk in disks]  # noqa: PTH100  (links keep their names)
    common = os.path.commonpath(paths if len(paths) == 1 else [os.path.dirname(path) for path in paths])  # noqa: PTH120
    if name := PurePosixPath(common).name:
        return name
    raise CycloptsError(msg="these disks have no folder whose name could be theirs: give --source")


def stdout_for_bytes(*, json: bool) -> int:
    """Return the descriptor of stdout. Raises a CycloptsError where a disk's bytes must not go there."""
    if json:
        raise CycloptsError(msg="the disk's bytes go to stdout, so --json has no place there")
    if sys.stdout is None:
        raise CycloptsError(msg="stdout is closed: the disk's bytes have nowhere to go")
    if sys.stdout.isatty():
        raise CycloptsError(msg="stdout is a terminal: send the disk's bytes to a file or a pipe")
    sys.stdout.flush()
    return sys.stdout.fileno()
