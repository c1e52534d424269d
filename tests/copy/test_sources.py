"""Files a disk consists of, by its descriptor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from asyncvddk.copy._sources import create_type, extents_of, files_of

if TYPE_CHECKING:
    from pathlib import Path


def write_descriptor(path: Path, *extents: str, parent: str | None = None) -> Path:
    """Write a descriptor that names ``extents``."""
    lines = ["# Disk DescriptorFile", "version=1", 'createType="vmfs"']
    lines += [f'parentFileNameHint="{parent}"'] if parent else []
    lines += [f'RW 2048 FLAT "{name}" 0' for name in extents]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_extents_of_a_descriptor_lie_beside_it(tmp_path: Path) -> None:
    """In the order of their lines."""
    disk = write_descriptor(tmp_path / "a.vmdk", "a-f001.vmdk", "a-f002.vmdk")
    assert extents_of(disk) == [tmp_path / "a-f001.vmdk", tmp_path / "a-f002.vmdk"]
    assert create_type(disk) == "vmfs"


def test_embedded_descriptor_names_no_other_file(tmp_path: Path) -> None:
    """A monolithic sparse disk is its own extent."""
    text = b'# Disk DescriptorFile\ncreateType="monolithicSparse"\nRW 2048 SPARSE "a.vmdk"\n'
    header = bytearray(512)
    header[:4] = b"KDMV"
    header[28:36] = (1).to_bytes(8, "little")
    header[36:44] = (20).to_bytes(8, "little")
    (tmp_path / "a.vmdk").write_bytes(header + text.ljust(20 * 512, b"\0"))
    assert extents_of(tmp_path / "a.vmdk") == []
    assert create_type(tmp_path / "a.vmdk") == "monolithicSparse"


def test_files_of_a_chain_include_the_parents(tmp_path: Path) -> None:
    """With their extents."""
    write_descriptor(tmp_path / "base.vmdk", "base-flat.vmdk")
    top = write_descriptor(tmp_path / "top.vmdk", "top-delta.vmdk", parent="base.vmdk")
    names = [file.name for file in files_of(top)]
    assert names == ["top.vmdk", "top-delta.vmdk", "base.vmdk", "base-flat.vmdk"]


def test_loop_of_parents_ends(tmp_path: Path) -> None:
    """Opening such a disk tells what is wrong with it; looking at it comes back."""
    one = write_descriptor(tmp_path / "one.vmdk", parent="two.vmdk")
    write_descriptor(tmp_path / "two.vmdk", parent="one.vmdk")
    assert [file.name for file in files_of(one)] == ["one.vmdk", "two.vmdk"]


def test_what_is_no_disk_has_no_extents(tmp_path: Path) -> None:
    """Missing, folder, garbage, a sparse header that points nowhere, and a pipe that would block."""
    (tmp_path / "garbage").write_bytes(os.urandom(4096))
    (tmp_path / "header").write_bytes(b"KDMV" + b"\xff" * 508)
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", ".", "garbage", "header", "pipe"):
        assert extents_of(tmp_path / name) == []
