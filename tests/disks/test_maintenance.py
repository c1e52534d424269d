"""Disks as a whole: clones, children, other sizes and names, repair; with progress, and undone when cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    AccessDeniedError,
    AsyncDisk,
    ChainError,
    ClosedError,
    Connection,
    CreateParams,
    DiskExistsError,
    DiskType,
    NeedsRepairError,
    OpenFlags,
    UnsupportedError,
    Vddk,
)
from tests.fix_disks import DISK_SIZE, MIB

if TYPE_CHECKING:
    from pathlib import Path

GRAIN = 65536
TYPES = [kind for kind in DiskType if kind < DiskType.VMFS_SPARSE]


@pytest.fixture
async def filled(connection: Connection, tmp_path: Path) -> Path:
    """Return the path of a closed sparse disk with data at its start, in its middle and at its end."""
    path = tmp_path / "filled.vmdk"
    await connection.create(path, CreateParams(size=DISK_SIZE))
    async with connection.open(path) as disk:
        for offset in (0, 4 * MIB + 512, DISK_SIZE - 512):
            await disk.write_at(offset, (offset + 1).to_bytes(8, "big") * 64)
    return path


async def content(connection: Connection, path: Path) -> bytes:
    """Return all bytes of a disk."""
    async with connection.open(path, OpenFlags.READ_ONLY) as disk:
        return await disk.read_at(0, disk.size)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
async def test_a_clone_of_any_type_has_the_content_and_takes_the_space_foretold(
    kind: DiskType, connection: Connection, filled: Path, tmp_path: Path
) -> None:
    """Percentages arrive on the loop and end at 100."""
    target, percentages = tmp_path / "out" / filled.name, list[int]()
    target.parent.mkdir()
    async with connection.open(filled, OpenFlags.READ_ONLY) as disk:
        foretold = await disk.space_needed_for_clone(kind)
    await connection.clone(target, filled, disk_type=kind, progress=percentages.append)
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    assert await content(connection, target) == await content(connection, filled)
    taken = sum(file.stat().st_size for file in target.parent.iterdir())
    assert taken <= foretold
    assert taken == foretold or kind == DiskType.STREAM_OPTIMIZED


async def test_a_clone_replaces_a_disk_only_when_told_to(connection: Connection, filled: Path, tmp_path: Path) -> None:
    """The error names the disk that is there; it is as it was."""
    target = tmp_path / "old.vmdk"
    await connection.create(target, CreateParams(size=MIB))
    with pytest.raises(DiskExistsError, match=r"old\.vmdk"):
        await connection.clone(target, filled)
    assert len(await content(connection, target)) == MIB
    await connection.clone(target, filled, overwrite=True)
    assert await content(connection, target) == await content(connection, filled)


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_cancelled_clone_leaves_what_was_there(
    overwrite: bool,  # noqa: FBT001
    connection: Connection,
    filled: Path,
    tmp_path: Path,
) -> None:
    """Nothing, or the disk that was to be replaced; the connection goes on."""
    target = tmp_path / "out" / "clone.vmdk"
    target.parent.mkdir()
    if overwrite:
        await connection.create(target, CreateParams(size=MIB))
    before = {file.name: file.read_bytes() for file in target.parent.iterdir()}
    task: asyncio.Future[None]

    def cancel(_percent: int) -> None:
        task.cancel()

    task = asyncio.ensure_future(
        connection.clone(target, filled, disk_type=DiskType.MONOLITHIC_FLAT, overwrite=overwrite, progress=cancel)
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    after = {file.name: file.read_bytes() for file in target.parent.iterdir()}
    if overwrite and after != before:  # it was complete before the loop heard of it
        assert await content(connection, target) == await content(connection, filled)
    else:
        assert after == before


async def test_a_clone_may_read_through_another_connection(vddk: Vddk, connection: Connection, filled: Path) -> None:
    """Source and target may be reached on different ways; a closed one is named."""
    other = await vddk.connect()
    target = filled.with_name("copy.vmdk")
    await connection.clone(target, filled, source_connection=other)
    assert await content(connection, target) == await content(connection, filled)
    await other.aclose()
    with pytest.raises(ClosedError, match="clone"):
        await connection.clone(filled.with_name("two.vmdk"), filled, source_connection=other)


async def test_a_grown_disk_has_its_content_and_zeros_behind_it(connection: Connection, filled: Path) -> None:
    """Sizes are bytes; what is no whole sector is refused before anything is called."""
    before = await content(connection, filled)
    with pytest.raises(ValueError, match="multiple of 512"):
        await connection.grow(filled, DISK_SIZE + 1)
    await connection.grow(filled, 100 * MIB)
    assert await content(connection, filled) == before.ljust(100 * MIB, b"\0")


async def test_a_renamed_disk_moves_with_all_its_files(connection: Connection, filled: Path, tmp_path: Path) -> None:
    """Names follow the new one; a name that is taken is refused."""
    old, new = tmp_path / "a" / "old.vmdk", tmp_path / "a" / "new.vmdk"
    old.parent.mkdir()
    await connection.clone(old, filled, disk_type=DiskType.MONOLITHIC_FLAT)
    await connection.rename(old, new)
    assert sorted(file.name for file in old.parent.iterdir()) == ["new-flat.vmdk", "new.vmdk"]
    assert await content(connection, new) == await content(connection, filled)
    with pytest.raises(DiskExistsError):
        await connection.rename(filled, new)


async def test_a_damaged_disk_is_reported_and_mended_on_demand(connection: Connection, filled: Path) -> None:
    """A table entry is lost in one of its two copies: the error says where; repair brings it back."""
    before = await content(connection, filled)
    image = bytearray(filled.read_bytes())
    directory = int.from_bytes(image[56:64], "little") * 512
    table = int.from_bytes(image[directory : directory + 4], "little") * 512
    image[table : table + 4] = bytes(4)
    filled.write_bytes(image)
    with pytest.raises(NeedsRepairError, match="table"):
        await connection.check_repair(filled)
    assert filled.read_bytes() == image
    await connection.check_repair(filled, repair=True)
    await connection.check_repair(filled)
    assert await content(connection, filled) == before


async def test_a_child_shows_its_parent_until_it_is_written_to(connection: Connection, filled: Path) -> None:
    """The parent stays as it is."""
    child, before = filled.with_name("child.vmdk"), await content(connection, filled)
    async with connection.open(filled, OpenFlags.READ_ONLY) as disk:
        await disk.create_child(child)
    async with connection.open(child) as disk:
        assert (await disk.info()).links == 2
        await disk.write_at(100, b"new")
    assert await content(connection, child) == before[:100] + b"new" + before[103:]
    assert await content(connection, filled) == before


async def test_an_attached_child_reads_as_the_chain(connection: Connection, filled: Path, disk: AsyncDisk) -> None:
    """The parent can only be closed afterwards; disks that do not fit are not attached."""
    child, before = filled.with_name("child.vmdk"), await content(connection, filled)
    async with connection.open(filled, OpenFlags.READ_ONLY) as parent:
        await parent.create_child(child)
    read_only = OpenFlags.READ_ONLY | OpenFlags.SINGLE_LINK
    async with connection.open(filled, OpenFlags.READ_ONLY) as parent, connection.open(child, read_only) as top:
        assert await top.read_at(0, DISK_SIZE) == bytes(DISK_SIZE)
        assert not await top.is_attach_possible(disk)
        assert await top.is_attach_possible(parent)
        await top.attach(parent)
        assert await top.read_at(0, DISK_SIZE) == before
        with pytest.raises(ClosedError, match="attached"):
            await parent.read_at(0, 1)
    async with connection.open(child, read_only) as top, connection.open(disk.path, OpenFlags.READ_ONLY) as stranger:
        with pytest.raises(ChainError):
            await top.attach(stranger)


async def test_a_parent_on_another_connection_is_attached_and_closed_in_any_order(
    vddk: Vddk, connection: Connection, filled: Path
) -> None:
    """The child reads as the chain after the parent's disk and connection are closed."""
    child, alone = filled.with_name("child.vmdk"), OpenFlags.READ_ONLY | OpenFlags.SINGLE_LINK
    before = await content(connection, filled)
    async with connection.open(filled, OpenFlags.READ_ONLY) as parent:
        await parent.create_child(child)
    async with connection.open(child, alone) as top:
        async with vddk.connect() as other:
            parent = await other.open(filled, alone)
            await top.attach(parent)
            await parent.aclose()
        assert await top.read_at(0, DISK_SIZE) == before
    async with connection.open(child, alone) as top, vddk.connect() as other:
        await top.attach(await other.open(filled, alone))


async def test_an_attach_that_is_refused_by_us_changes_nothing(connection: Connection, filled: Path) -> None:
    """A second child of an attached parent is told so, and the parent still closes; a closed child spoils no parent."""
    child, alone = filled.with_name("child.vmdk"), OpenFlags.READ_ONLY | OpenFlags.SINGLE_LINK
    async with connection.open(filled, OpenFlags.READ_ONLY) as parent:
        await parent.create_child(child)
    async with (
        connection.open(child, alone) as first,
        connection.open(child, alone) as second,
        connection.open(filled, alone) as parent,
    ):
        await first.attach(parent)
        with pytest.raises(ClosedError, match="attached"):
            await second.attach(parent)
    async with connection.open(filled, alone) as parent:
        with pytest.raises(ClosedError, match=r"child\.vmdk is closed"):
            await first.attach(parent)
        assert len(await parent.read_at(0, 512)) == 512


async def test_shrinking_gives_back_what_was_overwritten_with_zeros(connection: Connection, filled: Path) -> None:
    """And defragmenting puts the rest in order; the content is the same, through the same object."""
    async with connection.open(filled) as disk:
        await disk.write_at(MIB, b"\1" * MIB)
        await disk.write_at(MIB, bytes(MIB))
        await disk.flush()
        before, size = await disk.read_at(0, DISK_SIZE), filled.stat().st_size
        percentages: list[int] = []
        await disk.shrink(progress=percentages.append)
        assert percentages[-1] == 100
        assert filled.stat().st_size == size - MIB
        await disk.defragment()
        assert await disk.read_at(0, DISK_SIZE) == before
        await disk.write_at(MIB, b"again")
    assert (await content(connection, filled))[MIB : MIB + 5] == b"again"


async def test_what_cannot_be_rebuilt_says_so(connection: Connection, filled: Path) -> None:
    """A child cannot be shrunk, nor a disk that was opened for reading."""
    child = filled.with_name("child.vmdk")
    async with connection.open(filled, OpenFlags.READ_ONLY) as disk:
        with pytest.raises(AccessDeniedError):
            await disk.shrink()
        await disk.create_child(child)
    async with connection.open(child) as disk:
        with pytest.raises(UnsupportedError):
            await disk.shrink()
