"""Calls on one handle at once, from threads and asynchronous: nothing is lost, mixed up or raced for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk.engine import build
from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import LOADER_ENVIRONMENT

if TYPE_CHECKING:
    from tests.engine.driver import Engine

HERE = Path(__file__).parent
SECTORS = 2 * 65536 + 77
"""The area that is written to lies where two grain tables meet."""

ROUNDS = {"": 60, "thread": 12}
"""ThreadSanitizer makes each of them slow."""


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled parallel.c."""

    path: Path
    rounds: int

    def run(self, disk: Path, overlap: int) -> subprocess.CompletedProcess[str]:
        """Run it on a disk."""
        command = [str(part) for part in (self.path, disk, 1, self.rounds, overlap)]
        return subprocess.run(command, env=LOADER_ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda sanitizer: sanitizer or "plain")
def program(
    request: pytest.FixtureRequest, gcc: str, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Program:
    """Compile parallel.c with the library, or for the sanitizer with its sources."""
    target = tmp_path_factory.mktemp("parallel") / "parallel"
    sources = [str(path) for path in sorted((build.PACKAGE / build.ENGINE.sources).rglob("*.c"))]
    linked = [str(library), f"-Wl,-rpath,{library.parent}"]
    engine = [f"-fsanitize={request.param}", *sources] if request.param else linked
    includes = [f"-I{build.PACKAGE / part}" for part in (build.ENGINE.sources, *build.ENGINE.headers)]
    flags = [*build.COMMON_FLAGS, *build.SANITIZE_FLAGS, *build.WARNING_FLAGS, '-DENGINE_VERSION="test"', *includes]
    subprocess.run([gcc, *flags, str(HERE / "parallel.c"), *engine, "-ldl", "-o", str(target)], check=True)
    return Program(target, ROUNDS[request.param])


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


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a disk of each kind."""
    return DISKS[request.param](tmp_path)


@pytest.mark.parametrize("overlap", [0, 1], ids=["disjoint", "overlapping"])
def test_parallel_calls_agree_with_a_model(disk: Path, overlap: int, program: Program, engine: Engine) -> None:
    """Reads, writes, flushes and questions from four threads, one of them asynchronous, without a race."""
    done = program.run(disk, overlap)
    assert (done.returncode, done.stderr) == (0, "")
    assert engine.open_error(disk, 0) is None
