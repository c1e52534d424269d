"""Which copy goes where: decided, and refused if it cannot be, before anything is made."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asyncvddk.copy._pipeline import CHUNK_SIZE, IN_FLIGHT
from asyncvddk.copy._places import refuse_existing
from asyncvddk.copy._sources import extents_of, files_of
from asyncvddk.models import DiskType

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTENT_NAME = re.compile(r"-(flat|delta|[sf][0-9]{3,})\.vmdk$")
_NOWHERE = Path("/")


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How the copies are made and what they become."""

    vmdk: bool = False
    """Make VMDKs instead of raw images."""
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE
    """Kind of the VMDKs."""
    overwrite: bool = False
    """Replace existing destinations, when the copy is complete."""
    sync: bool = False
    """Wait until the copies are on stable storage."""
    chunk_size: int = CHUNK_SIZE
    in_flight: int = IN_FLIGHT

    @property
    def suffix(self) -> str:
        """Ending of the names that are made up for copies."""
        return ".vmdk" if self.vmdk else ".raw"


@dataclass(frozen=True, slots=True)
class CopyJob:
    """One disk to copy."""

    source: Path
    destination: Path


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What is going to be done; nothing of it has begun."""

    jobs: tuple[CopyJob, ...]
    new_folder: Path | None
    """Folder to make first."""
    extents: tuple[Path, ...]
    """Given as sources, but parts of other sources: they are copied with those."""


def plan_copies(
    sources: Sequence[str | os.PathLike[str]], destination: str | os.PathLike[str], options: CopyOptions
) -> CopyPlan:
    """Decide where each source goes; changes nothing.

    ``destination`` is a folder that exists, or that will be made when its name ends in a slash: then each
    copy has its source's name with the suffix of the format. Or it is the name of the copy of a single
    source.

    Raises OSError naming the file (a destination that exists and may not be overwritten, a folder that is
    missing) or ValueError (two copies of one name, a copy that would land on a file of a source, no source).
    """
    given = [Path(source) for source in sources]
    extents = extents_among(given)
    disks = [path for path in given if path not in extents]
    if not disks:
        raise ValueError("no disk to copy")
    jobs, new_folder = name_copies(disks, destination, options)
    _refuse_sources_as_destinations(jobs)
    if not options.overwrite:
        for job in jobs:
            refuse_existing(job.destination)
    return CopyPlan(tuple(jobs), new_folder, tuple(extents))


def name_copies(
    disks: Sequence[Path], destination: str | os.PathLike[str], options: CopyOptions
) -> tuple[list[CopyJob], Path | None]:
    """Return where each disk goes, and the folder to make first; ``disks`` need not be files of this machine.

    Raises OSError naming the file, or ValueError (two copies of one name).
    """
    folder, named = _destination(os.fspath(destination), single=len(disks) == 1)
    jobs = [CopyJob(disk, named or folder / (disk.stem + options.suffix)) for disk in disks]
    _refuse_twins(jobs)
    return jobs, None if folder.is_dir() else folder


def _destination(text: str, *, single: bool) -> tuple[Path, Path | None]:
    """Return the folder of the copies, and the whole name when ``text`` is the name of a single one."""
    path = Path(text)
    if path.is_dir():
        return path, None
    if not text.endswith("/") and path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "destination exists and is no regular file", str(path))
    named = single and not text.endswith("/")
    if named and path.parent.is_dir():
        return path.parent, path
    if not named and text.endswith("/") and path.parent.is_dir() and not path.exists():
        return path, None
    if path.exists():
        raise NotADirectoryError(errno.ENOTDIR, "destination of several disks is no folder", str(path))
    missing = path.parent if named or text.endswith("/") else path
    raise FileNotFoundError(errno.ENOENT, "destination folder does not exist", str(missing))


def extents_among(given: Sequence[Path]) -> list[Path]:
    """Return those of the given paths that are extents of others, as a shell's ``*.vmdk`` gives them."""
    parts = {_identity(extent) for path in given for extent in extents_of(path)}
    return [path for path in given if (identity := _identity(path)) is not None and identity in parts]


def _refuse_twins(jobs: list[CopyJob]) -> None:
    """Raise ValueError if two jobs would make the same file."""
    taken: dict[Path, CopyJob] = {}
    for job in jobs:
        place = job.destination.absolute()
        if place in taken:
            raise ValueError(
                f"{taken[place].source} and {job.source}: both copies would be {job.destination}: take them one by one"
            )
        taken[place] = job
    for place, job in taken.items():
        if other := taken.get(_disk_of_extent(place)):
            raise ValueError(
                f"{other.source} and {job.source}: both copies would be {job.destination}: take them one by one"
            )


def _refuse_sources_as_destinations(jobs: list[CopyJob]) -> None:
    """Raise ValueError if a copy, or an extent that it may get, would replace a file of a source."""
    identities: dict[tuple[int, int] | None, Path] = {}
    places: dict[Path, Path] = {}
    for source in (job.source for job in jobs):
        for file in files_of(source):
            identities[_identity(file)] = source
            places[file.absolute()] = places[_disk_of_extent(file.absolute())] = source
    identities.pop(None, None)
    for job in jobs:
        owner = identities.get(_identity(job.destination)) or places.get(job.destination.absolute())
        if owner is not None:
            raise ValueError(f"{job.destination}: destination is a file of the source {owner}")


def _disk_of_extent(path: Path) -> Path:
    """Return the disk whose extent ``path`` is by its name; a path that no disk has for other names."""
    return path.with_name(_EXTENT_NAME.sub(".vmdk", path.name)) if _EXTENT_NAME.search(path.name) else _NOWHERE


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, whatever its names; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
