"""Rename: all files of a disk get new names, or none does."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    VMFS_THIN,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SPLIT = 4192256
SECTORS = SPLIT + 8
TYPES = {
    "sparse": (MONOLITHIC_SPARSE, []),
    "flat": (MONOLITHIC_FLAT, ["-flat"]),
    "split sparse": (SPLIT_SPARSE, ["-s001", "-s002"]),
    "split flat": (SPLIT_FLAT, ["-f001", "-f002"]),
    "thin": (VMFS_THIN, ["-flat"]),
}
TARGETS = ["b.vmdk", "other folder/b.vmdk", "Größe 2, Kopie.vmdk", "b-000001.vmdk", "plain"]


def filled(engine: Engine, path: Path, disk_type: int, sectors: int = SECTORS) -> Path:
    """Create a disk with data at both ends."""
    engine.create(path, sectors, disk_type)
    with engine.open(path) as disk:
        disk.write(0, b"\x01" * SECTOR)
        disk.write(sectors - 1, b"\x02" * SECTOR)
    return path


def refused(engine: Engine, source: Path, to: Path) -> EngineError:
    """Rename, which must fail and leave everything as it was."""

    def state() -> dict[Path, bytes]:
        files = {file for folder in (source.parent, to.parent) for file in folder.iterdir()}
        return {file: file.read_bytes() if file.is_file() else b"" for file in files}

    before = state()
    with pytest.raises(EngineError) as caught:
        engine.rename(source, to)
    assert state() == before
    return caught.value


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", TYPES)
def test_a_disk_is_whole_under_its_new_name_and_gone_under_the_old(
    name: str, target: str, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Descriptor, extents, and the names in it; QEMU finds them, too; the content id stays."""
    disk_type, extents = TYPES[name]
    source, to = filled(engine, tmp_path / "a.vmdk", disk_type), tmp_path / target
    to.parent.mkdir(exist_ok=True)
    with engine.open(source, READ_ONLY) as disk:
        uuid, content_id = disk.metadata("uuid"), disk.metadata("longContentID")
    engine.rename(source, to)
    base = to.name.removesuffix(".vmdk")
    assert names(to.parent) == sorted(
        [to.name, *(f"{base}{extent}.vmdk" for extent in extents)]
        + [folder.name for folder in to.parent.iterdir() if folder.is_dir()]
    )
    assert not [file for file in names(tmp_path) if file.startswith(("a", "."))]
    with engine.open(to) as disk:
        assert disk.read(0, 1) == b"\x01" * SECTOR
        assert disk.read(SECTORS - 1, 1) == b"\x02" * SECTOR
        assert (disk.metadata("uuid"), disk.metadata("longContentID")) == (uuid, content_id)
    head = to.read_bytes()[: 21 * SECTOR]
    assert f'"{base}'.encode() in head
    assert b'"a.' not in head
    assert b'"a-' not in head
    assert qemu.info(to)["virtual-size"] == SECTORS * SECTOR
    if "flat" not in name and name != "thin":
        qemu.check(to)


def test_permissions_of_the_descriptor_stay(engine: Engine, tmp_path: Path) -> None:
    """A new file takes its place, but for the same users."""
    path = filled(engine, tmp_path / "a.vmdk", MONOLITHIC_FLAT, 8)
    path.chmod(0o640)
    engine.rename(path, tmp_path / "b.vmdk")
    assert (tmp_path / "b.vmdk").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("taken", ["b.vmdk", "b-s002.vmdk", "b-ctk.vmdk"])
def test_a_name_that_is_taken_is_refused(taken: str, engine: Engine, tmp_path: Path) -> None:
    """12, whichever of the new names it is."""
    path = filled(engine, tmp_path / "a.vmdk", SPLIT_SPARSE)
    path.write_text(path.read_text().replace("# The Disk", 'changeTrackPath="a-ctk.vmdk"\n\n# The Disk'))
    (tmp_path / "a-ctk.vmdk").write_bytes(b"tracked")
    (tmp_path / taken).write_bytes(b"mine")
    error = refused(engine, path, tmp_path / "b.vmdk")
    assert error.code == 12
    assert taken in error.text
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read(0, 1) == b"\x01" * SECTOR


def test_a_disk_in_use_is_refused(engine: Engine, tmp_path: Path) -> None:
    """15; a reader does not matter, it goes on with the files it has."""
    for disk_type in (MONOLITHIC_SPARSE, SPLIT_SPARSE):
        path = filled(engine, tmp_path / f"{disk_type}.vmdk", disk_type, 8192)
        with engine.open(path):
            assert refused(engine, path, tmp_path / "b.vmdk").code == 15
        with engine.open(path, READ_ONLY) as disk:
            engine.rename(path, tmp_path / f"{disk_type}b.vmdk")
            assert disk.read(0, 1) == b"\x01" * SECTOR


REFUSED = {
    "no such disk": ("no.vmdk", "b.vmdk", 4),
    "no such folder": ("a.vmdk", "no/b.vmdk", 4),
    "its own name": ("a.vmdk", "a.vmdk", 12),
    "a quote in the name": ("a.vmdk", 'b".vmdk', 22),
    "an extent name that gets too long": ("a.vmdk", "b" * 248 + ".vmdk", 20004),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_names_are_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """Nothing has changed."""
    source, to, code = REFUSED[case]
    filled(engine, tmp_path / "a.vmdk", MONOLITHIC_FLAT, 8)
    files = names(tmp_path)
    with pytest.raises(EngineError) as caught:
        engine.rename(tmp_path / source, tmp_path / to)
    assert caught.value.code == code
    assert names(tmp_path) == files
    assert engine.read(tmp_path / "a.vmdk")[:SECTOR] == b"\x01" * SECTOR


def test_another_file_system_is_refused(engine: Engine, tmp_path: Path) -> None:
    """A rename does not copy: that is what Clone is for."""
    elsewhere = Path("/dev", "shm")
    if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    path = filled(engine, tmp_path / "a.vmdk", SPLIT_SPARSE)
    with TemporaryDirectory(dir=elsewhere) as folder:
        error = refused(engine, path, Path(folder) / "b.vmdk")
    assert error.code == 6
    assert "clone" in error.text


def test_extents_named_otherwise_get_names_by_the_rule(engine: Engine, tmp_path: Path) -> None:
    """A descriptor that was renamed by hand; two lines of one file stay two lines of one file."""
    lines = [flat_line(64, "x.vmdk"), flat_line(64, "x.vmdk", " 64"), flat_line(128, "y.vmdk", " 0 extra")]
    path = flat(tmp_path, descriptor(*lines, create_type="custom"), name="a.vmdk", file="x.vmdk")
    (tmp_path / "y.vmdk").write_bytes(b"\xbb" * (128 * SECTOR))
    content = engine.read(path)
    engine.rename(path, tmp_path / "b.vmdk")
    assert names(tmp_path) == ["b-f001.vmdk", "b-f003.vmdk", "b.vmdk"]
    assert engine.read(tmp_path / "b.vmdk") == content
    assert 'RW 128 FLAT "b-f003.vmdk" 0 extra' in (tmp_path / "b.vmdk").read_text()


def test_change_tracking_goes_along(engine: Engine, tmp_path: Path) -> None:
    """Its file is named after the disk; the content is the same, so what it says stays true. Unlink deletes it."""
    for disk_type in (MONOLITHIC_SPARSE, MONOLITHIC_FLAT):
        path = engine.create(tmp_path / "a.vmdk", 8192, disk_type)
        text = path.read_bytes()
        line = b'changeTrackPath="a-ctk.vmdk"\n'
        text = text.replace(b"\n# The Disk", line + b"# The Disk", 1)
        if disk_type == MONOLITHIC_SPARSE:
            at = text.index(b"\0", SECTOR)
            text = text[:at] + text[at + len(line) - 1 :]
        path.write_bytes(text)
        (tmp_path / "a-ctk.vmdk").write_bytes(b"tracked")
        engine.rename(path, tmp_path / "b.vmdk")
        assert (tmp_path / "b-ctk.vmdk").read_bytes() == b"tracked"
        assert b'changeTrackPath="b-ctk.vmdk"' in (tmp_path / "b.vmdk").read_bytes()
        engine.unlink(tmp_path / "b.vmdk")
        assert names(tmp_path) == []


@pytest.mark.parametrize("subformat", ["monolithicSparse", "twoGbMaxExtentSparse"])
def test_a_child_that_moves_finds_its_parent(subformat: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """In the same folder the way stays; from another one it is another; the chain reads as before, in QEMU as well."""
    qemu.create(tmp_path / "base.vmdk", 1 << 20)
    qemu.write(tmp_path / "base.vmdk", (0, 65536, 7))
    path = tmp_path / "a-000001.vmdk"
    qemu.create(path, 1 << 20, f"subformat={subformat}", backing="base.vmdk")
    qemu.write(path, (131072, 65536, 8))
    content = engine.read(path)
    (tmp_path / "x" / "y").mkdir(parents=True)
    ways = {"b.vmdk": "base.vmdk", "x/y/c.vmdk": "../../base.vmdk", "x/d.vmdk": "../base.vmdk", "e.vmdk": "base.vmdk"}
    for target, way in ways.items():
        engine.rename(path, tmp_path / target)
        path = tmp_path / target
        assert engine.read(path) == content
        assert f'parentFileNameHint="{way}"'.encode() in path.read_bytes()
        qemu.same(path, bytes(content))
    assert not names(tmp_path / "x" / "y")


def test_formats_that_are_only_read_can_be_renamed(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Nothing of their data is touched."""
    qemu.create(tmp_path / "raw.vmdk", 1 << 20, "subformat=streamOptimized")
    engine.rename(tmp_path / "raw.vmdk", tmp_path / "b.vmdk")
    assert names(tmp_path) == ["b.vmdk"]
    assert engine.read(tmp_path / "b.vmdk") == bytes(1 << 20)
    qemu.check(tmp_path / "b.vmdk")


def test_a_descriptor_without_room_keeps_its_old_name(engine: Engine, tmp_path: Path) -> None:
    """Readers use the file that was opened, whatever the line says."""
    text = descriptor('RW 8192 SPARSE "disk.vmdk"').ljust(511, "#") + "\n"
    path = Sparse(text=text, header={"descriptor_size": 1}).save(tmp_path / "a.vmdk")
    content = engine.read(path)
    engine.rename(path, tmp_path / "a-longer-name.vmdk")
    assert any("cannot follow" in warning for warning in engine.warnings)
    assert names(tmp_path) == ["a-longer-name.vmdk"]
    assert engine.read(tmp_path / "a-longer-name.vmdk") == content
