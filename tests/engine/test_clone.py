"""Copies of disks: any chain into any type, complete or not there at all."""

from __future__ import annotations

import random
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.craft_esx import Cowd, SeSparse, Stream
from tests.engine.driver import (
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
    CreateParams,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 65536 + 128 * 9 + 3  # two tables; the last grain is a fraction
TYPES = {
    "sparse": MONOLITHIC_SPARSE,
    "flat": MONOLITHIC_FLAT,
    "split sparse": SPLIT_SPARSE,
    "split flat": SPLIT_FLAT,
    "vmfs": VMFS_FLAT,
    "stream": STREAM_OPTIMIZED,
    "thin": VMFS_THIN,
}
UNKNOWN = 256


def fill(engine: Engine, path: Path) -> bytearray:
    """Write some grains, whole and in parts, zeros among them, in order; return the content."""
    choose = random.Random(1)
    with engine.open(path) as disk:
        content = bytearray(disk.capacity * SECTOR)
        for start, count in ((0, 1), (5, 300), (6000, 2), (8192, 128), (65536 - 200, 1000), (SECTORS - 1, 1)):
            data = bytes(count * SECTOR) if start == 8192 else choose.randbytes(count * SECTOR)
            disk.write(start, data)
            content[start * SECTOR : (start + count) * SECTOR] = data
    return content


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("source", ["sparse", "split flat", "stream", "thin"])
def test_any_type_becomes_any_type(source: str, to: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Byte for byte, for us and for QEMU; the source stays as it is."""
    content = fill(engine, engine.create(tmp_path / "source.vmdk", SECTORS, TYPES[source]))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    path = engine.clone(tmp_path / "clone.vmdk", tmp_path / "source.vmdk", TYPES[to])
    assert engine.read(path) == content
    qemu.same(path, bytes(content))
    engine.unlink(path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_is_only_read_can_be_cloned_too(engine: Engine, tmp_path: Path) -> None:
    """Redo logs of ESXi on top of a parent, and streams of other programs."""
    base = Sparse(sectors=65536, grains={0: 0xAA, 3: 0xBB}).save(tmp_path / "base.vmdk")
    keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"', "CID": "00000002"}
    sources: dict[str, Cowd | SeSparse] = {"cowd": Cowd(sectors=65536, grain_size=8), "sesparse": SeSparse()}
    for name, redo_log in sources.items():
        (tmp_path / f"{name}-delta.vmdk").write_bytes(redo_log.build())
        word = "VMFSSPARSE" if name == "cowd" else "SESPARSE"
        create_type = "vmfsSparse" if name == "cowd" else "seSparse"
        text = descriptor(f'RW 65536 {word} "{name}-delta.vmdk"', create_type=create_type, **keys)
        (tmp_path / f"{name}.vmdk").write_text(text)
    (tmp_path / "stream.vmdk").write_bytes(Stream().build())
    for name in (*sources, "stream"):
        clone = engine.clone(tmp_path / "clone.vmdk", tmp_path / f"{name}.vmdk", UNKNOWN, overwrite=True)
        assert engine.read(clone) == engine.read(tmp_path / f"{name}.vmdk")
        with engine.open(clone, READ_ONLY) as disk:
            assert disk.info()["links"] == 1
    assert base.exists()


def test_a_chain_becomes_one_disk(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """What each link covers of its parents; without its last snapshot the chain is still there."""
    content = fill(engine, engine.create(tmp_path / "base.vmdk", SECTORS))
    qemu.create(tmp_path / "top.vmdk", SECTORS * SECTOR, backing="base.vmdk")
    with engine.open(tmp_path / "top.vmdk") as disk:
        disk.write(100, b"x" * 100 * SECTOR)
    content[100 * SECTOR : 200 * SECTOR] = b"x" * 100 * SECTOR
    path = engine.clone(tmp_path / "clone.vmdk", tmp_path / "top.vmdk", SPLIT_SPARSE)
    assert engine.read(path) == content
    with engine.open(path, READ_ONLY) as disk:
        assert (disk.info()["links"], disk.info()["parent_hint"]) == (1, None)


@pytest.mark.parametrize("to", ["sparse", "thin", "stream"])
def test_clones_take_no_space_for_zeros(to: str, engine: Engine, tmp_path: Path) -> None:
    """Neither for what was never written nor for grains that hold zeros."""
    source = engine.create(tmp_path / "source.vmdk", 1 << 24)
    with engine.open(source) as disk:
        disk.write(1 << 20, bytes(4096 * SECTOR))
        disk.write(1 << 23, b"x" * 128 * SECTOR)
    path = engine.clone(tmp_path / "clone.vmdk", source, TYPES[to])
    with engine.open(path, READ_ONLY) as disk:
        assert disk.allocated() == [(1 << 23, 128)]
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.glob("clone*")) < 1 << 20


def test_the_database_comes_along_and_the_identity_does_not(engine: Engine, tmp_path: Path) -> None:
    """Keys of the whole chain; a new CID and uuid, no parent; version and adapter as asked for, or as before."""
    source = engine.create(tmp_path / "source.vmdk", SECTORS, VMFS_THIN, adapter=IDE)
    with engine.open(source) as disk:
        disk.set_metadata("toolsVersion", "12345")
        disk.set_metadata("geometry.biosHeads", "7")
        disk.set_metadata("logicalSectorSize", "4096")
        theirs = {key: disk.metadata(key) for key in disk.metadata_keys()}
    for adapter, expected in ((0, "ide"), (UNKNOWN, "ide"), (IDE, "ide"), (LSILOGIC, "lsilogic")):
        path = engine.clone(tmp_path / f"clone{adapter}.vmdk", source, CreateParams(UNKNOWN, adapter))
        with engine.open(path, READ_ONLY) as disk:
            ours = {key: disk.metadata(key) for key in disk.metadata_keys()}
            assert disk.capacity == SECTORS
        assert ours["adapterType"] == expected
        assert (ours["toolsVersion"], ours["logicalSectorSize"]) == ("12345", "4096")
        assert (ours["thinProvisioned"], ours["virtualHWVersion"]) == ("1", "13")
        assert ours["uuid"] != theirs["uuid"]
        assert ours["longContentID"] != theirs["longContentID"]
        same = {key for key in theirs if key.startswith("geometry.") and ours.get(key) == theirs[key]}
        assert ("geometry.biosHeads" in same) == (expected == "ide")
        assert "parentCID=ffffffff" in path.read_text()
        assert f"CID={ours['longContentID'][-8:]}" in path.read_text()


@pytest.mark.parametrize("to", TYPES)
def test_progress_rises_to_100_and_cancelling_leaves_nothing(to: str, engine: Engine, tmp_path: Path) -> None:
    """Cancelled at every call, each time with nothing new in the folder."""
    source = engine.create(tmp_path / "source.vmdk", SECTORS, MONOLITHIC_FLAT)
    fill(engine, source)
    before = names(tmp_path)
    told: list[int] = []

    def note(percent: int) -> bool:
        told.append(percent)
        return True

    engine.clone(tmp_path / "clone.vmdk", source, TYPES[to], progress=note)
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, 100)
    assert len(told) > 2
    engine.unlink(tmp_path / "clone.vmdk")
    for last in told:
        with pytest.raises(EngineError) as caught:
            engine.clone(tmp_path / "clone.vmdk", source, TYPES[to], progress=last.__gt__)
        assert caught.value.code == 10
        assert names(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    """Any failure on the way deletes what was made."""
    source = engine.create(tmp_path / "source.vmdk", 65536, MONOLITHIC_FLAT)
    with engine.open(source) as disk:
        for start in range(0, 65536, 4096):
            disk.write(start, random.Random(start).randbytes(4096 * SECTOR))
    before = names(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, limits[1]))
    try:
        for disk_type in TYPES.values():
            with pytest.raises(EngineError) as caught:
                engine.clone(tmp_path / "clone.vmdk", source, disk_type)
            assert caught.value.code == 21
            assert names(tmp_path) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert engine.read(engine.clone(tmp_path / "clone.vmdk", source)) == engine.read(source)


def test_a_database_that_is_too_large_for_the_type_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    """A file that is descriptor and extent in one has room for 10 KiB of it."""
    source = engine.create(tmp_path / "source.vmdk", 8192, MONOLITHIC_FLAT)
    with engine.open(source) as disk:
        for number in range(12):
            disk.set_metadata(f"long{number}", "x" * 1000)
    before = names(tmp_path)
    for disk_type in (MONOLITHIC_SPARSE, STREAM_OPTIMIZED):
        with pytest.raises(EngineError) as caught:
            engine.clone(tmp_path / "clone.vmdk", source, disk_type)
        assert caught.value.code == 44
        assert names(tmp_path) == before
    clone = engine.clone(tmp_path / "clone.vmdk", source, SPLIT_SPARSE)
    with engine.open(clone, READ_ONLY) as disk:
        assert disk.metadata("long11") == "x" * 1000


def test_a_missing_source_or_folder_is_named(engine: Engine, tmp_path: Path) -> None:
    """Nothing is made."""
    engine.create(tmp_path / "source.vmdk", 8)
    for to, source, place in (("clone", "no", "no.vmdk"), ("no/clone", "source", "no")):
        with pytest.raises(EngineError) as caught:
            engine.clone(tmp_path / f"{to}.vmdk", tmp_path / f"{source}.vmdk")
        assert caught.value.code == 4
        assert str(tmp_path / place) in caught.value.text
    assert names(tmp_path) == ["source.vmdk"]
