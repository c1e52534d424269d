"""CreateChild: an empty link on top of an open disk."""

from __future__ import annotations

import ctypes
import re
import shutil
from ctypes import byref, c_uint64, c_void_p
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.craft_esx import Cowd
from tests.engine.driver import (
    IDE,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SINGLE_LINK,
    SPLIT_SPARSE,
    VMFS_FLAT,
    EngineError,
    names,
)
from tests.engine.session import VIX_ASYNC, Completions, Session

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 65536 + 77
DEEPEST = 255


def text(path: Path) -> str:
    """Return the descriptor, wherever it is."""
    image = path.read_bytes()
    image = image[SECTOR : 21 * SECTOR] if image.startswith(b"KDMV") else image
    return image.split(b"\0", 1)[0].decode()


def value(path: Path, key: str) -> str | None:
    """Return the value of a line of the descriptor."""
    found = re.search(rf'^{re.escape(key)} ?= ?"?([^"\n]*)"?$', text(path), re.MULTILINE)
    return found[1] if found else None


def child_of(engine: Engine, parent: Path, child: Path, disk_type: int = MONOLITHIC_SPARSE) -> Path:
    """Create a child of a disk that is opened for that."""
    with engine.open(parent, READ_ONLY) as disk:
        return disk.create_child(child, disk_type)


@pytest.fixture
def base(engine: Engine, tmp_path: Path) -> Path:
    """Make a disk with something in it."""
    path = engine.create(tmp_path / "base.vmdk", SECTORS, adapter=IDE)
    with engine.open(path) as disk:
        disk.write(1000, b"\1" * 300 * SECTOR)
        disk.write(SECTORS - 1, b"\2" * SECTOR)
    return path


@pytest.mark.parametrize("disk_type", [MONOLITHIC_SPARSE, SPLIT_SPARSE])
def test_a_child_shows_its_parent_and_takes_the_writes(
    disk_type: int, base: Path, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """QEMU reads the same through it; the parent stays as it was."""
    before, expected = base.read_bytes(), engine.read(base)
    path = child_of(engine, base, tmp_path / "base-000001.vmdk", disk_type)
    qemu.check(path)
    qemu.same(path, bytes(expected))
    with engine.open(path) as disk:
        assert (disk.info()["links"], disk.capacity) == (2, SECTORS)
        disk.write(1100, b"\3" * SECTOR)
        expected[1100 * SECTOR : 1101 * SECTOR] = b"\3" * SECTOR
        assert disk.read(0, SECTORS) == expected
    qemu.check(path)
    qemu.same(path, bytes(expected))
    assert base.read_bytes() == before
    made = ["base-000001-s001.vmdk"] if disk_type == SPLIT_SPARSE else []
    assert names(tmp_path) == [*made, "base-000001.vmdk", "base.vmdk"]


@pytest.mark.parametrize("parent_type", [MONOLITHIC_FLAT, SPLIT_SPARSE, VMFS_FLAT])
def test_any_hosted_disk_can_be_a_parent(parent_type: int, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Flat or sparse, in one file or many."""
    path = engine.create(tmp_path / "base.vmdk", SECTORS, parent_type)
    with engine.open(path) as disk:
        disk.write(70, b"\1" * 70 * SECTOR)
    child = child_of(engine, path, tmp_path / "child.vmdk")
    assert engine.read(child) == engine.read(path)
    qemu.same(child, bytes(engine.read(path)))


def test_a_compressed_disk_can_be_a_parent(base: Path, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """It is never written to itself: an overlay is how to change it."""
    packed = tmp_path / "packed.vmdk"
    qemu._run(qemu.img, "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", base, packed)
    expected = engine.read(base)
    child = child_of(engine, packed, tmp_path / "child.vmdk")
    with engine.open(child) as disk:
        disk.write(1001, b"\7" * SECTOR)
        expected[1001 * SECTOR : 1002 * SECTOR] = b"\7" * SECTOR
    assert engine.read(child) == expected
    qemu.same(child, bytes(expected))


def test_a_link_of_esx_cannot_be_a_parent(engine: Engine, tmp_path: Path) -> None:
    """Hosted links do not stand on its own sparse formats; the code is 16068 and nothing is made."""
    (tmp_path / "d-delta.vmdk").write_bytes(Cowd().build())
    line = f'RW {Cowd().sectors} VMFSSPARSE "d-delta.vmdk"'
    (tmp_path / "d.vmdk").write_text(descriptor(line, create_type="vmfsSparse"))
    with pytest.raises(EngineError) as caught:
        child_of(engine, tmp_path / "d.vmdk", tmp_path / "child.vmdk")
    assert caught.value.code == 16068
    assert names(tmp_path) == ["d-delta.vmdk", "d.vmdk"]


def test_the_child_repeats_the_geometry_and_inherits_the_rest(base: Path, engine: Engine, tmp_path: Path) -> None:
    """Same adapter, same geometry, same uuid for the guest; a content id of its own, and the parent's as it is now."""
    with engine.open(base) as disk:
        disk.set_metadata("geometry.biosHeads", "99")
        disk.set_metadata("mine", "1")
        disk.set_metadata("virtualHWVersion", 'eleven "11"')
        before = disk.info()
    child = child_of(engine, base, tmp_path / "child.vmdk")
    with engine.open(child, READ_ONLY) as disk:
        info = disk.info()
        assert disk.metadata("mine") == "1"
        assert disk.metadata("virtualHWVersion") == 'eleven "11"'
    for key in ("adapter_type", "geometry", "bios", "uuid", "capacity"):
        assert info[key] == before[key]
    assert value(child, "ddb.adapterType") == "ide"
    assert value(child, "ddb.geometry.biosHeads") == "99"
    assert value(child, "ddb.uuid") is None
    assert value(child, "ddb.mine") is None
    assert value(child, "parentCID") == value(base, "CID")
    assert value(child, "CID") != value(base, "CID")
    assert (value(child, "ddb.longContentID") or "").endswith(value(child, "CID") or "?")
    assert value(child, "createType") == "monolithicSparse"


def test_the_hint_is_relative_where_both_can_move_together(base: Path, engine: Engine, tmp_path: Path) -> None:
    """In the child's folder or below it; else it is absolute. Symbolic links are followed before."""
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "name.vmdk").symlink_to(base)
    hints = {
        (base, tmp_path / "a.vmdk"): "base.vmdk",
        (base, tmp_path / "link" / "b.vmdk"): "base.vmdk",
        (tmp_path / "other" / "name.vmdk", tmp_path / "c.vmdk"): "base.vmdk",
        (base, tmp_path / "sub" / "d.vmdk"): str(base),
        (tmp_path / "sub" / "d.vmdk", tmp_path / "e.vmdk"): "sub/d.vmdk",
        (tmp_path / "link" / "sub" / ".." / "base.vmdk", tmp_path / "sub" / "deep" / "f.vmdk"): str(base),
    }
    for (parent, child), hint in hints.items():
        child_of(engine, parent, child)
        assert value(child, "parentFileNameHint") == hint
        with engine.open(child, READ_ONLY) as disk:
            assert disk.info()["parent_hint"] == hint.encode()
            assert disk.read(1000, 1) == b"\1" * SECTOR
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("base.vmdk", "a.vmdk"):
        shutil.move(tmp_path / name, moved / name)
    assert engine.read(moved / "a.vmdk")[1000 * SECTOR] == 1


def test_a_path_with_quotes_and_bars_is_found_again(engine: Engine, tmp_path: Path) -> None:
    """What cannot stand between quotes is escaped, and two characters that look like an escape are, too."""
    folder = tmp_path / 'a "quoted" |41 folder'
    folder.mkdir()
    base = engine.create(folder / "base.vmdk", 8192)
    child = child_of(engine, base, tmp_path / "child.vmdk")
    assert engine.open_error(child) is None
    with engine.open(child, READ_ONLY) as disk:
        assert disk.info()["parent_hint"] == f"{folder.name}/base.vmdk".encode()


def test_a_relative_path_is_one_from_the_working_folder(
    base: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere."""
    monkeypatch.chdir(tmp_path)
    with engine.open(base, READ_ONLY) as disk:
        engine.call("CreateChild", disk.handle, b"child.vmdk", MONOLITHIC_SPARSE, None, None)
    assert value(tmp_path / "child.vmdk", "parentFileNameHint") == "base.vmdk"


def test_what_the_session_wrote_before_is_in_the_child_and_what_it_writes_later_refuses_it(
    engine: Engine, base: Path, tmp_path: Path
) -> None:
    """The child stands on the parent as it was: a later write gives the parent another content id."""
    with engine.open(base) as disk:
        disk.write(5, b"\5" * SECTOR)
        child = disk.create_child(tmp_path / "child.vmdk")
        assert engine.read(child)[5 * SECTOR] == 5
        disk.write(5, b"\6" * SECTOR)
    error = engine.open_error(child)
    assert error
    assert error.code == 16008


def test_requests_in_flight_are_finished_first(library: Path, tmp_path: Path) -> None:
    """The child stands on what they write; were one later than the child, it would be refused."""
    with Session(library, tmp_path, "openEngine.latencyMs = 20\n") as session:
        connection, done = session.connect(), Completions()
        parent, child = session.open(connection), c_void_p()
        buffers = [ctypes.create_string_buffer(bytes([number]) * SECTOR, SECTOR) for number in range(40)]
        for number, buffer in enumerate(buffers):
            arguments = (c_uint64(number), c_uint64(1), buffer, done.function, None)
            assert session.code("WriteAsync", parent, *arguments) == VIX_ASYNC
        path = bytes(tmp_path / "child.vmdk")
        assert session.code("CreateChild", parent, path, MONOLITHIC_SPARSE, None, None) == 0
        assert done.results == [0] * 40
        assert session.code("Close", parent) == 0
        assert session.code("Open", connection, path, ctypes.c_uint32(READ_ONLY), byref(child)) == 0
        found = ctypes.create_string_buffer(40 * SECTOR)
        assert session.code("Read", child, c_uint64(0), c_uint64(40), found) == 0
        assert found.raw == b"".join(buffer.raw for buffer in buffers)
        assert session.code("Close", child) == 0
        assert session.code("Disconnect", connection) == 0


@pytest.mark.parametrize("disk_type", [0, MONOLITHIC_FLAT, VMFS_FLAT, 6, 256, 2**32 - 1])
def test_a_child_of_another_type_is_refused(disk_type: int, base: Path, engine: Engine, tmp_path: Path) -> None:
    """The types 1 and 3 alone are possible."""
    with pytest.raises(EngineError) as caught:
        child_of(engine, base, tmp_path / "child.vmdk", disk_type)
    assert caught.value.code == 6
    assert names(tmp_path) == ["base.vmdk"]


def test_a_name_that_is_taken_stays_as_it_is(base: Path, engine: Engine, tmp_path: Path) -> None:
    """The parent itself, another disk, an extent's name, a dangling link: VIX_E_FILE_ALREADY_EXISTS."""
    (tmp_path / "other-s001.vmdk").write_bytes(b"precious")
    (tmp_path / "dangling.vmdk").symlink_to(tmp_path / "nowhere")
    before = names(tmp_path)
    for name in ("base.vmdk", "other.vmdk", "dangling.vmdk"):
        with pytest.raises(EngineError) as caught:
            child_of(engine, base, tmp_path / name, SPLIT_SPARSE)
        assert caught.value.code == 12
    assert names(tmp_path) == before
    assert (tmp_path / "other-s001.vmdk").read_bytes() == b"precious"


@pytest.mark.parametrize("disk_type", [MONOLITHIC_SPARSE, SPLIT_SPARSE])
def test_a_cancelled_child_leaves_nothing(disk_type: int, base: Path, engine: Engine, tmp_path: Path) -> None:
    """At any percentage that is told."""
    told: list[int] = []

    def note(percent: int) -> bool:
        told.append(percent)
        return True

    with engine.open(base) as disk:
        disk.create_child(tmp_path / "child.vmdk", disk_type, progress=note)
    engine.unlink(tmp_path / "child.vmdk")
    assert told[0] == 0
    assert told[-1] == 100
    for stop in told:
        with engine.open(base) as disk, pytest.raises(EngineError) as caught:
            disk.create_child(tmp_path / "child.vmdk", disk_type, progress=lambda percent: percent < stop)  # noqa: B023
        assert caught.value.code == 10
        assert names(tmp_path) == ["base.vmdk"]


def test_a_single_link_of_a_chain_gets_no_child(base: Path, engine: Engine, tmp_path: Path) -> None:
    """How deep it is and what it inherits is not known; a root opened that way is complete."""
    with engine.open(base, READ_ONLY | SINGLE_LINK) as disk:
        disk.create_child(tmp_path / "child.vmdk")
    with engine.open(tmp_path / "child.vmdk", READ_ONLY | SINGLE_LINK) as disk, pytest.raises(EngineError) as caught:
        disk.create_child(tmp_path / "grandchild.vmdk")
    assert caught.value.code == 16003


def test_a_child_that_would_not_fit_is_refused(engine: Engine, tmp_path: Path) -> None:
    """More than 2 TiB need a split child; both need little space as long as they are empty."""
    base = engine.create(tmp_path / "base.vmdk", 2**32 + 1, SPLIT_SPARSE)
    with pytest.raises(EngineError) as caught:
        child_of(engine, base, tmp_path / "child.vmdk")
    assert caught.value.code == 21
    assert not (tmp_path / "child.vmdk").exists()
    assert engine.open_error(child_of(engine, base, tmp_path / "child.vmdk", SPLIT_SPARSE)) is None


def test_a_chain_has_255_links_at_most(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Every depth is read by us, the deepest by QEMU, too; the 256th link is refused before anything is made."""
    path = Sparse(grains={0: 1}).save(tmp_path / "000.vmdk")
    expected = bytearray(engine.read(path))
    for depth in range(2, DEEPEST + 1):
        with engine.open(path, READ_ONLY) as disk:
            path = disk.create_child(tmp_path / f"{depth:03}.vmdk")
        if depth % 20 == 2:
            with engine.open(path) as disk:
                assert disk.info()["links"] == depth
                disk.write(depth, bytes([depth]) * SECTOR)
            expected[depth * SECTOR : (depth + 1) * SECTOR] = bytes([depth]) * SECTOR
        if depth in (2, 60, DEEPEST):
            assert engine.read(path) == expected
            qemu.same(path, bytes(expected))
    before = names(tmp_path)
    with pytest.raises(EngineError) as caught:
        child_of(engine, path, tmp_path / "256.vmdk")
    assert caught.value.code == 16028
    assert names(tmp_path) == before
