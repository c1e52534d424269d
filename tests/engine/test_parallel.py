"""Calls on one handle at once, from threads and asynchronous: nothing is lost, mixed up or raced for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk.engine import build
from tests.compiling import objects
from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import LOADER_ENVIRONMENT, SECTOR

if TYPE_CHECKING:
    from tests.engine.driver import Engine

HERE = Path(__file__).parent
SECTORS = 2 * 65536 + 77
"""The area that is written to lies where two grain tables meet."""

ROUNDS = {"": 60, "thread": 12}
"""ThreadSanitizer makes each of them slow."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Compiled parallel.c and attaching.c."""

    folder: Path
    rounds: int

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of them."""
        command = [str(self.folder / name), *map(str, arguments)]
        return subprocess.run(command, env=LOADER_ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda sanitizer: sanitizer or "plain")
def programs(
    request: pytest.FixtureRequest, gcc: str, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Programs:
    """Compile them with the library, or for the sanitizer with its sources."""
    folder = tmp_path_factory.mktemp("parallel")
    linked = [str(library), f"-Wl,-rpath,{library.parent}"]
    if request.param:
        sanitize = f"-fsanitize={request.param}"
        sources = sorted((build.PACKAGE / build.ENGINE.sources).rglob("*.c"))
        compiled = objects([gcc, *flags(), sanitize], sources, folder / "objects")
        linked = [sanitize, str(folder / "engine.so")]
        compile_c(gcc, folder / "engine.so", "-shared", sanitize, *compiled)
    for name in ("parallel", "attaching"):
        compile_c(gcc, folder / name, str(HERE / f"{name}.c"), *linked)
    return Programs(folder, ROUNDS[request.param])


def flags() -> list[str]:
    """Return the flags of every compilation: all warnings, the engine's headers."""
    includes = [f"-I{build.PACKAGE / part}" for part in (build.ENGINE.sources, *build.ENGINE.headers)]
    return [*build.COMMON_FLAGS, *build.SANITIZE_FLAGS, *build.WARNING_FLAGS, '-DENGINE_VERSION="test"', *includes]


def compile_c(gcc: str, target: Path, *arguments: str) -> None:
    """Compile and link with all warnings."""
    subprocess.run([gcc, *flags(), *arguments, "-ldl", "-o", str(target)], check=True)


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
def test_parallel_calls_agree_with_a_model(disk: Path, overlap: int, programs: Programs, engine: Engine) -> None:
    """Reads, writes, flushes and questions from four threads, one of them asynchronous, without a race."""
    done = programs.run("parallel", disk, 1, programs.rounds, overlap)
    assert (done.returncode, done.stderr) == (0, "")
    assert engine.open_error(disk, 0) is None


def test_no_call_on_a_child_waits_for_ever_beside_attach(programs: Programs, engine: Engine, tmp_path: Path) -> None:
    """Metadata, information, the space of a clone, allocated areas: while the child gets its parent, without a race.

    Each answer is about the child alone or about the chain, never about a bit of both.
    """
    base = engine.create(tmp_path / "base.vmdk", 8192)
    with engine.open(base) as disk:
        disk.write(100, b"1" * SECTOR)
        disk.set_metadata("note", "what only the parent has")
        child = disk.create_child(tmp_path / "child.vmdk")
    done = programs.run("attaching", base, child, programs.rounds)
    assert (done.returncode, done.stderr) == (0, "")
