"""Files a local VMDK consists of, so that no copy lands on one of them. Reads descriptors, never data."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTOR_LIMIT = 1 << 20
"""Bytes of a descriptor that are looked at; real ones have a few kilobytes."""
CHAIN_LIMIT = 255
"""Links of a snapshot chain that are followed."""

_TEXT_MAGIC = b"# Disk DescriptorFile"
_SPARSE_MAGIC = b"KDMV"
_SECTOR = 512
_EXTENT = re.compile(r'^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+\w+\s+"([^"]+)"', re.MULTILINE)
_TYPE = re.compile(r'^\s*createType\s*=\s*"([^"]+)"', re.MULTILINE)
_PARENT = re.compile(r'^\s*parentFileNameHint\s*=\s*"([^"]+)"', re.MULTILINE)


def extents_of(path: Path) -> list[Path]:
    """Return the extent files that the descriptor in ``path`` names, itself left out.

    Empty for a file that is missing, unreadable or no VMDK: opening it tells what is wrong.
    """
    names = _EXTENT.findall(_descriptor(path))
    return [path.parent / name for name in names if name != path.name]


def files_of(path: Path) -> list[Path]:
    """Return every file that a read of the disk ``path`` may touch: itself, extents, parents and theirs."""
    files: list[Path] = []
    link: Path | None = path
    while link is not None and link not in files and len(files) < CHAIN_LIMIT * CHAIN_LIMIT:
        files += [link, *extents_of(link)]
        parent = _PARENT.search(_descriptor(link))
        link = link.parent / parent.group(1) if parent else None
    return files


def is_vmdk(path: Path) -> bool:
    """Tell whether a local file begins as a VMDK does: with a descriptor or a sparse header. Raises OSError.

    A pipe does not, and is not opened: that would wait for somebody who writes.
    """
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        return False
    with path.open("rb") as file:
        return file.read(_SECTOR).startswith((_TEXT_MAGIC, _SPARSE_MAGIC))


def create_type(path: Path) -> str | None:
    """Return the kind of a local disk as its descriptor spells it (``monolithicSparse``), if it has one."""
    match = _TYPE.search(_descriptor(path))
    return match.group(1) if match else None


def _descriptor(path: Path) -> str:
    """Return the text of the descriptor in ``path``, alone or in a sparse extent; empty if there is none."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(_SECTOR)
            if head.startswith(_TEXT_MAGIC):
                return (head + file.read(DESCRIPTOR_LIMIT)).decode("utf-8", "replace")
            if not head.startswith(_SPARSE_MAGIC):
                return ""
            file.seek(int.from_bytes(head[28:36], "little") * _SECTOR)
            length = int.from_bytes(head[36:44], "little") * _SECTOR
            return file.read(min(length, DESCRIPTOR_LIMIT)).decode("utf-8", "replace")
    except (OSError, OverflowError, ValueError):
        return ""
