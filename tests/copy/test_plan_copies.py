"""Where each disk goes is decided, and refused, before anything is made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from asyncvddk.copy import CopyOptions, CopyPlan, plan_copies
from asyncvddk.models import DiskType

if TYPE_CHECKING:
    from pathlib import Path

RAW = CopyOptions()
VMDK = CopyOptions(vmdk=True)
FORCED = CopyOptions(overwrite=True)


def make_disk(path: Path, *extents: str, parent: str | None = None) -> Path:
    """Write a descriptor and its extents."""
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    lines = "".join(f'RW 2048 FLAT "{name}" 0\n' for name in extents)
    path.write_text(f"# Disk DescriptorFile\n{hint}{lines}")
    for name in extents:
        (path.parent / name).write_bytes(bytes(512))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Make a flat disk, ``src/a.vmdk``."""
    (tmp_path / "src").mkdir()
    return make_disk(tmp_path / "src" / "a.vmdk", "a-flat.vmdk")


def destinations(plan: CopyPlan) -> list[str]:
    """Return the names of the copies."""
    return [job.destination.name for job in plan.jobs]


def test_single_disk_goes_to_the_name_that_is_given(disk: Path, tmp_path: Path) -> None:
    """Whatever the name ends in."""
    plan = plan_copies([disk], tmp_path / "copy.img", RAW)
    assert [job.destination for job in plan.jobs] == [tmp_path / "copy.img"]
    assert plan.new_folder is None


@pytest.mark.parametrize(("options", "name"), [(RAW, "a.raw"), (VMDK, "a.vmdk")])
def test_disk_keeps_its_name_in_a_folder(disk: Path, tmp_path: Path, options: CopyOptions, name: str) -> None:
    """With the ending of what it becomes."""
    assert plan_copies([disk], tmp_path, options).jobs[0].destination == tmp_path / name


def test_folder_with_a_slash_is_made_later(disk: Path, tmp_path: Path) -> None:
    """Planning makes nothing."""
    plan = plan_copies([disk], f"{tmp_path}/new/", RAW)
    assert plan.new_folder == tmp_path / "new"
    assert destinations(plan) == ["a.raw"]
    assert not (tmp_path / "new").exists()


def test_several_disks_need_a_folder(disk: Path, tmp_path: Path) -> None:
    """A file, or nothing without a slash, is refused by name."""
    other = make_disk(tmp_path / "src" / "b.vmdk")
    with pytest.raises(FileNotFoundError, match="missing"):
        plan_copies([disk, other], tmp_path / "missing", RAW)
    with pytest.raises(NotADirectoryError, match=r"b\.vmdk"):
        plan_copies([disk, other], other, RAW)


def test_folder_of_the_destination_must_exist(disk: Path, tmp_path: Path) -> None:
    """Only one folder is ever made."""
    for name in ("no/copy.raw", "no/new/"):
        with pytest.raises(FileNotFoundError, match="no'"):
            plan_copies([disk], f"{tmp_path}/{name}", RAW)


def test_two_disks_of_one_name_are_refused(disk: Path, tmp_path: Path) -> None:
    """One would replace the other."""
    (tmp_path / "other").mkdir()
    twin = make_disk(tmp_path / "other" / "a.vmdk")
    with pytest.raises(ValueError, match=r"both copies would be .*a\.raw"):
        plan_copies([disk, twin], tmp_path, FORCED)
    with pytest.raises(ValueError, match="both copies"):
        plan_copies([disk, disk], tmp_path, FORCED)


def test_copy_named_as_the_extent_of_another_copy_is_refused(disk: Path, tmp_path: Path) -> None:
    """A flat copy of ``a`` makes ``a-flat.vmdk`` too."""
    (tmp_path / "other").mkdir()
    twin = make_disk(tmp_path / "other" / "a-flat.vmdk")
    options = CopyOptions(vmdk=True, disk_type=DiskType.MONOLITHIC_FLAT)
    with pytest.raises(ValueError, match="both copies"):
        plan_copies([disk, twin], tmp_path, options)


def test_existing_destination_needs_overwrite(disk: Path, tmp_path: Path) -> None:
    """A dangling link exists too."""
    (tmp_path / "a.raw").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match=r"a\.raw"):
        plan_copies([disk], tmp_path, RAW)
    assert destinations(plan_copies([disk], tmp_path, FORCED)) == ["a.raw"]


def test_destination_that_is_no_file_is_refused(disk: Path, tmp_path: Path) -> None:
    """Overwriting replaces files, nothing else."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="no regular file"):
        plan_copies([disk], tmp_path / "pipe", FORCED)


@pytest.mark.parametrize("name", ["a.vmdk", "a-flat.vmdk", "link.vmdk", "hard.vmdk"])
def test_copy_never_lands_on_its_source(disk: Path, name: str) -> None:
    """Neither on the descriptor nor on the data, by whatever name; not even with overwrite."""
    (disk.parent / "link.vmdk").symlink_to("a.vmdk")
    os.link(disk.parent / "a-flat.vmdk", disk.parent / "hard.vmdk")
    with pytest.raises(ValueError, match="file of the source"):
        plan_copies([disk], disk.parent / name, FORCED)


def test_copy_never_lands_on_a_parent(disk: Path) -> None:
    """Nor on a parent's data."""
    top = make_disk(disk.parent / "top.vmdk", "top-delta.vmdk", parent="a.vmdk")
    for name in ("a.vmdk", "a-flat.vmdk"):
        with pytest.raises(ValueError, match="file of the source"):
            plan_copies([top], disk.parent / name, FORCED)


def test_copy_whose_extent_would_replace_a_source_is_refused(disk: Path, tmp_path: Path) -> None:
    """``b-flat.vmdk`` holds the data of ``a`` and would be made for ``b``."""
    odd = make_disk(tmp_path / "src" / "odd.vmdk", "b-flat.vmdk")
    options = CopyOptions(vmdk=True, disk_type=DiskType.MONOLITHIC_FLAT, overwrite=True)
    with pytest.raises(ValueError, match="file of the source"):
        plan_copies([odd], disk.parent / "b.vmdk", options)


def test_extents_given_beside_their_disk_are_not_copied_twice(disk: Path, tmp_path: Path) -> None:
    """``*.vmdk`` matches them."""
    plan = plan_copies([disk, disk.parent / "a-flat.vmdk"], tmp_path, RAW)
    assert destinations(plan) == ["a.raw"]
    assert plan.extents == (disk.parent / "a-flat.vmdk",)


def test_no_disk_is_an_error(tmp_path: Path) -> None:
    """Rather than a success that did nothing."""
    with pytest.raises(ValueError, match="no disk"):
        plan_copies([], tmp_path, RAW)
