"""The way back, through real disks: what was backed up is what is restored, whatever it goes to."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncvddk import CreateParams, DiskType, Vddk
from asyncvddk.backup import (
    DiskTarget,
    RawImage,
    RawTarget,
    StreamTarget,
    VmdkTarget,
    backup,
    compare,
    find_disks,
    restore,
)
from asyncvddk.models import Block
from asyncvddk.repository import DamagedError, Repository
from tests.backup.fakes import MemoryDisk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncvddk.backup import RestoreProgress
    from asyncvddk.repository import SnapshotDisk

CHANCE = random.Random(3)
SIZE = 24 << 20
PASSWORD = "correct horse"  # noqa: S105  (opens nothing else)
NO_QEMU = not os.environ.get("CI") and shutil.which("qemu-img") is None


def image(path: Path, size: int = SIZE) -> bytes:
    """Make a raw image with some data between holes; return its bytes."""
    data = bytearray(size)
    for start in (start for start in (0, 3 << 20, (11 << 20) + 512, size - 700) if start < size):
        length = min(700_000, size - start)
        data[start : start + length] = CHANCE.randbytes(length)
    with path.open("wb") as file:
        file.truncate(size)
        for start in range(0, size, 4096):
            if any(page := data[start : start + 4096]):
                file.seek(start)
                file.write(page)
    return bytes(data)


async def qemu_img(folder: Path, *arguments: str) -> bytes:
    """Run qemu-img in a folder; return what it says."""
    done = await anyio.run_process(["qemu-img", *arguments], cwd=folder)
    return done.stdout


@asynccontextmanager
async def backed_up(folder: Path, name: str) -> AsyncIterator[tuple[Vddk, Repository, SnapshotDisk]]:
    """Back up the disk ``name``, and open it in its snapshot."""
    await Repository.init(folder / "repository", password=PASSWORD, chunk_size=1 << 18)
    async with Vddk() as vddk, Repository.open(folder / "repository", password=PASSWORD, cache="") as repository:
        [disk] = find_disks(vddk, [folder / name])
        snapshot = await backup(repository, [disk], source="here")
        async with await repository.open_disk(snapshot, disk.key) as stored:
            yield vddk, repository, stored


async def test_a_raw_image_comes_back_sparse_and_bit_for_bit(tmp_path: Path) -> None:
    """Its holes are neither read nor written."""
    data = image(tmp_path / "a.img", SIZE + 333)
    async with backed_up(tmp_path, "a.img") as (_, _, disk), RawTarget(tmp_path / "b.img", disk.size) as target:
        result = await restore(disk, target)
    assert (tmp_path / "b.img").read_bytes() == data
    assert (tmp_path / "b.img").stat().st_blocks * 512 < SIZE // 2
    assert result.bytes_read < SIZE // 2


@pytest.mark.skipif(NO_QEMU, reason="qemu-img is missing")
async def test_a_vmdk_of_qemu_img_comes_back_as_a_vmdk(tmp_path: Path) -> None:
    """qemu-img finds the two identical; so do we."""
    image(tmp_path / "a.img")
    await qemu_img(tmp_path, "convert", "-O", "vmdk", "a.img", "a.vmdk")
    async with backed_up(tmp_path, "a.vmdk") as (vddk, _, disk):
        async with VmdkTarget(vddk, tmp_path / "b.vmdk", CreateParams(size=disk.size)) as target:
            await restore(disk, target)
        async with vddk.open_disk(str(tmp_path / "b.vmdk")) as back:
            assert await compare(disk, back) == []
    assert b"identical" in await qemu_img(tmp_path, "compare", "a.img", "b.vmdk")


async def test_a_stream_optimized_disk_is_written_from_front_to_back(tmp_path: Path) -> None:
    """Also if its first data come last, and holes lie in between that are larger than what the engine holds back."""
    data = bytearray(400 << 20)
    places = [0, 100 << 20, 200 << 20, 300 << 20]
    for place in places:
        data[place : place + 65536] = CHANCE.randbytes(65536)
    others = set(places[1:])
    all_others = asyncio.Event()

    async def wait(block: Block) -> None:
        others.discard(block.offset)
        if not others:
            all_others.set()
        if not block.offset:
            await all_others.wait()

    disk = MemoryDisk(data, allocated=[Block(place, 65536) for place in places], before_read=wait)
    params = CreateParams(size=disk.size, disk_type=DiskType.STREAM_OPTIMIZED)
    async with Vddk() as vddk:
        async with VmdkTarget(vddk, tmp_path / "s.vmdk", params) as target:
            await restore(disk, target)
        async with vddk.open_disk(str(tmp_path / "s.vmdk")) as back:
            assert await compare(MemoryDisk(data), back) == []


async def test_an_existing_disk_gets_only_what_differs_and_zeros_too(tmp_path: Path) -> None:
    """A disk that went on since the backup is brought back; a piece that is as it was is not written."""
    image(tmp_path / "a.img")
    async with backed_up(tmp_path, "a.img") as (vddk, _, disk):
        async with vddk.connect() as connection:
            await connection.create(str(tmp_path / "c.vmdk"), CreateParams(size=disk.size))
        async with vddk.open_disk(str(tmp_path / "c.vmdk"), read_only=False) as existing:
            await restore(disk, DiskTarget(existing))
            await existing.write_at(20 << 20, b"this was zero")
            assert await compare(disk, existing) == [Block(20 << 20, 512)]
            result = await restore(disk, DiskTarget(existing, only_different=True))
            assert result.bytes_written == 4 << 20
            assert await compare(disk, existing) == []


async def test_a_disk_that_is_too_small_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """Nothing of it changes."""
    async with Vddk() as vddk:
        async with vddk.connect() as connection:
            await connection.create(str(tmp_path / "c.vmdk"), CreateParams(size=1 << 20))
        async with vddk.open_disk(str(tmp_path / "c.vmdk"), read_only=False) as existing:
            with pytest.raises(ValueError, match="do not fit on a disk of 1048576 bytes"):
                await restore(MemoryDisk(bytearray(b"1" * (2 << 20))), DiskTarget(existing))
            assert [block async for block in existing.allocated_blocks()] == []


async def test_a_stream_gets_a_range_in_order(tmp_path: Path) -> None:
    """Any offset and length, zeros included."""
    data = image(tmp_path / "a.img")
    start, length = (3 << 20) - 5, (9 << 20) + 77
    async with backed_up(tmp_path, "a.img") as (_, _, disk):
        with (tmp_path / "out").open("wb") as out:
            result = await restore(disk, StreamTarget(out.fileno()), start=start, length=length)
        for bad in ((-1, 5), (0, disk.size + 1), (disk.size, 1)):
            with pytest.raises(ValueError, match="outside a disk"):
                await restore(disk, StreamTarget(-1), start=bad[0], length=bad[1])
    assert (tmp_path / "out").read_bytes() == data[start : start + length]
    assert result.bytes_written == length


async def test_a_damaged_chunk_fails_the_restore_and_leaves_no_file(tmp_path: Path) -> None:
    """The error names the object; a half-written image never appears under its name."""
    image(tmp_path / "a.img")
    async with backed_up(tmp_path, "a.img") as (_, _, disk):
        for chunk in (tmp_path / "repository" / "chunks").rglob("*"):
            if chunk.is_file():
                chunk.chmod(0o600)
                stored = bytearray(chunk.read_bytes())
                stored[len(stored) // 2] ^= 1
                chunk.write_bytes(stored)
        with pytest.raises(DamagedError, match="chunks/"):
            async with RawTarget(tmp_path / "b.img", disk.size) as target:
                await restore(disk, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.img", "repository"]


async def test_a_cancelled_restore_leaves_no_file(tmp_path: Path) -> None:
    """Reads under way are waited for."""
    reached = asyncio.Event()

    async def stop(_: Block) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with RawTarget(tmp_path / "b.img", 1 << 20) as target:
            await restore(MemoryDisk(bytearray(1 << 20), before_read=stop), target)

    task = asyncio.create_task(run())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_progress_of_a_restore_never_runs_ahead(tmp_path: Path) -> None:
    """The first piece ends last: until then only what lies in front of it is done, holes included."""
    data = bytearray(28 << 20)
    first, others = 5 << 20, [(13 << 20), (17 << 20), (25 << 20)]
    for place in (first, *others):
        data[place] = 1
    late = asyncio.Event()
    told: list[tuple[int, int]] = []

    async def wait(block: Block) -> None:
        if block.offset == first:
            await late.wait()

    def tell(progress: RestoreProgress) -> None:
        told.append((progress.bytes_done, progress.bytes_read))
        if len(told) == len(others):
            late.set()

    disk = MemoryDisk(data, allocated=[Block(place, 4096) for place in (first, *others)], before_read=wait)
    async with RawTarget(tmp_path / "b.img", disk.size) as target:
        await restore(disk, target, progress=tell)
    assert told[:3] == [(first, 4096), (first, 8192), (first, 12288)]
    assert told[3:] == [(others[-1] + 4096, 16384), (disk.size, 16384)]
    assert (tmp_path / "b.img").read_bytes() == data


async def test_two_disks_differ_where_they_do() -> None:
    """In whole sectors, neighbours as one, across pieces; disks of two sizes are not compared."""
    data = bytearray(CHANCE.randbytes((9 << 20) + 100))
    other = bytearray(data)
    other[(4 << 20) - 1] ^= 1
    other[4 << 20] ^= 1
    other[-1] ^= 1
    one, two = MemoryDisk(data), MemoryDisk(other)
    assert await compare(one, two) == [Block((4 << 20) - 512, 1024), Block(9 << 20, 100)]
    assert await compare(one, MemoryDisk(data)) == []
    with pytest.raises(ValueError, match="not the same disk"):
        await compare(one, MemoryDisk(bytearray(5)))


async def test_a_comparison_stops_where_it_is_asked_to_and_tells_how_far_it_is() -> None:
    """After so many ranges; progress ends with all bytes, of which the holes of both were not read."""
    data = bytearray(9 << 20)
    data[0] = data[5 << 20] = 1
    told: list[tuple[int, int, int]] = []
    one, two = MemoryDisk(data), MemoryDisk(bytearray(9 << 20))
    for most, found in ((1, [Block(0, 512)]), (2, [Block(0, 512), Block(5 << 20, 512)])):
        assert await compare(one, two, most=most) == found
    assert await compare(one, one, progress=lambda at: told.append((at.size, at.bytes_done, at.bytes_read))) == []
    assert told[:2] == [(9 << 20, 4 << 20, 4 << 20), (9 << 20, 8 << 20, 8 << 20)]
    assert told[2:] == [(9 << 20, 9 << 20, 9 << 20)] * 2
    with pytest.raises(ValueError, match="most=0"):
        await compare(one, two, most=0)


async def test_a_comparison_reads_ahead_and_answers_in_order() -> None:
    """The first piece comes last; four are under way, not more."""
    data = bytearray(CHANCE.randbytes(40 << 20))
    other = bytearray(data)
    for place in range(0, len(other), 4 << 20):
        other[place] ^= 1
    started: list[int] = []
    four = asyncio.Event()

    async def later(block: Block) -> None:
        started.append(block.offset)
        if len(started) == 4:
            four.set()
        await four.wait()
        if not block.offset:
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(started) == 4

    found = await compare(MemoryDisk(data, before_read=later), MemoryDisk(other))
    assert found == [Block(place, 512) for place in range(0, len(other), 4 << 20)]
    assert started == sorted(started)


@pytest.mark.parametrize("how", ["error", "task", "scope", "most"])
async def test_a_comparison_that_ends_early_leaves_no_read(how: str) -> None:
    """After an error, cancelled, or with all it was asked for."""
    data = bytearray(CHANCE.randbytes(40 << 20))
    under_way: set[int] = set()
    reached = asyncio.Event()

    async def read(block: Block) -> None:
        if how == "most" and not block.offset:
            return
        under_way.add(block.offset)
        if len(under_way) == 3:
            reached.set()
        try:
            if how == "error" and not block.offset:
                await reached.wait()
                raise OSError("broken")
            await asyncio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0)
            under_way.discard(block.offset)

    other = bytearray(data)
    other[5] ^= 1
    one, two = MemoryDisk(data, before_read=read), MemoryDisk(other)
    if how == "most":
        assert await compare(one, two, most=1) == [Block(0, 512)]
    elif how == "error":
        with pytest.raises(OSError, match="broken"):
            await compare(one, two)
    elif how == "task":
        task = asyncio.create_task(compare(one, two))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(compare, one, two)
            await reached.wait()
            tasks.cancel_scope.cancel()
    assert under_way == set()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_folder_is_searched_for_disks(tmp_path: Path) -> None:
    """Extents and hidden files are none; a file is what it begins with; a missing one is told when it is opened."""
    async with Vddk() as vddk:
        image(tmp_path / "raw.img", 1 << 20)
        async with vddk.connect() as connection:
            await connection.create(str(tmp_path / "flat.vmdk"), CreateParams(size=1 << 20))
        shutil.copy(tmp_path / "raw.img", tmp_path / ".hidden.img")
        (tmp_path / "notes.txt").write_text("no disk")
        found = find_disks(vddk, [tmp_path])
        assert [disk.name for disk in found] == ["flat.vmdk", "raw.img"]
        for disk in found:
            async with disk.opened() as opened:
                assert opened.size == 1 << 20
        [missing] = find_disks(vddk, [tmp_path / "gone.vmdk"])
        with pytest.raises(FileNotFoundError, match=r"gone\.vmdk"):
            async with missing.opened():
                pass
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match=r"no disk .* in this folder"):
            find_disks(vddk, [tmp_path / "empty"])


async def test_an_image_whose_opening_is_cancelled_is_closed(tmp_path: Path) -> None:
    """The thread opens it nevertheless."""
    image(tmp_path / "a.img", 1 << 20)
    disk = RawImage(tmp_path / "a.img")
    with anyio.move_on_after(0) as scope:
        async with disk:
            pytest.fail("must not be entered")
    assert scope.cancelled_caught
    assert disk._fd == -1


async def test_what_is_no_image_is_refused_with_its_name(tmp_path: Path) -> None:
    """A folder, a pipe, an empty file; a file that is cut while it is read; reads outside of it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name in (".", "pipe", "empty", "gone"):
        with pytest.raises(OSError, match=str(tmp_path)):
            async with RawImage(tmp_path / name):
                pass
    (tmp_path / "a.img").write_bytes(b"1" * 5000)
    async with RawImage(tmp_path / "a.img") as disk:
        assert await disk.read_at(4999, 1) == b"1"
        with pytest.raises(ValueError, match="outside a disk of 5000 bytes"):
            await disk.read_at(4999, 2)
        os.truncate(tmp_path / "a.img", 100)
        with pytest.raises(OSError, match="ends at byte 100"):
            await disk.read_at(0, 5000)
