"""The hidden descriptor of a disk that is being made or deleted: what it lists goes with it, and nothing else does."""

from __future__ import annotations

import fcntl
import struct
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import descriptor, flat_line
from tests.engine.crash import names
from tests.engine.driver import MONOLITHIC_FLAT, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine

LOCKED = 15
OFD_SETLK = 37


def leave(folder: Path, *lines: str) -> Path:
    """Leave what a process leaves that dies while it makes a disk."""
    hidden = folder / ".disk.vmdk.new"
    hidden.write_text(descriptor(*lines, create_type="custom"), "utf-8")
    return hidden


def test_what_a_dead_process_left_is_deleted_by_the_next_create(engine: Engine, tmp_path: Path) -> None:
    """The extents that are listed, also those that were not made yet, and the list itself."""
    leave(tmp_path, flat_line(), 'RW 128 FLAT "disk-f002.vmdk" 0')
    (tmp_path / "disk-flat.vmdk").write_bytes(b"old")
    engine.create(tmp_path / "disk.vmdk", 128, MONOLITHIC_FLAT)
    assert names(tmp_path) == ["disk-flat.vmdk", "disk.vmdk"]
    assert not any(engine.read(tmp_path / "disk.vmdk"))


def test_files_that_are_not_the_disks_own_are_kept(engine: Engine, tmp_path: Path) -> None:
    """Neither another disk's extents nor files that are not named like extents, whatever the list says."""
    (tmp_path / "other-flat.vmdk").write_bytes(b"data")
    (tmp_path / "disk.txt").write_bytes(b"data")
    leave(tmp_path, flat_line(file="other-flat.vmdk"), flat_line(file="disk.txt"))
    engine.create(tmp_path / "disk.vmdk", 128)
    assert names(tmp_path) == ["disk.txt", "disk.vmdk", "other-flat.vmdk"]


def test_extents_of_the_disk_that_has_the_name_are_kept(engine: Engine, tmp_path: Path) -> None:
    """A clone that died over an old disk lists its own extents, which may be those that the disk has by now."""
    path = engine.create(tmp_path / "disk.vmdk", 128, MONOLITHIC_FLAT)
    leave(tmp_path, flat_line())
    with pytest.raises(EngineError, match="exists already"):
        engine.create(path, 128)
    assert names(tmp_path) == ["disk-flat.vmdk", "disk.vmdk"]


def test_a_list_that_is_no_descriptor_goes_alone(engine: Engine, tmp_path: Path) -> None:
    """The power failed before it was written: no extent had been made."""
    leave(tmp_path).write_bytes(bytes(700))
    (tmp_path / "disk-flat.vmdk").write_bytes(b"data")
    engine.create(tmp_path / "disk.vmdk", 128)
    assert names(tmp_path) == ["disk-flat.vmdk", "disk.vmdk"]


@pytest.mark.parametrize("locked", [".disk.vmdk.new", "disk-flat.vmdk"])
def test_a_living_process_loses_nothing(locked: str, engine: Engine, tmp_path: Path) -> None:
    """Its lock on the list, or on an extent that it fills, keeps others from taking it for dead."""
    leave(tmp_path, flat_line())
    (tmp_path / "disk-flat.vmdk").write_bytes(bytes(128 * 512))
    with (tmp_path / locked).open("r+b") as file:
        fcntl.fcntl(file, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        with pytest.raises(EngineError) as caught:
            engine.create(tmp_path / "disk.vmdk", 128, MONOLITHIC_FLAT)
    assert caught.value.code == LOCKED
    assert names(tmp_path) == [".disk.vmdk.new", "disk-flat.vmdk"]


def test_unlink_ends_what_an_unlink_began(engine: Engine, tmp_path: Path) -> None:
    """The disk has no name any more; its extents go when it is deleted once more, and then it is not found."""
    path = engine.create(tmp_path / "disk.vmdk", 128, MONOLITHIC_FLAT)
    path.rename(tmp_path / ".disk.vmdk.new")
    engine.unlink(path)
    assert names(tmp_path) == []
    with pytest.raises(EngineError, match="No such file"):
        engine.unlink(path)
