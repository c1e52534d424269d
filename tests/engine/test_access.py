"""Who may open what at the same time, and what opening for reading leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import (
    LOADER_ENVIRONMENT,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_SPARSE,
    UNBUFFERED,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.driver import Engine

ROOT = Path(__file__).resolve().parents[2]
TYPES = {"sparse": MONOLITHIC_SPARSE, "flat": MONOLITHIC_FLAT, "split": SPLIT_SPARSE}

HOLDER = """
import sys
from pathlib import Path
from tests.engine.driver import Engine
library, folder, disk = sys.argv[1:]
with Engine(Path(library), Path(folder)).open(disk) as opened:
    opened.write(0, b"x" * 512)
    print("open", flush=True)
    sys.stdin.read()
"""
"""A program that is killed; the folder is for its copy of the library."""


@pytest.mark.parametrize("name", TYPES)
def test_a_second_writer_is_refused_and_readers_are_not(name: str, engine: Engine, tmp_path: Path) -> None:
    """Also in the same process, also after the first one replaced the descriptor; nothing stays after close."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    files = names(tmp_path)
    with engine.open(path) as disk:
        disk.set_metadata("key", "x")
        disk.write(0, b"x" * SECTOR)
        error = engine.open_error(path, 0)
        assert error
        assert error.code == 15
        assert str(tmp_path) in error.text
        with engine.open(path, READ_ONLY) as reader:
            assert reader.capacity == 8192
        with pytest.raises(EngineError) as caught:
            engine.unlink(path)
        assert caught.value.code == 15
        disk.write(1, b"x" * SECTOR)
    assert names(tmp_path) == files
    assert engine.open_error(path, 0) is None
    engine.unlink(path)


@pytest.mark.parametrize("name", TYPES)
def test_the_lock_of_a_killed_writer_is_gone(
    name: str, engine: Engine, library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another process holds it; kill -9 releases it, and the disk opens for writing."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    command: list[str | Path] = [sys.executable, "-c", HOLDER, library, tmp_path_factory.mktemp("holder"), path]
    with subprocess.Popen(
        command, cwd=ROOT, env=LOADER_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        error = engine.open_error(path, 0)
        assert error
        assert error.code == 15
        holder.send_signal(signal.SIGKILL)
    with engine.open(path) as disk:
        disk.write(0, b"y" * SECTOR)
    assert engine.read(path)[:SECTOR] == b"y" * SECTOR


@pytest.mark.parametrize("name", TYPES)
def test_reading_changes_no_byte(name: str, engine: Engine, tmp_path: Path) -> None:
    """Nor does opening for writing without a write."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    with engine.open(path) as disk:
        disk.write(3, b"x" * SECTOR)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    for flags in (READ_ONLY, READ_ONLY | UNBUFFERED, 0):
        with engine.open(path, flags) as disk:
            assert disk.read(3, 1) == b"x" * SECTOR
            disk.allocated()
            disk.flush()
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}


def test_a_read_only_disk_refuses_writes(engine: Engine, tmp_path: Path) -> None:
    """Code 13, and the file is as it was."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    with engine.open(path, READ_ONLY) as disk, pytest.raises(EngineError) as caught:
        disk.write(0, bytes(SECTOR))
    assert caught.value.code == 13


@pytest.mark.parametrize(("start", "count"), [(8192, 1), (8191, 2), (0, 8193), ((1 << 64) - 1, 2), (1 << 63, 1)])
def test_sectors_outside_of_the_disk_are_refused(start: int, count: int, engine: Engine, tmp_path: Path) -> None:
    """16007, without wrapping around."""
    with engine.open(engine.create(tmp_path / "d.vmdk", 8192)) as disk:
        for call in (lambda: disk.read(start, count), lambda: disk.write(start, bytes(count * SECTOR))):
            with pytest.raises(EngineError) as caught:
                call()
            assert caught.value.code == 16007


def test_a_disk_is_found_through_a_symbolic_link(engine: Engine, tmp_path: Path) -> None:
    """Its extents are beside the file itself, and the link survives a change of the descriptor."""
    (tmp_path / "real").mkdir()
    path = engine.create(tmp_path / "real" / "d.vmdk", 8192, MONOLITHIC_FLAT)
    link = tmp_path / "link.vmdk"
    link.symlink_to(path)
    with engine.open(link) as disk:
        disk.write(0, b"x" * SECTOR)
    assert link.is_symlink()
    assert engine.read(path)[:SECTOR] == b"x" * SECTOR


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Act as a user whom permissions stop, and who reaches the folder."""
    user = os.geteuid()
    if user == 0:
        for above in (folder.parent, folder.parent.parent):
            above.chmod(above.stat().st_mode | 0o111)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_enough_for_reading(engine: Engine, tmp_path: Path) -> None:
    """No lock file, no temporary file; opening for writing is refused there."""
    path = engine.create(tmp_path / "d.vmdk", 8192, MONOLITHIC_FLAT)
    for file in (*tmp_path.iterdir(), tmp_path):
        file.chmod(0o555)
    with unprivileged(tmp_path):
        assert engine.open_error(path, READ_ONLY) is None
        error = engine.open_error(path, 0)
    assert error
    assert error.code == 13


def test_a_descriptor_that_cannot_be_replaced_fails_the_write_before_any_data(engine: Engine, tmp_path: Path) -> None:
    """The content id goes first; if it cannot, neither does the data."""
    path = engine.create(tmp_path / "d.vmdk", 8192, MONOLITHIC_FLAT)
    for file in tmp_path.iterdir():
        file.chmod(0o666)
    tmp_path.chmod(0o555)
    with (
        unprivileged(tmp_path),
        engine.open(path) as disk,
        pytest.raises(EngineError) as caught,
    ):
        disk.write(0, b"x" * SECTOR)
    assert caught.value.code == 13
    assert not any(engine.read(path))
