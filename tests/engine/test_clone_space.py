"""SpaceNeededForClone against the clones that are made then."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    STREAM_OPTIMIZED,
    VMFS_FLAT,
    VMFS_THIN,
    CreateParams,
    EngineError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SPLIT = 4192256
UNKNOWN = 256
EXACT = (MONOLITHIC_SPARSE, MONOLITHIC_FLAT, SPLIT_SPARSE, SPLIT_FLAT, VMFS_FLAT, VMFS_THIN)


@pytest.fixture(params=["sparse", "chain", "thin"])
def source(request: pytest.FixtureRequest, engine: Engine, qemu: Qemu, tmp_path: Path) -> Path:
    """Make a disk of two split extents with data, grains of zeros, and an end that is no whole grain."""
    sectors = SPLIT + 300
    path = tmp_path / "d.vmdk"
    engine.create(path, sectors, VMFS_THIN if request.param == "thin" else MONOLITHIC_SPARSE)
    with engine.open(path) as disk:
        disk.set_metadata("toolsVersion", "2147483647")
        for start, count in ((0, 1), (100, 300), (SPLIT - 5, 200), (sectors - 1, 1)):
            disk.write(start, random.Random(start).randbytes(count * SECTOR))
        disk.write(70000, bytes(1000 * SECTOR))
    if request.param == "chain":
        path = qemu.create(tmp_path / "e.vmdk", sectors * SECTOR, backing="d.vmdk")
        with engine.open(path) as disk:
            disk.write(90000, b"x" * 10 * SECTOR)
            disk.write(0, bytes(128 * SECTOR))
    return path


def size_of(path: Path) -> int:
    """Return the bytes of all files of a disk in a folder of its own."""
    return sum(file.stat().st_size for file in path.parent.iterdir())


@pytest.mark.parametrize("disk_type", EXACT)
def test_the_answer_is_the_size_of_the_clones_files(
    disk_type: int, source: Path, engine: Engine, tmp_path: Path
) -> None:
    """To the byte, for a clone whose name is as long as that of the source."""
    (tmp_path / "to").mkdir()
    with engine.open(source, READ_ONLY) as disk:
        needed = disk.space_for_clone(disk_type)
        adapter = disk.info()["adapter_type"]
    path = tmp_path / "to" / "f.vmdk"
    engine.clone(path, source, CreateParams(disk_type, adapter))
    assert needed == size_of(path)
    engine.unlink(path)  # flat ones take 2 GiB


def test_a_stream_never_takes_more_than_the_answer(engine: Engine, tmp_path: Path) -> None:
    """Data that cannot be compressed comes within a hundredth of it; an empty disk hits it."""
    (tmp_path / "to").mkdir()
    source, path = engine.create(tmp_path / "d.vmdk", 3 * 65536), tmp_path / "to" / "d.vmdk"
    for start, count in ((0, 0), (65536 - 1280, 2560)):
        with engine.open(source) as disk:
            disk.write(start, random.Random(1).randbytes(count * SECTOR))
        with engine.open(source, READ_ONLY) as disk:
            needed = disk.space_for_clone(STREAM_OPTIMIZED)
        engine.clone(path, source, STREAM_OPTIMIZED, overwrite=True)
        assert needed * (0.99 if count else 1) <= size_of(path) <= needed


def test_unknown_means_the_type_of_the_source(engine: Engine, tmp_path: Path) -> None:
    """As a clone of that type."""
    for disk_type in (*EXACT, STREAM_OPTIMIZED):
        path = engine.create(tmp_path / f"{disk_type}.vmdk", 8192, disk_type)
        with engine.open(path, READ_ONLY) as disk:
            assert disk.space_for_clone(UNKNOWN) == disk.space_for_clone(disk_type)


def test_types_that_cannot_be_made_have_no_answer(engine: Engine, tmp_path: Path) -> None:
    """Redo logs of ESXi, and numbers that are no type."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    with engine.open(path, READ_ONLY) as disk:
        for disk_type in (0, 8, 9, 255):
            with pytest.raises(EngineError) as caught:
                disk.space_for_clone(disk_type)
            assert caught.value.code == 6
