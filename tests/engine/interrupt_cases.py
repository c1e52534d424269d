"""What test_interrupted interrupts, and what must be there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_SPARSE,
    VMFS_THIN,
    Engine,
    names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SPLIT = 4192256
DIES: Final = None
"""What ``check`` is told if the process died; else the code of the call."""


def content_of(engine: Engine, path: Path) -> bytes:
    """Return the first KiB, which every case fills, and all of small disks."""
    with engine.open(path, READ_ONLY) as disk:
        return bytes(disk.read(0, min(disk.capacity, 128)))


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all files with their bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_one_left_at_most(folder: Path, complete: Iterable[str]) -> None:
    """Find at most that file which could not be deleted, because that was the step which failed."""
    assert len(set(files_of(folder)) - set(complete)) <= 1


def fill(engine: Engine, path: Path) -> None:
    """Write to the first sectors."""
    with engine.open(path) as disk:
        disk.write(0, b"\x07" * (2 * SECTOR))


class Case:
    """One call on the disk d.vmdk; ``self.before`` are the files before it."""

    before: dict[str, bytes]
    content: bytes

    def __init__(self, engine: Engine, disk_type: int = MONOLITHIC_SPARSE, sectors: int = 1000) -> None:
        """Keep what ``make`` needs."""
        self.engine = engine
        self.disk_type = disk_type
        self.sectors = sectors

    def make(self, folder: Path) -> None:
        """Make what is there before the call."""
        fill(self.engine, self.engine.create(folder / "d.vmdk", self.sectors, self.disk_type))

    def call(self, folder: Path) -> None:
        """Make the call."""
        raise NotImplementedError

    def check(self, folder: Path, code: int | None) -> None:
        """Look at what is left of it."""
        raise NotImplementedError


class Grow(Case):
    """Old or new size, and the content; growing again succeeds and leaves nothing but the disk."""

    new = 200000

    def call(self, folder: Path) -> None:
        """Grow."""
        self.engine.grow(folder / "d.vmdk", self.new)

    def check(self, folder: Path, code: int | None) -> None:
        """See the class."""
        path = folder / "d.vmdk"
        before = files_of(folder)
        capacity = 0
        for flags in (READ_ONLY, 0):
            with self.engine.open(path, flags) as disk:
                capacity = disk.capacity
                assert capacity in (self.sectors, self.new)
                assert disk.read(0, 128) == self.content
                assert not any(disk.read(capacity - 1, 1)) or capacity == self.sectors
        assert code != 0 or capacity == self.new
        if code and capacity == self.sectors:
            assert before == self.before
        self.engine.grow(path, self.new)
        assert content_of(self.engine, path) == self.content
        self.engine.unlink(path)
        assert names(folder) == []


class GrowInPlace(Grow):
    """The tables are large enough."""

    new = 2000


class GrowSplitSparse(Grow):
    """With new extents."""

    new = SPLIT + 8

    def __init__(self, engine: Engine) -> None:
        """Small files."""
        super().__init__(engine, SPLIT_SPARSE, 1000)


class GrowSplitFlat(Grow):
    """Split at a size of its own."""

    new = 300

    def __init__(self, engine: Engine) -> None:
        """Have a disk that we do not make ourselves."""
        super().__init__(engine, sectors=192)

    def make(self, folder: Path) -> None:
        """Two extents."""
        lines = flat_line(128, "d-f001.vmdk"), flat_line(64, "d-f002.vmdk")
        (folder / "d-f002.vmdk").write_bytes(b"\0" * (64 * SECTOR))
        text = descriptor(*lines, create_type="twoGbMaxExtentFlat")
        flat(folder, text, name="d.vmdk", file="d-f001.vmdk")


class Rename(Case):
    """The disk is there under one name at least, whole; if under both, the old one can be deleted."""

    to = "e.vmdk"

    def call(self, folder: Path) -> None:
        """Rename."""
        self.engine.rename(folder / "d.vmdk", folder / self.to)

    def check(self, folder: Path, code: int | None) -> None:
        """See the class."""
        old, new = folder / "d.vmdk", folder / self.to
        there = [path for path in (old, new) if path.exists()]
        assert there
        for path in there:
            assert content_of(self.engine, path) == self.content
            assert self.engine.open_error(path, 0) is None
        if code == 0:
            assert there == [new]
            assert set(self.complete) <= set(files_of(folder))
            assert_one_left_at_most(folder, self.complete)
        elif code:
            assert files_of(folder) == self.before
        if there == [old]:
            self.engine.rename(old, new)
        elif there == [old, new]:
            self.engine.unlink(old)
        assert content_of(self.engine, new) == self.content

    complete: tuple[str, ...]


class RenameSplit(Rename):
    """Into another folder."""

    to = "other/e.vmdk"
    complete = ("other/e-s001.vmdk", "other/e-s002.vmdk", "other/e.vmdk")

    def __init__(self, engine: Engine) -> None:
        """Two extents."""
        super().__init__(engine, SPLIT_SPARSE, SPLIT + 8)

    def make(self, folder: Path) -> None:
        """And the folder."""
        super().make(folder)
        (folder / "other").mkdir()


class RenameFlat(Rename):
    """In the same folder, with a change tracking file."""

    complete = ("e-ctk.vmdk", "e-flat.vmdk", "e.vmdk")

    def __init__(self, engine: Engine) -> None:
        """One extent."""
        super().__init__(engine, VMFS_THIN)

    def make(self, folder: Path) -> None:
        """Track changes."""
        super().make(folder)
        path = folder / "d.vmdk"
        path.write_text(path.read_text().replace("# The Disk", 'changeTrackPath="d-ctk.vmdk"\n\n# The Disk'))
        (folder / "d-ctk.vmdk").write_bytes(b"tracked")


class RenameSparse(Rename):
    """One file."""

    complete = ("e.vmdk",)


class RenameChild(Rename):
    """One file, whose way to the parent changes."""

    to = "other/e.vmdk"
    complete = ("base.vmdk", "other/e.vmdk")

    def make(self, folder: Path) -> None:
        """Parent and child."""
        Sparse().save(folder / "base.vmdk")
        keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
        Sparse(grains={}, text=descriptor('RW 8192 SPARSE "d.vmdk"', **keys)).save(folder / "d.vmdk")
        (folder / "other").mkdir()


class Unlink(Case):
    """The disk is there as a whole, or it is gone, perhaps but for some of its extents."""

    def call(self, folder: Path) -> None:
        """Delete."""
        self.engine.unlink(folder / "d.vmdk")

    def check(self, folder: Path, code: int | None) -> None:
        """See the class."""
        path = folder / "d.vmdk"
        if path.exists():
            assert code != 0
            assert content_of(self.engine, path) == self.content
            self.engine.unlink(path)
            assert names(folder) == []
        elif code == 0:
            assert_one_left_at_most(folder, [])


class UnlinkSplit(Unlink):
    """Two extents."""

    def __init__(self, engine: Engine) -> None:
        """Create them."""
        super().__init__(engine, SPLIT_SPARSE, SPLIT + 8)


class Write(Case):
    """What opens for writing and writes; the lock it leaves keeps nobody out."""

    def call(self, folder: Path) -> None:
        """Write, then close."""
        with self.engine.open(folder / "d.vmdk") as disk:
            disk.write(0, b"\x07" * SECTOR)

    def check(self, folder: Path, code: int | None) -> None:
        """See the class."""
        path = folder / "d.vmdk"
        fill(self.engine, path)
        assert content_of(self.engine, path) == self.content
        if code == 0:
            assert_one_left_at_most(folder, self.before)


CASES: dict[str, Callable[[Engine], Case]] = {
    "grow sparse": Grow,
    "grow sparse in place": GrowInPlace,
    "grow thin": lambda engine: Grow(engine, VMFS_THIN),
    "grow split sparse": GrowSplitSparse,
    "grow split flat": GrowSplitFlat,
    "rename split": RenameSplit,
    "rename flat": RenameFlat,
    "rename sparse": RenameSparse,
    "rename child": RenameChild,
    "unlink sparse": Unlink,
    "unlink split": UnlinkSplit,
    "write sparse": Write,
    "write flat": lambda engine: Write(engine, VMFS_THIN),
}
