"""Targets are complete under their name, or not there at all; real files, real engine."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest

from asyncvddk import CreateParams, DiskType, Vddk
from asyncvddk.copy import RawTarget, VmdkTarget
from asyncvddk.native import _core
from asyncvddk.threads._worker import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.qemu import Qemu

SIZE = 4 << 20
GRAIN = 65536


def data(length: int, fill: int = 7) -> memoryview:
    """Return ``length`` bytes to write."""
    return memoryview(bytearray([fill]) * length)


def status(path: Path) -> os.stat_result:
    """Return what the system says of a file."""
    return path.stat()


def names(folder: Path) -> list[str]:
    """Return all names in ``folder``, hidden ones too."""
    return sorted(file.name for file in folder.iterdir())


async def test_raw_target_writes_what_is_not_zero(tmp_path: Path) -> None:
    """Zeros take no space and are not counted."""
    chunk = memoryview(bytearray(4096) + b"x" * 4096 + bytearray(8192))
    async with RawTarget(tmp_path / "a.raw", SIZE) as target:
        assert await target.write(1 << 20, chunk) == 4096
        assert await target.write(0, memoryview(bytearray(GRAIN))) == 0
    path = tmp_path / "a.raw"
    assert path.read_bytes() == bytes((1 << 20) + 4096) + b"x" * 4096 + bytes(SIZE - (1 << 20) - 8192)
    assert status(path).st_blocks * 512 < SIZE // 8


async def test_full_disk_is_an_error_that_names_the_target(tmp_path: Path) -> None:
    """/dev/full in the place of the file answers as a full disk does."""
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left on device") as caught:  # noqa: PT012  (the block is the subject)
        async with RawTarget(tmp_path / "a.raw", SIZE) as target:
            os.dup2(full, target._file.fd)
            await target.write(0, data(4096))
    os.close(full)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "a.raw")
    assert names(tmp_path) == []


async def test_threads_write_to_a_raw_target_at_once(tmp_path: Path) -> None:
    """Without the event loop; what is zero is left out, and errors name the target."""
    async with RawTarget(tmp_path / "a.raw", SIZE) as target:
        places = range(0, SIZE, 1 << 20)
        calls = (asyncio.to_thread(target.put, place, data(4096, place >> 20)) for place in places)
        assert await asyncio.gather(*calls) == [0, 4096, 4096, 4096]
    for place in places:
        assert (tmp_path / "a.raw").read_bytes()[place : place + 4096] == data(4096, place >> 20)
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=r"No space left on device.*b\.raw"):  # noqa: PT012  (the block is the subject)
        async with RawTarget(tmp_path / "b.raw", SIZE) as target:
            os.dup2(full, target._file.fd)
            target.put(0, data(4096))
    os.close(full)


async def test_sync_reaches_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it has its name, the folder afterwards."""
    synced = record_syncs(monkeypatch)
    async with RawTarget(tmp_path / "a.raw", SIZE, sync=True):
        pass
    assert synced == [status(tmp_path / "a.raw").st_ino, status(tmp_path).st_ino]


def record_syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the inode of whatever is brought to storage."""
    synced: list[int] = []
    real = Worker.call

    async def call(worker: Worker, function: int, *args: int, keep: object = None) -> int:
        if function == _core.SYNC:
            synced.append(os.fstat(args[0]).st_ino)
        return await real(worker, function, *args, keep=keep)

    monkeypatch.setattr(Worker, "call", call)
    return synced


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        (DiskType.MONOLITHIC_SPARSE, ["a.vmdk"]),
        (DiskType.MONOLITHIC_FLAT, ["a-flat.vmdk", "a.vmdk"]),
        (DiskType.VMFS_FLAT, ["a-flat.vmdk", "a.vmdk"]),
    ],
)
async def test_vmdk_target_is_a_disk_that_qemu_reads(
    vddk: Vddk, tmp_path: Path, qemu: Qemu, kind: DiskType, files: list[str]
) -> None:
    """Of each kind, with all its files and nothing else."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "a.vmdk"
    chunk = memoryview(bytearray(GRAIN) + b"x" * 3 * GRAIN + bytearray(GRAIN) + b"y" * 512)
    async with VmdkTarget(vddk, path, CreateParams(size=SIZE, disk_type=kind)) as target:
        written = await target.write(2 * GRAIN, chunk)
    assert written == 3 * GRAIN + 512
    assert names(tmp_path / "out") == files
    content = bytes(2 * GRAIN) + chunk.tobytes()
    assert qemu.content(path, tmp_path / "a.raw") == content + bytes(SIZE - len(content))


@pytest.mark.parametrize("kind", ["raw", "vmdk"])
async def test_target_of_a_failed_block_is_gone(vddk: Vddk, tmp_path: Path, kind: str) -> None:
    """An exception, or a cancellation, in the middle leaves no name behind."""
    path = tmp_path / "a"
    params = CreateParams(size=SIZE, disk_type=DiskType.MONOLITHIC_FLAT)
    for error in (RuntimeError, asyncio.CancelledError):
        target = RawTarget(path, SIZE) if kind == "raw" else VmdkTarget(vddk, path, params)
        with pytest.raises(error):  # noqa: PT012  (the block is the subject)
            async with target:
                await target.write(0, data(GRAIN))
                raise error
        assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["raw", "vmdk"])
async def test_overwritten_target_is_replaced_only_by_a_complete_one(vddk: Vddk, tmp_path: Path, kind: str) -> None:
    """Until then, and after a failure, the old file is whole."""
    path = tmp_path / "a.vmdk"
    path.write_text("old")
    params = CreateParams(size=SIZE)

    def make(*, overwrite: bool) -> RawTarget | VmdkTarget:
        if kind == "raw":
            return RawTarget(path, SIZE, overwrite=overwrite)
        return VmdkTarget(vddk, path, params, overwrite=overwrite)

    with pytest.raises(FileExistsError):
        await make(overwrite=False).__aenter__()
    with pytest.raises(RuntimeError):
        async with make(overwrite=True):
            raise RuntimeError
    assert path.read_text() == "old"
    async with make(overwrite=True):
        pass
    assert status(path).st_size > 3
    assert names(tmp_path) == ["a.vmdk"]


async def test_errors_of_a_vmdk_target_name_its_place(vddk: Vddk, tmp_path: Path) -> None:
    """Not the hidden folder in which it is made."""
    path = tmp_path / "a.vmdk"
    params = CreateParams(size=SIZE, disk_type=DiskType.VMFS_SPARSE)
    with pytest.raises(Exception, match=r"a\.vmdk") as caught:
        await VmdkTarget(vddk, path, params).__aenter__()
    assert ".part" not in str(caught.value)
    assert names(tmp_path) == []
