"""CID and longContentID: what children and backups know a disk's content by."""

from __future__ import annotations

import re
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SINGLE_LINK,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    VMFS_THIN,
    EngineError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 8192
TYPES = {
    "sparse": MONOLITHIC_SPARSE,
    "flat": MONOLITHIC_FLAT,
    "split": SPLIT_SPARSE,
    "split flat": SPLIT_FLAT,
    "thin": VMFS_THIN,
}


def ids(path: Path) -> tuple[str, str, str]:
    """Return CID, the last digits of longContentID, and parentCID."""
    text = path.read_bytes()[: 21 * SECTOR].decode(errors="replace")
    patterns = (r"^CID=(\w{8})$", r'longContentID = "\w{24}(\w{8})"$', r"^parentCID=(\w{8})$")
    found = [re.search(pattern, text, re.MULTILINE) for pattern in patterns]
    return tuple(match[1] if match else "" for match in found)  # type: ignore[return-value]


def write(engine: Engine, path: Path, flags: int = 0) -> None:
    """Write a grain in a session of its own."""
    with engine.open(path, flags) as disk:
        disk.write(0, b"\1" * 128 * SECTOR)


@pytest.mark.parametrize("name", TYPES)
def test_both_ids_change_together_for_every_type(name: str, engine: Engine, tmp_path: Path) -> None:
    """With each session that writes, and with no other."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, TYPES[name])
    seen = [ids(path)]
    for _ in range(3):
        with engine.open(path) as disk:
            disk.read(0, 1)
            disk.flush()
        assert ids(path) == seen[-1]
        write(engine, path)
        seen.append(ids(path))
    assert len({cid for cid, _, _ in seen}) == 4
    assert all(cid == tail and parent == "ffffffff" for cid, tail, parent in seen)


@pytest.mark.parametrize("disk_type", [MONOLITHIC_SPARSE, SPLIT_SPARSE])
@pytest.mark.parametrize("flags", [0, SINGLE_LINK])
def test_a_write_to_a_child_changes_the_child_alone(disk_type: int, flags: int, engine: Engine, tmp_path: Path) -> None:
    """Also when it is opened without its parents; it still fits them afterwards."""
    base = engine.create(tmp_path / "base.vmdk", SECTORS, MONOLITHIC_FLAT)
    with engine.open(base, READ_ONLY) as disk:
        child = disk.create_child(tmp_path / "child.vmdk", disk_type)
    before, parent = ids(child), ids(base)
    write(engine, child, flags)
    cid, tail, parent_cid = ids(child)
    assert cid == tail != before[0]
    assert parent_cid == before[2] == parent[0]
    assert ids(base) == parent
    assert engine.read(child)[: 128 * SECTOR] == b"\1" * 128 * SECTOR


@contextmanager
def no_writes(path: Path) -> Iterator[None]:
    """Make every write to a file fail, and for descriptors in files of their own the replacement, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.exists()


@pytest.mark.parametrize("name", TYPES)
def test_without_a_new_id_on_storage_nothing_is_written(name: str, engine: Engine, tmp_path: Path) -> None:
    """The write fails, the disk is as it was, also for its children; the next write tries again."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, TYPES[name])
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with engine.open(path) as disk:
        with no_writes(path), pytest.raises(EngineError):
            disk.write(0, b"\1" * 128 * SECTOR)
        assert {file: file.read_bytes() for file in files} == files
        child = disk.create_child(tmp_path / "child.vmdk")
        assert engine.open_error(child) is None
        disk.write(0, b"\1" * 128 * SECTOR)
    assert ids(path)[0] == ids(path)[1] != ids(child)[2]
    error = engine.open_error(child)
    assert error
    assert error.code == 16008


@pytest.mark.parametrize("name", ["sparse", "flat"])
def test_metadata_that_could_not_be_stored_is_not_kept_in_memory(name: str, engine: Engine, tmp_path: Path) -> None:
    """Neither new keys nor changed ones."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, TYPES[name])
    with engine.open(path) as disk:
        keys = disk.metadata_keys()
        for key in ("new", "adapterType"):
            with no_writes(path), pytest.raises(EngineError):
                disk.set_metadata(key, "x")
        assert disk.metadata_keys() == keys
        assert disk.metadata("adapterType") == "lsilogic"
        disk.set_metadata("new", "y")
    with engine.open(path, READ_ONLY) as disk:
        assert disk.metadata("new") == "y"


def test_an_id_that_another_writer_did_not_pad_is_replaced(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """QEMU leaves out leading zeros; a database without longContentID gets none."""
    base = Sparse(text=descriptor('RW 8192 SPARSE "d.vmdk"', CID="abc"), grains={0: 1}).save(tmp_path / "d.vmdk")
    child = qemu.create(tmp_path / "child.vmdk", SECTORS * SECTOR, backing="d.vmdk")
    assert engine.read(child)[0] == 1
    write(engine, child)
    qemu.same(child, bytes(engine.read(child)))
    write(engine, base)
    assert re.match(r"[0-9a-f]{8}$", ids(base)[0])
    assert b"longContentID" not in base.read_bytes()
    error = engine.open_error(child)
    assert error
    assert error.code == 16008


def test_qemu_and_we_agree_on_whose_child_is_out_of_date(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each sees that the other changed the parent."""
    for writer in ("us", "qemu"):
        base = engine.create(tmp_path / f"{writer}.vmdk", SECTORS)
        write(engine, base)
        with engine.open(base, READ_ONLY) as disk:
            child = disk.create_child(tmp_path / f"{writer}-child.vmdk")
        qemu.same(child, bytes(engine.read(child)))
        if writer == "us":
            write(engine, base)
        else:
            qemu.write(base, (0, 65536, 9))
        error = engine.open_error(child)
        assert error
        assert error.code == 16008
        with pytest.raises(AssertionError, match="Invalid argument"):
            qemu.content(child, tmp_path / "raw")
