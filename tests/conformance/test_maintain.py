"""A linked C program maintains disks through every call that VDDK has for it; qemu-img agrees with what it did."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.conformance import disks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    Maintain: TypeAlias = Callable[..., str]

SPARSE, FLAT, STREAM = "1", "2", "6"
SIZE = 20 * disks.MIB


@pytest.fixture(scope="session")
def maintain(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Maintain:
    """Compile maintain.c, linked with the library; return a function that runs it."""
    program = tmp_path_factory.mktemp("maintain") / "maintain"
    flags = ("-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{disks.ENGINE / 'include'}")
    library = (f"-L{disks.ENGINE / 'lib64'}", "-lvixDiskLib", f"-Wl,-rpath,{disks.ENGINE / 'lib64'}")
    disks.run(gcc, *flags, disks.ROOT / "tests" / "conformance" / "maintain.c", "-o", program, *library)
    return lambda *words: disks.run(program, *words).decode().strip()


@pytest.fixture
def disk(qemu_img: str, tmp_path: Path) -> tuple[Path, Path]:
    """Return a sparse disk that qemu-img filled, and its raw content."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE, areas=6)
    return disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", "monolithicSparse"), raw


def test_create_and_unlink(maintain: Maintain, qemu_img: str, tmp_path: Path) -> None:
    """A disk of zeros comes and goes with all of its files."""
    path, raw = tmp_path / "new.vmdk", tmp_path / "new.raw"
    with raw.open("wb") as file:
        file.truncate(SIZE)
    assert maintain("create", path, FLAT, SIZE // 512) == "100"
    disks.assert_equal(qemu_img, path, raw)
    maintain("unlink", path)
    assert list(tmp_path.iterdir()) == [raw]


@pytest.mark.parametrize("kind", [SPARSE, FLAT, STREAM])
def test_clone_and_space(maintain: Maintain, disk: tuple[Path, Path], qemu_img: str, tmp_path: Path, kind: str) -> None:
    """The copy has the content, and takes no more than was said, but for a few words."""
    source, raw = disk
    folder = tmp_path / "copy"
    folder.mkdir()
    needed = int(maintain("space", source, kind))
    assert maintain("clone", source, folder / "copy.vmdk", kind) == "100"
    disks.run(qemu_img, "compare", "-f", "vmdk", "-F", "raw", folder / "copy.vmdk", raw)
    files = sum(file.stat().st_size for file in folder.iterdir())
    assert files <= needed + 512  # the descriptor names another adapter than the source has


def test_grow(maintain: Maintain, disk: tuple[Path, Path], qemu_img: str) -> None:
    """The content stays, zeros follow."""
    path, raw = disk
    with raw.open("r+b") as file:
        file.truncate(2 * SIZE)
    assert maintain("grow", path, 2 * SIZE // 512) == "100"
    disks.assert_equal(qemu_img, path, raw)


@pytest.mark.parametrize("call", ["shrink", "defragment"])
def test_compaction(maintain: Maintain, disk: tuple[Path, Path], qemu_img: str, call: str) -> None:
    """The content stays."""
    path, raw = disk
    assert maintain(call, path) == "100"
    disks.assert_equal(qemu_img, path, raw)


def test_rename_and_check(maintain: Maintain, disk: tuple[Path, Path], qemu_img: str, tmp_path: Path) -> None:
    """The disk is sound under its new name, and gone under the old one."""
    path, raw = disk
    maintain("rename", path, tmp_path / "renamed.vmdk")
    assert not path.exists()
    maintain("check", tmp_path / "renamed.vmdk", "0")
    maintain("check", tmp_path / "renamed.vmdk", "1")
    disks.assert_equal(qemu_img, tmp_path / "renamed.vmdk", raw)


def test_child_and_attach(maintain: Maintain, disk: tuple[Path, Path], qemu_img: str, tmp_path: Path) -> None:
    """The child shows its parent's content, opened as a chain by name or put together by hand."""
    path, raw = disk
    first = random.Random(1).randbytes(512)
    with raw.open("r+b") as file:
        file.write(first)
    disks.make_vmdk(qemu_img, raw, path, "monolithicSparse")
    assert maintain("child", path, tmp_path / "child.vmdk") == "100"
    disks.run(qemu_img, "compare", "-f", "vmdk", "-F", "raw", tmp_path / "child.vmdk", raw)
    assert maintain("attach", path, tmp_path / "child.vmdk") == f"2 {first[0]}"


def test_parameters_of_a_local_connection(maintain: Maintain) -> None:
    """Nothing was given, nothing comes back."""
    assert maintain("parameters") == "- -"
