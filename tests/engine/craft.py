"""VMDK files made byte by byte: sound ones by default, any field may be set otherwise."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
GRAIN = 128
TABLE = 512

HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
HEADER_FIELDS = (
    "magic",
    "version",
    "flags",
    "capacity",
    "grain_size",
    "descriptor_offset",
    "descriptor_size",
    "gtes_per_gt",
    "rgd_offset",
    "gd_offset",
    "overhead",
    "unclean",
    "newlines",
    "compression",
)


def descriptor(*extents: str, create_type: str = "monolithicSparse", **keys: str | None) -> str:
    """Return a descriptor; ``keys`` replaces lines of the header, None leaves one out."""
    header: dict[str, str | None] = {"version": "1", "CID": "12345678", "parentCID": "ffffffff"}
    header = header | {"createType": f'"{create_type}"'} | keys
    lines = ["# Disk DescriptorFile"]
    lines += [f"{key}={value}" for key, value in header.items() if value is not None]
    lines += ["", "# Extent description", *extents, "", "# The Disk Data Base", "#DDB", ""]
    lines += ['ddb.adapterType = "ide"', 'ddb.geometry.sectors = "63"', ""]
    return "\n".join(lines)


@dataclass
class Sparse:
    """A monolithic sparse disk of 4 MiB with two grain tables' worth of room.

    ``grains`` maps a grain's number to the byte that fills it. The ``*_entries`` dictionaries overwrite entries of the
    directories and tables by number, after everything else.
    """

    sectors: int = 8192
    grains: dict[int, int] = field(default_factory=lambda: {0: 0xA1, 2: 0xA2})
    header: dict[str, int | bytes] = field(default_factory=dict)
    text: str | None = None
    gd_entries: dict[int, int] = field(default_factory=dict)
    rgd_entries: dict[int, int] = field(default_factory=dict)
    gt_entries: dict[int, int] = field(default_factory=dict)
    rgt_entries: dict[int, int] = field(default_factory=dict)
    size: int | None = None

    def tables(self) -> int:
        """Return the number of grain tables."""
        return -(-self.sectors // (GRAIN * TABLE))

    def layout(self) -> tuple[int, int, int]:
        """Return the sectors of the redundant directory, of the directory and of the first grain."""
        directory = -(-4 * self.tables() // SECTOR)
        both = directory + self.tables() * TABLE * 4 // SECTOR
        return 21, 21 + both, -(-(21 + 2 * both) // GRAIN) * GRAIN

    def header_bytes(self) -> bytes:
        """Return the first sector."""
        redundant, directory, overhead = self.layout()
        fields = dict.fromkeys(HEADER_FIELDS, 0) | {
            "magic": b"KDMV",
            "version": 1,
            "flags": 3,
            "capacity": self.sectors,
            "grain_size": GRAIN,
            "descriptor_offset": 1,
            "descriptor_size": 20,
            "gtes_per_gt": TABLE,
            "rgd_offset": redundant,
            "gd_offset": directory,
            "overhead": overhead,
            "newlines": b"\n \r\n",
        }
        return HEADER.pack(*(fields | self.header).values())

    def build(self) -> bytes:
        """Return the file."""
        redundant, directory, overhead = self.layout()
        text = self.text if self.text is not None else descriptor(f'RW {self.sectors} SPARSE "disk.vmdk"')
        image = bytearray((overhead + GRAIN * len(self.grains)) * SECTOR)
        image[:SECTOR] = self.header_bytes()
        image[SECTOR : SECTOR + len(text)] = text.encode()
        self._fill_tables(image, redundant, self.rgd_entries, self.rgt_entries)
        self._fill_tables(image, directory, self.gd_entries, self.gt_entries)
        for place, fill in enumerate(self.grains.values()):
            start = (overhead + place * GRAIN) * SECTOR
            image[start : start + GRAIN * SECTOR] = bytes([fill]) * (GRAIN * SECTOR)
        size = len(image) if self.size is None else self.size
        return bytes(image[:size]).ljust(size, b"\0")

    def _fill_tables(self, image: bytearray, sector: int, gd: dict[int, int], gt: dict[int, int]) -> None:
        first = sector + -(-4 * self.tables() // SECTOR)
        overhead = self.layout()[2]
        gdes = {i: first + i * TABLE * 4 // SECTOR for i in range(self.tables())} | gd
        gtes = {grain: overhead + place * GRAIN for place, grain in enumerate(self.grains)} | gt
        for start, entries in ((sector, gdes), (first, gtes)):
            for i, value in entries.items():
                struct.pack_into("<I", image, start * SECTOR + 4 * i, value)

    def content(self) -> bytes:
        """Return what the disk holds."""
        disk = bytearray(self.sectors * SECTOR)
        for grain, fill in self.grains.items():
            start = grain * GRAIN * SECTOR
            disk[start : start + GRAIN * SECTOR] = bytes([fill]) * (GRAIN * SECTOR)
        return bytes(disk[: self.sectors * SECTOR])

    def save(self, path: Path) -> Path:
        """Write the file."""
        path.write_bytes(self.build())
        return path


def flat(
    folder: Path, text: str | bytes, *, name: str = "disk.vmdk", sectors: int = 128, file: str = "disk-flat.vmdk"
) -> Path:
    """Write a text descriptor and beside it a file of ``sectors`` for its extent."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if file:
        (folder / file).write_bytes(b"\xaa" * (sectors * SECTOR))
    return path


def flat_line(sectors: int = 128, file: str = "disk-flat.vmdk", offset: str = " 0") -> str:
    """Return the extent line of ``flat``."""
    return f'RW {sectors} FLAT "{file}"{offset}'
