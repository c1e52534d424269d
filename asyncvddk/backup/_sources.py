"""Disks to back up: local VMDKs, folders of them, disks of a server, raw images and block devices."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.backup._disk import BackupDisk
from asyncvddk.backup._image import RawImage
from asyncvddk.backup._state import files_state
from asyncvddk.copy import extents_among, files_of, is_vmdk, refuse_unreadable
from asyncvddk.disks._access import DEFAULT_IDENTITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from asyncvddk import ConnectParams, RetryPolicy, Vddk
    from asyncvddk.backup._disk import ChangedBlocks, ReadableDisk

_logger = structlog.get_logger()

_CONTAINERS: Final = (
    ("qcow2", 0, b"QFI\xfb"),
    ("vhdx", 0, b"vhdxfile"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
)
"""Kinds of images, and what stands at which byte of them."""

RAW_SUFFIXES: Final = frozenset({".raw", ".img"})
"""Files that ``find_disks`` takes for raw images in a folder."""


def vmdk_disk(vddk: Vddk, path: str | os.PathLike[str], *, key: str | None = None) -> BackupDisk:
    """Return a local VMDK to back up, with all it has from its parents; ``key`` is the path unless given.

    Opening it raises OSError, which names the file (missing, unreadable), or a NativeError.
    """
    place = Path(path).absolute()

    @asynccontextmanager
    async def opened() -> AsyncIterator[ReadableDisk]:
        refuse_unreadable(place)
        async with vddk.open_disk(str(place)) as disk:
            yield disk

    return BackupDisk(
        key=str(path) if key is None else key,
        name=place.name,
        opened=opened,
        state=lambda: files_state(files_of(place)),
    )


def raw_disk(path: str | os.PathLike[str], *, key: str | None = None) -> BackupDisk:
    """Return a raw image or a block device to back up; ``key`` is the path unless given.

    Opening it raises OSError, which names the file.
    """
    place = Path(os.path.abspath(path))  # noqa: PTH100  (links stay as they are)
    return BackupDisk(
        key=os.fspath(path) if key is None else key,
        name=Path(path).name,
        opened=partial(RawImage, place),
        state=lambda: files_state([place]),
    )


def remote_disk(  # noqa: PLR0913  (each is a fact of its own)
    vddk: Vddk,
    path: str,
    params: ConnectParams,
    *,
    snapshot: str | None = None,
    transport_modes: Sequence[str] | None = None,
    retry: RetryPolicy | None = None,
    identity: str | None = DEFAULT_IDENTITY,
    key: str | None = None,
    uuid: str | None = None,
    change_id: str | None = None,
    changed: ChangedBlocks | None = None,
) -> BackupDisk:
    """Return a disk of a server to back up, as ``[datastore] vm/vm.vmdk``; ``key`` is the path unless given.

    It is read from ``snapshot`` (the reference of one of the machine). ``transport_modes``, ``retry`` and ``identity``
    (of the access lock) as for ``Vddk.open_disk``. ``uuid``, ``change_id`` and ``changed``: see ``BackupDisk``. The
    limit of disks of one host counts by ``params.server``. Opening it raises a NativeError.
    """
    opened = partial(
        vddk.open_disk,
        path,
        params=params,
        snapshot=snapshot,
        transport_modes=transport_modes,
        retry=retry,
        identity=identity,
    )
    return BackupDisk(
        key=path if key is None else key,
        name=path.rpartition("/")[2],
        opened=opened,
        uuid=uuid,
        host=params.server,
        change_id=change_id,
        changed=changed,
    )


def find_disks(vddk: Vddk, paths: Iterable[str | os.PathLike[str]]) -> list[BackupDisk]:
    """Return the disks that ``paths`` name: VMDKs, raw images, block devices, and folders with such files.

    A folder is searched with those below it for ``*.vmdk``, ``*.raw`` and ``*.img``; hidden ones and extents of
    other disks are left out, each link of a chain of snapshots is a disk. A file that begins as a
    VMDK is one, others are raw. The key of a disk is its path as given: back up with the same paths from the same
    folder, or with absolute ones.

    Opens no disk: a file that is missing or unreadable is told when it is opened; a folder that cannot be searched is a
    disk whose opening fails. Raises OSError for a folder without a disk, ValueError for no disk at all.
    """
    found: dict[str, Path] = {}
    unreadable: dict[str, OSError] = {}
    for path in map(Path, paths):
        files = _in_folder(path, unreadable) if path.is_dir() else [path]
        found |= {str(file): file for file in files}
    if not found and not unreadable:
        raise ValueError("no disk to back up")
    extents = set(extents_among(list(found.values())))
    disks = [_disk(vddk, key, path) for key, path in found.items() if path not in extents]
    return disks + [_unreadable(key, error) for key, error in unreadable.items()]


def _in_folder(folder: Path, unreadable: dict[str, OSError]) -> list[Path]:
    """Return the disks below a folder, by name, and note folders that cannot be searched.

    Raises FileNotFoundError if there is neither.
    """
    wanted = {".vmdk", *RAW_SUFFIXES}
    before = len(unreadable)
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: unreadable.update({str(error.filename): error})):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in wanted and path.is_file()]
    if not found and len(unreadable) == before:
        raise FileNotFoundError(errno.ENOENT, "no disk (*.vmdk, *.raw, *.img) in this folder", str(folder))
    return sorted(found)


def _unreadable(key: str, error: OSError) -> BackupDisk:
    """Return what stands for the disks of a folder that cannot be searched: opening it fails."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[ReadableDisk]:
        raise OSError(error.errno, error.strerror, key)
        yield

    return BackupDisk(key=key, name=Path(key).name, opened=opened)


def _disk(vddk: Vddk, key: str, path: Path) -> BackupDisk:
    """Return a file as what it is, or would be by its name."""
    try:
        raw = stat.S_ISBLK(path.stat().st_mode) or not is_vmdk(path)
    except OSError:  # opening it says so
        raw = False
    if raw and (kind := _container(path)):
        _logger.warning(
            "not_a_raw_image", path=str(path), kind=kind, effect="it is stored as it is, not the disk in it"
        )
    return raw_disk(path, key=key) if raw and path.suffix.lower() != ".vmdk" else vmdk_disk(vddk, path, key=key)


def _container(path: Path) -> str | None:
    """Return the kind of an image that is no raw one, if it begins as those do that people take for disks."""
    if not path.is_file():
        return None
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(72)
    except OSError:  # opening it says so
        return None
    return next((kind for kind, offset, magic in _CONTAINERS if head[offset:].startswith(magic)), None)
