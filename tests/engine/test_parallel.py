"""Calls on one handle at once, from threads and asynchronous: nothing is lost, mixed up or raced for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk.engine import build
from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import LOADER_ENVIRONMENT

if TYPE_CHECKING:
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

HERE = Path(__file__).parent
SECTORS = 2 * 65536 + 77
"""The area that is written to lies where two grain tables meet."""

ROUNDS = {"": 60, "thread": 12}
"""ThreadSanitizer makes each of them slow."""


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda sanitizer: sanitizer or "plain")
def program(
    request: pytest.FixtureRequest, gcc: str, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """Compile parallel.c with the library, or for the sanitizer with its sources; return it and how many rounds."""
    target = tmp_path_factory.mktemp("parallel") / "parallel"
    sources = sorted((build.PACKAGE / build.ENGINE.sources).rglob("*.c"))
    engine = [f"-fsanitize={request.param}", *sources] if request.param else [library, f"-Wl,-rpath,{library.parent}"]
    includes = [f"-I{build.PACKAGE / part}" for part in (build.ENGINE.sources, *build.ENGINE.headers)]
    flags = [*build.COMMON_FLAGS, *build.SANITIZE_FLAGS, *build.WARNING_FLAGS, '-DENGINE_VERSION="test"', *includes]
    subprocess.run([gcc, *flags, HERE / "parallel.c", *engine, "-ldl", "-o", target], check=True)
    return target, ROUNDS[request.param]


def make_sparse(folder: Path) -> Path:
    """Return a sparse disk with some grains."""
    return Sparse(sectors=SECTORS, grains={1024 + i: 100 + i for i in range(-30, 30, 7)}).save(folder / "disk.vmdk")


def make_child(folder: Path) -> Path:
    """Return an empty disk on top of the same one."""
    make_sparse(folder).rename(folder / "base.vmdk")
    keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
    text = descriptor(f'RW {SECTORS} SPARSE "disk.vmdk"', **keys)
    return Sparse(sectors=SECTORS, grains={}, text=text).save(folder / "disk.vmdk")


def make_split(folder: Path) -> Path:
    """Return a disk of two extents, sparse and flat."""
    lines = 'RW 3000 SPARSE "disk-s001.vmdk"', flat_line(3000)
    bare = Sparse(sectors=3000, grains={}, header={"descriptor_offset": 0, "descriptor_size": 0}, text="")
    bare.save(folder / "disk-s001.vmdk")
    return flat(folder, descriptor(*lines, create_type="custom"), sectors=3000)


def make_flat(folder: Path) -> Path:
    """Return a flat disk."""
    return flat(folder, descriptor(flat_line(6000), create_type="monolithicFlat"), sectors=6000)


DISKS = {"sparse": make_sparse, "child": make_child, "split": make_split, "flat": make_flat}


@pytest.mark.parametrize("overlap", [False, True], ids=["disjoint", "overlapping"])
@pytest.mark.parametrize("name", DISKS)
def test_parallel_calls_agree_with_a_model(
    name: str, overlap: bool, program: tuple[Path, int], engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Reads, writes, flushes and questions from four threads, one of them asynchronous; ThreadSanitizer sees no race."""
    path = DISKS[name](tmp_path)
    command = [program[0], path, "1", str(program[1]), str(int(overlap))]
    done = subprocess.run(command, env=LOADER_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert engine.open_error(path, 0) is None
    if name != "split":
        qemu.check(path)
