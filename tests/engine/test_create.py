"""Creating and deleting disks."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    BUSLOGIC,
    IDE,
    LSILOGIC,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    STREAM_OPTIMIZED,
    VMFS_FLAT,
    VMFS_THIN,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SPLIT = 4192256

FILES = {
    MONOLITHIC_SPARSE: ["d.vmdk"],
    MONOLITHIC_FLAT: ["d-flat.vmdk", "d.vmdk"],
    SPLIT_SPARSE: ["d-s001.vmdk", "d-s002.vmdk", "d.vmdk"],
    SPLIT_FLAT: ["d-f001.vmdk", "d-f002.vmdk", "d.vmdk"],
    VMFS_FLAT: ["d-flat.vmdk", "d.vmdk"],
    VMFS_THIN: ["d-flat.vmdk", "d.vmdk"],
    STREAM_OPTIMIZED: ["d.vmdk"],
}
LINES = {
    MONOLITHIC_FLAT: [f'RW {SPLIT + 8} FLAT "d-flat.vmdk" 0'],
    SPLIT_SPARSE: [f'RW {SPLIT} SPARSE "d-s001.vmdk"', 'RW 8 SPARSE "d-s002.vmdk"'],
    SPLIT_FLAT: [f'RW {SPLIT} FLAT "d-f001.vmdk" 0', 'RW 8 FLAT "d-f002.vmdk" 0'],
    VMFS_FLAT: [f'RW {SPLIT + 8} VMFS "d-flat.vmdk"'],
    VMFS_THIN: [f'RW {SPLIT + 8} VMFS "d-flat.vmdk"'],
}


@pytest.mark.parametrize("disk_type", FILES)
def test_files_are_named_as_vmware_names_them_and_unlink_deletes_all(
    disk_type: int, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Split disks have extents of 2047 MiB; nothing else appears in the folder, nothing stays."""
    path = engine.create(tmp_path / "d.vmdk", SPLIT + 8, disk_type)
    assert names(tmp_path) == FILES[disk_type]
    if disk_type in LINES:
        assert [line for line in path.read_text().splitlines() if line.startswith("RW")] == LINES[disk_type]
    assert qemu.info(path)["virtual-size"] == (SPLIT + 8) * SECTOR
    engine.unlink(path)
    assert names(tmp_path) == []


def test_a_sparse_header_is_laid_out_as_every_reader_expects(engine: Engine, tmp_path: Path) -> None:
    """100 MiB: the same first 80 bytes as of other writers, all tables in place, no grain yet."""
    image = engine.create(tmp_path / "d.vmdk", 204800).read_bytes()
    assert image[:80] == bytes.fromhex(
        "4b444d56010000000300000000200300000000008000000000000000010000000000000014000000"
        "000000000002000015000000000000002600000000000000800000000000000000 0a200d0a000000".replace(" ", "")
    )
    assert len(image) == 65536
    entries = [int.from_bytes(image[s * 512 + 4 * i :][:4], "little") for s in (21, 38) for i in range(4)]
    assert entries == [22, 26, 30, 34, 39, 43, 47, 51]


@pytest.mark.parametrize("disk_type", FILES)
def test_an_existing_file_is_never_touched(disk_type: int, engine: Engine, tmp_path: Path) -> None:
    """Neither the descriptor nor an extent of that name; nothing new stays behind either."""
    for name in FILES[disk_type]:
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(EngineError) as caught:
            engine.create(tmp_path / "d.vmdk", SPLIT + 8, disk_type)
        assert caught.value.code == 12
        assert name in caught.value.text
        assert names(tmp_path) == [name]
        assert (tmp_path / name).read_bytes() == b"mine"
        (tmp_path / name).unlink()


@pytest.mark.parametrize("disk_type", FILES)
def test_progress_rises_to_100_and_cancelling_leaves_nothing(disk_type: int, engine: Engine, tmp_path: Path) -> None:
    """Cancelled at the first call, in the middle or at the end."""
    told: list[int] = []

    def note(percent: int) -> bool:
        told.append(percent)
        return True

    engine.create(tmp_path / "d.vmdk", SPLIT + 8, disk_type, progress=note)
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, 100)
    engine.unlink(tmp_path / "d.vmdk")
    for last in told:
        with pytest.raises(EngineError) as caught:
            engine.create(tmp_path / "d.vmdk", SPLIT + 8, disk_type, progress=last.__gt__)
        assert caught.value.code == 10
        assert names(tmp_path) == []


def test_a_file_size_limit_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    """Any failure on the way deletes what was made."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        for disk_type in (MONOLITHIC_FLAT, SPLIT_FLAT, VMFS_THIN):
            with pytest.raises(EngineError) as caught:
                engine.create(tmp_path / "d.vmdk", SPLIT + 8, disk_type)
            assert caught.value.code == 21
            assert names(tmp_path) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


IMPOSSIBLE = {
    "no sectors": (0, MONOLITHIC_SPARSE, IDE, 3),
    "more than 2^40 sectors": ((1 << 40) + 1, MONOLITHIC_FLAT, IDE, 3),
    "more than 2 TiB in a sparse file": ((1 << 32) + 1, MONOLITHIC_SPARSE, IDE, 21),
    "too many files": (1 << 36, SPLIT_SPARSE, IDE, 21),
    "unknown adapter": (8, MONOLITHIC_SPARSE, 9, 3),
    "more than 64 TiB in a stream": ((1 << 37) + 1, STREAM_OPTIMIZED, IDE, 21),
    "redo log of ESXi": (8, 8, IDE, 6),
    "type 0": (8, 0, IDE, 6),
    "unknown type": (8, 256, IDE, 6),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_disks_are_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """Each with its code and the path; nothing is made."""
    sectors, disk_type, adapter, code = IMPOSSIBLE[case]
    with pytest.raises(EngineError) as caught:
        engine.create(tmp_path / "d.vmdk", sectors, disk_type, adapter=adapter)
    assert caught.value.code == code
    assert "d.vmdk" in caught.value.text
    assert names(tmp_path) == []


def test_a_folder_that_is_missing_is_named(engine: Engine, tmp_path: Path) -> None:
    """The disk's folder is not created."""
    with pytest.raises(EngineError) as caught:
        engine.create(tmp_path / "no" / "d.vmdk", 8)
    assert caught.value.code == 4
    assert str(tmp_path / "no") in caught.value.text


GEOMETRIES = {
    "small IDE": (IDE, 10485760, (10402, 16, 63), "ide"),
    "large IDE": (IDE, 83886080, (16383, 16, 63), "ide"),
    "small SCSI": (BUSLOGIC, 204800, (100, 64, 32), "buslogic"),
    "SCSI of 1 GiB": (LSILOGIC, 2097152, (512, 128, 32), "lsilogic"),
    "large SCSI": (LSILOGIC, 125829120, (7832, 255, 63), "lsilogic"),
}


@pytest.mark.parametrize("case", GEOMETRIES)
def test_geometry_follows_adapter_and_size(case: str, engine: Engine, tmp_path: Path) -> None:
    """As VMware computes it."""
    adapter, sectors, geometry, name = GEOMETRIES[case]
    with engine.open(engine.create(tmp_path / "d.vmdk", sectors, VMFS_THIN, adapter=adapter), READ_ONLY) as disk:
        assert disk.info()["geometry"] == geometry
        assert disk.info()["adapter_type"] == adapter
        assert disk.metadata("adapterType") == name


def test_the_tables_of_2_tib_take_no_space(engine: Engine, tmp_path: Path) -> None:
    """A disk of the largest size for a single sparse file begins with less than a MiB."""
    path = engine.create(tmp_path / "d.vmdk", 1 << 32)
    assert path.stat().st_blocks * 512 < 1 << 20
    with engine.open(path) as disk:
        disk.write((1 << 32) - 1, b"x" * SECTOR)
        assert disk.allocated((1 << 32) - 67108864) == [((1 << 32) - 128, 128)]
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read((1 << 32) - 1, 1) == b"x" * SECTOR


def test_unlink_refuses_files_that_are_not_the_disks_own(engine: Engine, tmp_path: Path) -> None:
    """A descriptor that lists somebody else's file deletes nothing."""
    (tmp_path / "precious.vmdk").write_bytes(bytes(65536))
    for name in ("precious.vmdk", "precious-flat.vmdk"):
        path = flat(tmp_path, descriptor(flat_line(file=name), create_type="monolithicFlat"))
        before = names(tmp_path)
        with pytest.raises(EngineError) as caught:
            engine.unlink(path)
        assert caught.value.code == 22
        assert names(tmp_path) == before


def test_unlink_deletes_one_link_and_leaves_its_parent(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The parent may have other children."""
    qemu.create(tmp_path / "base.vmdk", 1 << 20)
    qemu.create(tmp_path / "top.vmdk", 1 << 20, backing="base.vmdk")
    engine.unlink(tmp_path / "top.vmdk")
    assert names(tmp_path) == ["base.vmdk"]


def test_unlink_refuses_what_is_no_disk(engine: Engine, tmp_path: Path) -> None:
    """A raw file, a missing file."""
    (tmp_path / "d.vmdk").write_bytes(bytes(5000))
    for name, code in (("d.vmdk", 16063), ("nothing.vmdk", 4)):
        with pytest.raises(EngineError) as caught:
            engine.unlink(tmp_path / name)
        assert caught.value.code == code
    assert names(tmp_path) == ["d.vmdk"]


def test_unlink_goes_on_when_an_extent_is_gone_already(engine: Engine, tmp_path: Path) -> None:
    """A deletion that was interrupted can be ended."""
    path = engine.create(tmp_path / "d.vmdk", SPLIT + 8, SPLIT_SPARSE)
    (tmp_path / "d-s001.vmdk").unlink()
    engine.unlink(path)
    assert names(tmp_path) == []


def test_a_damaged_disk_can_be_deleted(engine: Engine, tmp_path: Path) -> None:
    """Its tables do not matter."""
    path = Sparse(rgt_entries={5: 256}).save(tmp_path / "d.vmdk")
    engine.unlink(path)
    assert names(tmp_path) == []
