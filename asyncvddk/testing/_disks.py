"""Scratch disks of any type, alone or as a chain of snapshots."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from asyncvddk.disks._library import Vddk
from asyncvddk.disks._runtime import RUNTIME
from asyncvddk.errors import VddkError
from asyncvddk.models import CreateParams, DiskType, OpenFlags
from asyncvddk.native._loader import ENGINE_ROOT
from asyncvddk.testing._content import pieces_of, size_for

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Sequence

    from asyncvddk.disks._connection import Connection
    from asyncvddk.testing._content import Content

T = TypeVar("T")


async def make_disk(
    connection: Connection,
    path: str | os.PathLike[str],
    content: Content = b"",
    *,
    size: int | None = None,
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
) -> Path:
    """Create a local disk that holds ``content`` and zeros, close it, and return its path.

    ``size`` is in bytes, a multiple of 512; default: what ``content`` needs, in whole MiB. A sparse disk has only those
    parts allocated that ``content`` gives. STREAM_OPTIMIZED disks, which no one can write twice, are cloned from
    a sparse one beside them. ``connection`` is one to local disks: ``vddk.connect()``.

    Raises as ``Connection.create`` and ``AsyncDisk.write_at``; then, and when cancelled, part of a disk may be left.
    """
    target = Path(path)
    params = CreateParams(size_for(content) if size is None else size, disk_type)
    if disk_type is DiskType.STREAM_OPTIMIZED:
        source = target.with_name(f"{target.stem}-source.vmdk")
        try:
            await make_disk(connection, source, content, size=params.size)
            await connection.clone(target, source, disk_type=disk_type)
        finally:
            await connection.unlink(source)
        return target
    await connection.create(target, params)
    await _fill(connection, target, content)
    return target


async def _fill(connection: Connection, path: Path, content: Content) -> None:
    async with connection.open(path) as disk:
        for offset, data in pieces_of(content):
            await disk.write_at(offset, data)


async def make_chain(
    connection: Connection,
    path: str | os.PathLike[str],
    contents: Sequence[Content],
    *,
    size: int | None = None,
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
) -> list[Path]:
    """Create a disk and a snapshot chain on it, a link for each of ``contents``; return the paths, base first.

    The base, of ``disk_type``, is at ``path``; its children are sparse, beside it, named as ESXi does:
    ``disk-000001.vmdk``. Each has its own content and shows the link below everywhere else. ``size`` in bytes; default:
    what all of ``contents`` need, in whole MiB.

    Raises ValueError (no contents); else as ``make_disk`` and ``AsyncDisk.create_child``.
    """
    if not contents:
        raise ValueError("contents: a chain has at least one link")
    base = Path(path)
    paths = [base, *(base.with_name(f"{base.stem}-{link:06}.vmdk") for link in range(1, len(contents)))]
    await make_disk(
        connection, base, contents[0], size=size_for(*contents) if size is None else size, disk_type=disk_type
    )
    for parent, child, content in zip(paths, paths[1:], contents[1:], strict=False):
        async with connection.open(parent, OpenFlags.READ_ONLY) as disk:
            await disk.create_child(child)
        await _fill(connection, child, content)
    return paths


def run_local(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``await work(connection)`` on the bundled engine, from code that is not async, and return its result.

    ``connection`` is one to local disks, on an event loop and a thread of its own: it works inside a running event
    loop as well, which stands still meanwhile. Blocks until the work is done.

    Raises what ``work`` raises; VddkError: the engine runs with a configuration file, whose failures and counts are
    not for this work, or is being started or ended by the event loop that would stand still; LibraryLoadError:
    this process uses another library.
    """
    if RUNTIME.users and RUNTIME.config is not None:
        raise VddkError(
            f"the engine runs with the configuration {RUNTIME.config}: make scratch disks before it starts, "
            "or inside with 'await make_disk(connection, ...)'"
        )
    if RUNTIME._busy is not None:  # noqa: SLF001  (waiting here could last for ever)
        raise VddkError("the library is being started or ended just now: make scratch disks before or afterwards")

    async def main() -> T:
        async with Vddk(ENGINE_ROOT) as vddk, vddk.connect() as connection:
            return await work(connection)

    with ThreadPoolExecutor(1, "scratch-disk") as pool:
        return pool.submit(lambda: asyncio.run(main())).result()


def make_disk_sync(
    path: str | os.PathLike[str],
    content: Content = b"",
    *,
    size: int | None = None,
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
) -> Path:
    """As ``make_disk``, from code that is not async; see ``run_local`` for when it cannot work."""
    return run_local(lambda connection: make_disk(connection, path, content, size=size, disk_type=disk_type))


def make_chain_sync(
    path: str | os.PathLike[str],
    contents: Sequence[Content],
    *,
    size: int | None = None,
    disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
) -> list[Path]:
    """As ``make_chain``, from code that is not async; see ``run_local`` for when it cannot work."""
    return run_local(lambda connection: make_chain(connection, path, contents, size=size, disk_type=disk_type))


class DiskFactory:
    """Makes scratch disks in one folder: what the fixture ``vddk_disk`` is.

    From any code, async or not; see ``run_local`` for when it cannot work.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Make disks in ``folder``, which exists."""
        self.folder = Path(folder)
        """Where they are."""
        self._numbers = itertools.count(1)

    def __call__(
        self,
        content: Content = b"",
        *,
        name: str | None = None,
        size: int | None = None,
        disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
    ) -> Path:
        """Make one disk, as ``make_disk``, and return its path.

        ``name`` may have folders, which are made; default: ``disk-1.vmdk``, ``disk-2.vmdk`` and so on.

        Raises as ``make_disk_sync``; DiskExistsError: there is one of that ``name``.
        """
        return make_disk_sync(self._place(name), content, size=size, disk_type=disk_type)

    def chain(
        self,
        contents: Sequence[Content],
        *,
        name: str | None = None,
        size: int | None = None,
        disk_type: DiskType = DiskType.MONOLITHIC_SPARSE,
    ) -> list[Path]:
        """Make a chain of snapshots, as ``make_chain``, and return its paths, base first. Raises as calling it does."""
        return make_chain_sync(self._place(name), contents, size=size, disk_type=disk_type)

    def _place(self, name: str | None) -> Path:
        path = self.folder / (name or f"disk-{next(self._numbers)}.vmdk")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
