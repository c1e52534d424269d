"""Grow, where it does not: refused, cancelled, failed, interrupted; everything is as it was then."""

from __future__ import annotations

import resource
import signal
import struct
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_SPARSE,
    EngineError,
    names,
)
from tests.engine.test_grow import SPLIT, TYPES, filled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu


def state(folder: Path) -> dict[str, bytes]:
    """Return all files; large ones as their size."""
    return {
        file.name: file.read_bytes() if file.stat().st_size < 1 << 21 else struct.pack("<Q", file.stat().st_size)
        for file in folder.iterdir()
    }


def refused(engine: Engine, path: Path, sectors: int) -> EngineError:
    """Grow, which must fail and leave every byte as it was."""
    before = state(path.parent)
    with pytest.raises(EngineError) as caught:
        engine.grow(path, sectors)
    assert state(path.parent) == before
    return caught.value


@pytest.mark.parametrize("name", TYPES)
def test_the_same_size_changes_nothing_and_a_smaller_one_is_refused(name: str, engine: Engine, tmp_path: Path) -> None:
    """Not a byte; 3."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    before = state(tmp_path)
    engine.grow(path, 1000)
    assert state(tmp_path) == before
    for sectors in (999, 0, (1 << 40) + 1, (1 << 64) - 1):
        assert refused(engine, path, sectors).code == 3


def test_chains_do_not_grow(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A child must be as large as its parent; a parent's children could not be opened any more."""
    base = qemu.create(tmp_path / "base.vmdk", 1 << 20)
    top = qemu.create(tmp_path / "top.vmdk", 1 << 20, backing="base.vmdk")
    for path, told in ((top, "parent"), (base, "top.vmdk")):
        error = refused(engine, path, 4096)
        assert error.code == 6
        assert told in error.text
    top.unlink()
    engine.grow(base, 4096)


def test_what_cannot_grow_is_refused(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """In use, only readable, too large for a sparse file, of parts, no disk."""
    path, _ = filled(engine, tmp_path / "d.vmdk", MONOLITHIC_SPARSE, 1000)
    with engine.open(path), pytest.raises(EngineError) as caught:
        engine.grow(path, 2000)
    assert caught.value.code == 15
    assert refused(engine, path, (1 << 32) + 1).code == 21
    stream = qemu.create(tmp_path / "stream.vmdk", 1 << 20, "subformat=streamOptimized")
    assert refused(engine, stream, 4096).code == 6
    parts = [flat_line(64), flat_line(64, offset=" 64")]
    assert refused(engine, flat(tmp_path, descriptor(*parts, create_type="custom")), 4096).code == 16013
    assert refused(engine, tmp_path / "no.vmdk", 4096).code == 4


@pytest.mark.parametrize("name", TYPES)
def test_progress_rises_to_100_and_cancelling_leaves_everything_as_it_was(
    name: str, engine: Engine, tmp_path: Path
) -> None:
    """At whatever call; no new extent, no longer file, no changed byte."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    before = state(tmp_path)
    told: list[int] = []

    def note(percent: int) -> bool:
        told.append(percent)
        return percent != 100

    with pytest.raises(EngineError):
        engine.grow(path, SPLIT + 1000, progress=note)
    assert state(tmp_path) == before
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, 100)
    for last in told:
        with pytest.raises(EngineError) as caught:
            engine.grow(path, SPLIT + 1000, progress=last.__gt__)
        assert caught.value.code == 10
        assert state(tmp_path) == before


@pytest.mark.parametrize("name", TYPES)
def test_a_failure_on_the_way_leaves_everything_as_it_was(name: str, engine: Engine, tmp_path: Path) -> None:
    """A limit on the size of files, met at the last extent or at a new one."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, limit[1]))
    try:
        assert refused(engine, path, 2 * SPLIT).code == 21
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    engine.grow(path, 2000)


def test_an_extent_that_is_there_already_is_not_touched(engine: Engine, tmp_path: Path) -> None:
    """12, and its name; one that an interrupted call left, and its list names, is removed."""
    path, _ = filled(engine, tmp_path / "d.vmdk", SPLIT_SPARSE, 1000)
    (tmp_path / "d-s002.vmdk").write_bytes(b"mine")
    error = refused(engine, path, SPLIT + 8)
    assert error.code == 12
    assert "d-s002.vmdk" in error.text
    lines = path.read_text().replace('"d-s001.vmdk"\n', '"d-s001.vmdk"\nRW 8 SPARSE "d-s002.vmdk"\n')
    (tmp_path / ".d.vmdk.new").write_text(lines)
    engine.grow(path, SPLIT + 8)
    assert names(tmp_path) == ["d-s001.vmdk", "d-s002.vmdk", "d.vmdk"]


def test_what_lay_behind_the_end_never_becomes_content(engine: Engine, tmp_path: Path) -> None:
    """The rest of the last grain is cleared; grains and bytes that nobody can explain refuse the call."""
    path = Sparse(sectors=200, grains={0: 1, 1: 2}).save(tmp_path / "d.vmdk")
    engine.grow(path, 300)
    assert bytes(engine.read(path)) == b"\1" * 65536 + b"\2" * (72 * SECTOR) + bytes(100 * SECTOR)
    path = Sparse(sectors=200, grains={0: 1, 5: 2}).save(tmp_path / "e.vmdk")
    assert refused(engine, path, 1000).code == 16006
    path = flat(tmp_path, descriptor(flat_line(100), create_type="monolithicFlat"))
    assert refused(engine, path, 1000).code == 16063
    with (tmp_path / "disk-flat.vmdk").open("r+b") as file:
        file.truncate(100 * SECTOR)
        file.truncate(200 * SECTOR)
    engine.grow(path, 1000)
    assert bytes(engine.read(path)) == b"\xaa" * (100 * SECTOR) + bytes(900 * SECTOR)


def test_a_growth_that_was_interrupted_is_taken_back(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The header is ahead of the extent line and says that its writer is at work; without that it is refused."""
    for unclean in (1, 0):
        header: dict[str, int | bytes] = {"capacity": 20000, "unclean": unclean}
        path = Sparse(sectors=8192, header=header).save(tmp_path / f"{unclean}.vmdk")
        if not unclean:
            assert refused(engine, path, 20000).code == 16063
            continue
        with engine.open(path, READ_ONLY) as disk:
            assert disk.capacity == 8192
        with engine.open(path) as disk:
            assert disk.read(0, 8192) == Sparse().content()
        assert struct.unpack_from("<Q", path.read_bytes(), 12) == (8192,)
        assert path.read_bytes()[72] == 0
        qemu.same(path, Sparse().content())
        engine.grow(path, 20000)
        qemu.same(path, Sparse().content() + bytes((20000 - 8192) * SECTOR))
