"""Scratch disks: any type, any content, chains; from async code and from any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    Block,
    ChainError,
    Connection,
    DiskExistsError,
    DiskType,
    OpenFlags,
    UnsupportedError,
    Vddk,
    VddkError,
)
from asyncvddk.testing import (
    EngineConfig,
    assert_content,
    engine,
    make_chain,
    make_chain_sync,
    make_disk,
    make_disk_sync,
    random_blocks,
    run_local,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.testing import Content

MIB = 1 << 20
WRITABLE = [kind for kind in DiskType if kind not in {DiskType.UNKNOWN, DiskType.VMFS_SPARSE}]
CONTENT = random_blocks(2 * MIB, count=4, seed=5)


@pytest.mark.parametrize("disk_type", WRITABLE)
async def test_disk_of_any_type_holds_the_content(connection: Connection, tmp_path: Path, disk_type: DiskType) -> None:
    """And zeros elsewhere, in the size asked for; no other file is left."""
    path = await make_disk(connection, tmp_path / "x.vmdk", CONTENT, size=2 * MIB + 512, disk_type=disk_type)
    async with connection.open(path, OpenFlags.READ_ONLY) as disk:
        assert disk.size == 2 * MIB + 512
        await assert_content(disk, CONTENT)
    assert not list(tmp_path.glob("*source*"))


async def test_only_what_is_given_is_allocated(connection: Connection, tmp_path: Path) -> None:
    """The size follows from the content, in whole MiB."""
    path = await make_disk(connection, tmp_path / "x.vmdk", {MIB: b"x" * 65536, 3 * MIB: b"y"})
    async with connection.open(path) as disk:
        assert disk.size == 4 * MIB
        assert [block async for block in disk.allocated_blocks()] == [Block(MIB, 65536), Block(3 * MIB, 65536)]


async def test_a_chain_reads_as_its_contents_one_over_the_other(connection: Connection, tmp_path: Path) -> None:
    """Each link up to the top, whatever the base is; each link alone holds its own part."""
    contents: list[Content] = [random_blocks(MIB, seed=1), {65536: b"two"}, b"", {0: b"four"}]
    paths = await make_chain(connection, tmp_path / "vm.vmdk", contents, disk_type=DiskType.VMFS_FLAT)
    assert [path.name for path in paths] == ["vm.vmdk", *(f"vm-00000{n}.vmdk" for n in (1, 2, 3))]
    for link, path in enumerate(paths, 1):
        async with connection.open(path, OpenFlags.READ_ONLY) as disk:
            assert (await disk.info()).links == link
            await assert_content(disk, *contents[:link])
    async with connection.open(paths[1], OpenFlags.READ_ONLY | OpenFlags.SINGLE_LINK) as disk:
        assert [block async for block in disk.allocated_blocks()] == [Block(65536, 65536)]
    with pytest.raises(ValueError, match="at least one link"):
        await make_chain(connection, tmp_path / "none.vmdk", [])


async def test_a_disk_that_cannot_be_made_says_why(connection: Connection, tmp_path: Path) -> None:
    """One that exists, a type that can only be read, a size between sectors."""
    path = await make_disk(connection, tmp_path / "x.vmdk")
    with pytest.raises(DiskExistsError):
        await make_disk(connection, path)
    with pytest.raises(UnsupportedError):
        await make_disk(connection, tmp_path / "y.vmdk", disk_type=DiskType.VMFS_SPARSE)
    with pytest.raises(ValueError, match="size=1000"):
        await make_disk(connection, tmp_path / "y.vmdk", size=1000)


def test_disks_are_made_by_code_that_is_not_async(tmp_path: Path) -> None:
    """One and a chain, with what they are asked to hold."""
    path = make_disk_sync(tmp_path / "x.vmdk", b"hello")
    top = make_chain_sync(tmp_path / "y.vmdk", [b"hello", b"w"])[-1]

    async def first_bytes(connection: Connection) -> list[bytes]:
        async with connection.open(path) as one, connection.open(top) as other:
            return [await one.read_at(0, 6), await other.read_at(0, 6)]

    assert run_local(first_bytes) == [b"hello\0", b"wello\0"]


async def test_disks_are_made_inside_of_a_running_loop(vddk: Vddk, tmp_path: Path) -> None:
    """It stands still meanwhile; the library may be in use by it."""
    async with vddk.open_disk(make_disk_sync(tmp_path / "x.vmdk", b"hello")) as disk:
        assert await disk.read_at(0, 5) == b"hello"


async def test_errors_of_the_work_are_raised_as_they_are(tmp_path: Path) -> None:
    """Through the other thread and loop."""
    paths = make_chain_sync(tmp_path / "x.vmdk", [b"a", b"b"])
    paths[0].unlink()

    async def open_top(connection: Connection) -> None:
        await connection.open(paths[1])

    with pytest.raises(ChainError, match=r"x-000001\.vmdk"):
        run_local(open_top)


async def test_an_engine_with_a_configuration_makes_no_scratch_disks_behind_ones_back(tmp_path: Path) -> None:
    """Its failures and counts are the test's; the error says what to do, and that works."""
    async with engine(EngineConfig(latency_s=0.001)) as vddk:
        with pytest.raises(VddkError, match="before it starts"):
            make_disk_sync(tmp_path / "x.vmdk")
        async with vddk.connect() as connection:
            await make_disk(connection, tmp_path / "x.vmdk")


async def test_a_loop_that_is_starting_the_library_is_not_locked_up(tmp_path: Path) -> None:
    """It could not go on while the scratch disk waits for it: an error, and no wait without end."""
    starting = asyncio.ensure_future(Vddk().__aenter__())
    await asyncio.sleep(0)
    with pytest.raises(VddkError, match="started or ended"):
        make_disk_sync(tmp_path / "x.vmdk")
    await (await starting).__aexit__(None, None, None)
