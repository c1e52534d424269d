"""Clones that take the place of a disk: the old one is whole until the new one is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import (
    LOADER_ENVIRONMENT,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    STREAM_OPTIMIZED,
    VMFS_THIN,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

ROOT = Path(__file__).parents[2]
SPLIT = 4192256
TYPES = (MONOLITHIC_SPARSE, MONOLITHIC_FLAT, SPLIT_SPARSE, SPLIT_FLAT, STREAM_OPTIMIZED, VMFS_THIN)


def make(engine: Engine, path: Path, disk_type: int, sectors: int, fill: bytes) -> Path:
    """Create a disk with one sector of data."""
    engine.create(path, sectors, disk_type)
    with engine.open(path) as disk:
        disk.write(3, fill * SECTOR)
    return path


def first(engine: Engine, path: Path) -> bytes:
    """Return the byte that ``make`` wrote."""
    with engine.open(path, READ_ONLY) as disk:
        return bytes(disk.read(3, 1)[:1])


@pytest.mark.parametrize("old", TYPES)
@pytest.mark.parametrize("new", TYPES)
def test_all_files_of_the_old_disk_go(old: int, new: int, engine: Engine, tmp_path: Path) -> None:
    """What stays are the files of the new one; it can be deleted, and overwritten again."""
    source = make(engine, tmp_path / "source.vmdk", VMFS_THIN, 4096, b"n")
    path = make(engine, tmp_path / "d.vmdk", old, 8192, b"o")
    before = set(names(tmp_path))
    engine.clone(path, source, new, overwrite=True)
    assert first(engine, path) == b"n"
    listed = {line.split('"')[1] for line in path.read_text("latin-1").splitlines() if line.startswith("RW ")}
    assert set(names(tmp_path)) - before <= listed
    engine.clone(path, source, old, overwrite=True)
    assert first(engine, path) == b"n"
    engine.unlink(path)
    assert names(tmp_path) == ["source-flat.vmdk", "source.vmdk"]


def test_split_disks_take_the_numbers_that_are_free(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Behind the old extents; the next time the first ones again."""
    source = make(engine, tmp_path / "source.vmdk", VMFS_THIN, SPLIT + 8, b"n")
    path = make(engine, tmp_path / "d.vmdk", SPLIT_SPARSE, SPLIT + 8, b"o")
    for numbers in ((3, 4), (1, 2)):
        engine.clone(path, source, SPLIT_SPARSE, overwrite=True)
        expected = [f"d-s{number:03d}.vmdk" for number in numbers]
        assert names(tmp_path) == [*expected, "d.vmdk", "source-flat.vmdk", "source.vmdk"]
        assert first(engine, path) == b"n"
        assert qemu.info(path)["virtual-size"] == (SPLIT + 8) * SECTOR


@pytest.mark.parametrize("old", TYPES)
def test_cancelling_keeps_the_old_disk(old: int, engine: Engine, tmp_path: Path) -> None:
    """At every call of the progress function; not a byte of its files changes."""
    source = make(engine, tmp_path / "source.vmdk", VMFS_THIN, 8192, b"n")
    path = make(engine, tmp_path / "d.vmdk", old, 8192, b"o")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    told: list[int] = []
    seen: set[bytes] = set()

    def note(percent: int) -> bool:
        told.append(percent)
        seen.add(first(engine, path))
        return percent < 100

    for new in TYPES:
        told.clear()
        with pytest.raises(EngineError) as caught:
            engine.clone(path, source, new, overwrite=True, progress=note)
        assert caught.value.code == 10
        for last in told:
            with pytest.raises(EngineError):
                engine.clone(path, source, new, overwrite=True, progress=last.__gt__)
            assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert seen == {b"o"}


def test_without_overwrite_an_existing_disk_is_kept(engine: Engine, tmp_path: Path) -> None:
    """The descriptor's name is taken, or an extent's: the message names it."""
    source = make(engine, tmp_path / "source.vmdk", VMFS_THIN, 8192, b"n")
    path = make(engine, tmp_path / "d.vmdk", MONOLITHIC_FLAT, 8192, b"o")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(EngineError) as caught:
        engine.clone(path, source)
    assert caught.value.code == 12
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    path.unlink()
    for overwrite in (False, True):
        with pytest.raises(EngineError) as caught:
            engine.clone(path, source, MONOLITHIC_FLAT, overwrite=overwrite)
        assert caught.value.code == 12
        assert "d-flat.vmdk" in caught.value.text


def test_the_source_and_its_parents_are_never_overwritten(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """By their names, or by another name of the same file."""
    base = make(engine, tmp_path / "base.vmdk", MONOLITHIC_SPARSE, 8192, b"o")
    top = qemu.create(tmp_path / "top.vmdk", 8192 * SECTOR, backing="base.vmdk")
    (tmp_path / "link.vmdk").hardlink_to(base)
    flat = make(engine, tmp_path / "flat.vmdk", MONOLITHIC_FLAT, 8192, b"o")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    pairs = ((base, base), (base, top), (top, top), (tmp_path / "link.vmdk", top), (flat, flat))
    for to, source in pairs:
        with pytest.raises(EngineError) as caught:
            engine.clone(to, source, overwrite=True)
        assert caught.value.code == 3
        assert to.name in caught.value.text
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_is_no_disk_or_in_use_is_not_overwritten(engine: Engine, tmp_path: Path) -> None:
    """Some file, a symbolic link, a disk that somebody writes to."""
    source = make(engine, tmp_path / "source.vmdk", MONOLITHIC_SPARSE, 8192, b"n")
    used = make(engine, tmp_path / "used.vmdk", MONOLITHIC_FLAT, 8192, b"o")
    (tmp_path / "file.vmdk").write_bytes(b"precious" * 1000)
    (tmp_path / "link.vmdk").symlink_to("used.vmdk")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with engine.open(used):
        for name, code in (("file", 16063), ("link", 12), ("used", 15)):
            with pytest.raises(EngineError) as caught:
                engine.clone(tmp_path / f"{name}.vmdk", source, overwrite=True)
            assert caught.value.code == code
            assert name in caught.value.text
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.engine.driver import Engine

library, folder, disk_type, percent = sys.argv[1:]
told = lambda now: now < int(percent) or os.kill(os.getpid(), signal.SIGKILL)
to, source = Path(folder, "d.vmdk"), Path(folder, "source.vmdk")
(Path(folder) / "library").mkdir(exist_ok=True)
Engine(Path(library), Path(folder) / "library").clone(to, source, int(disk_type), overwrite=True, progress=told)
"""


@pytest.mark.parametrize("new", TYPES)
def test_a_process_that_is_killed_leaves_the_old_disk(new: int, engine: Engine, library: Path, tmp_path: Path) -> None:
    """While files are made, filled, and at the end; what it leaves behind is in nobody's way."""
    source = make(engine, tmp_path / "source.vmdk", VMFS_THIN, 8192, b"n")
    path = make(engine, tmp_path / "d.vmdk", new, 8192, b"o")
    for percent in (5, 50, 100):
        arguments = (str(library), str(tmp_path), str(new), str(percent))
        done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=LOADER_ENVIRONMENT, cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        assert first(engine, path) == b"o"
    engine.clone(path, source, new, overwrite=True)
    assert first(engine, path) == b"n"
