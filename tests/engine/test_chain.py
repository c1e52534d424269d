"""Snapshot chains: read through, write on top."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import READ_ONLY, SECTOR, SINGLE_LINK, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

MIB = 1 << 20
SIZE = 34 * MIB
GRAIN = 65536


def chain(qemu: Qemu, folder: Path, subformat: str = "monolithicSparse") -> Path:
    """Three links; each fills some grains of its own and some of its parent's."""
    qemu.create(folder / "base.vmdk", SIZE, f"subformat={subformat}")
    qemu.write(folder / "base.vmdk", (0, 8 * GRAIN, 1), (33 * MIB, GRAIN, 1))
    qemu.create(folder / "middle.vmdk", SIZE, backing="base.vmdk")
    qemu.write(folder / "middle.vmdk", (2 * GRAIN, 3 * GRAIN, 2), (33 * MIB, 512, 2))
    qemu.create(folder / "top.vmdk", SIZE, backing=folder / "middle.vmdk")
    qemu.write(folder / "top.vmdk", (4 * GRAIN + 1024, 2 * GRAIN, 3))
    return folder / "top.vmdk"


@pytest.mark.parametrize("subformat", ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse"])
def test_a_chain_that_qemu_made_reads_byte_for_byte(subformat: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The uppermost link that has a grain gives it."""
    path = chain(qemu, tmp_path, subformat)
    assert engine.read(path) == qemu.content(path, tmp_path / "raw")


def test_a_part_of_a_grain_is_filled_up_from_the_parents(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A sector written to a new grain leaves its neighbours as they were."""
    path = chain(qemu, tmp_path)
    expected = bytearray(qemu.content(path, tmp_path / "raw"))
    writes = [(1 * GRAIN + 512, 512), (3 * GRAIN + 5 * 512, GRAIN), (33 * MIB - 512, 1024), (20 * MIB, 1024)]
    with engine.open(path) as disk:
        for offset, length in writes:
            disk.write(offset // SECTOR, b"\7" * length)
            expected[offset : offset + length] = b"\7" * length
        assert disk.read(0, SIZE // SECTOR) == expected
    qemu.check(path)
    qemu.same(path, bytes(expected))


def test_info_counts_the_links_and_names_the_parent(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A single link is one link."""
    path = chain(qemu, tmp_path)
    with engine.open(path, READ_ONLY) as disk:
        info = disk.info()
        assert info["links"] == 3
        assert info["parent_hint"] == bytes(tmp_path / "middle.vmdk")
    with engine.open(path, READ_ONLY | SINGLE_LINK) as disk:
        assert disk.info()["links"] == 1
    with engine.open(tmp_path / "base.vmdk", READ_ONLY) as disk:
        assert disk.info()["parent_hint"] is None


def test_a_single_link_shows_its_own_grains_only(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """It opens without its parents; what it does not have reads as zeros and is no allocated area."""
    path = chain(qemu, tmp_path)
    alone = tmp_path / "alone" / "top.vmdk"
    alone.parent.mkdir()
    shutil.copy(path, alone)
    with engine.open(alone, READ_ONLY | SINGLE_LINK) as disk:
        assert disk.allocated() == [(4 * 128, 3 * 128)]
        assert disk.read(4 * 128 + 2, 256) == b"\3" * 2 * GRAIN
        assert not any(disk.read(0, 4 * 128))


def test_allocated_areas_of_a_chain_are_those_of_all_links(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Neighbouring grains of different links are one area."""
    with engine.open(chain(qemu, tmp_path), READ_ONLY) as disk:
        assert disk.allocated() == [(0, 8 * 128), (33 * MIB // SECTOR, 128)]


def test_a_zeroed_grain_hides_the_parent(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """It is unallocated in the chain, but not in the single link, where a hole would mean the parent's data."""
    qemu.create(tmp_path / "base.vmdk", SIZE)
    qemu.write(tmp_path / "base.vmdk", (0, 4 * GRAIN, 1))
    path = qemu.create(tmp_path / "top.vmdk", SIZE, "zeroed_grain=on", backing="base.vmdk")
    qemu._run(qemu.io, "-f", "vmdk", "-c", f"write -z {GRAIN} {GRAIN}", path)
    with engine.open(path) as disk:
        assert disk.read(0, 4 * 128) == b"\1" * GRAIN + bytes(GRAIN) + b"\1" * 2 * GRAIN
        assert disk.allocated() == [(0, 128), (256, 256)]
        disk.write(130, b"\7" * SECTOR)
        assert disk.read(128, 4) == bytes(1024) + b"\7" * SECTOR + bytes(SECTOR)
    with engine.open(path, READ_ONLY | SINGLE_LINK) as disk:
        assert disk.allocated() == [(128, 128)]


def test_a_single_link_of_a_chain_takes_whole_grains_only(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The rest of a grain is in the parent, which is not open: no guess, an error; what was there stays."""
    path = chain(qemu, tmp_path)
    with engine.open(path, SINGLE_LINK) as disk:
        disk.write(10 * 128, b"\7" * GRAIN)
        disk.write(4 * 128 + 5, b"\7" * SECTOR)
        with pytest.raises(EngineError) as caught:
            disk.write(11 * 128, b"\7" * SECTOR)
    assert caught.value.code == 16003
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read(10 * 128, 256) == b"\7" * GRAIN + bytes(GRAIN)


def test_links_may_have_different_grain_sizes(engine: Engine, tmp_path: Path) -> None:
    """Each read is cut at the borders of every link's grains."""
    base = Sparse(sectors=65536, grains={i: i + 1 for i in range(20)})
    base.save(tmp_path / "base.vmdk")
    text = descriptor('RW 65536 SPARSE "top.vmdk"', CID="2", parentCID="12345678", parentFileNameHint='"base.vmdk"')
    overhead = -(-(21 + 2 * (1 + 16 * 4)) // 128) * 128
    top = Sparse(sectors=16 * 65536, grains={}, header={"grain_size": 8, "capacity": 65536}, text=text)
    top.header["overhead"] = top.layout()[2]
    assert top.layout()[2] >= overhead
    path = top.save(tmp_path / "top.vmdk")
    expected = bytearray(base.content())
    with engine.open(path) as disk:
        for sector in (0, 130, 500, 1000, 1001, 2559, 2560, 65535):
            disk.write(sector, b"\xee" * SECTOR)
            expected[sector * SECTOR : (sector + 1) * SECTOR] = b"\xee" * SECTOR
        assert disk.read(0, 65536) == expected
    assert engine.read(path) == expected
    assert engine.read(tmp_path / "base.vmdk") == base.content()


def test_a_parent_that_was_written_to_is_refused(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The first write gives the parent a new content id; opening alone does not."""
    path = chain(qemu, tmp_path)
    with engine.open(tmp_path / "middle.vmdk") as disk:
        disk.read(0, 1)
        disk.flush()
    assert engine.open_error(path) is None
    with engine.open(tmp_path / "middle.vmdk") as disk:
        disk.write(0, bytes(SECTOR))
    error = engine.open_error(path)
    assert error
    assert error.code == 16008
    assert "middle.vmdk" in error.text
    assert "top.vmdk" in error.text


def test_a_chain_of_255_links_opens(engine: Engine, tmp_path: Path) -> None:
    """The deepest that is allowed."""
    for i in range(255):
        keys = {"parentCID": "00000005", "parentFileNameHint": f'"{i + 1}.vmdk"'} if i < 254 else {}
        text = descriptor(f'RW 8192 SPARSE "{i}.vmdk"', CID="00000005", **keys)
        Sparse(text=text, grains={i % 64: i}).save(tmp_path / f"{i}.vmdk")
    with engine.open(tmp_path / "0.vmdk", READ_ONLY) as disk:
        assert disk.info()["links"] == 255
        for grain in range(64):
            assert disk.read(grain * 128, 1) == bytes([grain]) * SECTOR
        assert disk.allocated() == [(0, 8192)]
