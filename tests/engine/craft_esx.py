"""Files of the formats that the engine only reads: redo logs of ESXi and compressed streams."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from tests.engine.craft import GRAIN, HEADER, HEADER_FIELDS, SECTOR, TABLE, descriptor

COWD_HEADER = struct.Struct("<4s7I")
COWD_FIELDS = ("magic", "version", "flags", "sectors", "grain_size", "gd_offset", "gd_entries", "free_sector")
SE_HEADER = struct.Struct("<26Q304x")


@dataclass
class Cowd:
    """A vmfsSparse extent; ``grains`` maps a grain's number to the byte that fills it."""

    sectors: int = 8192
    grain_size: int = 1
    grains: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 2, 9: 3, 4095: 4, 4096: 5, 8191: 6})
    header: dict[str, int | bytes] = field(default_factory=dict)
    gd_entries: dict[int, int] = field(default_factory=dict)
    gt_entries: dict[int, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """Return the file: header, directory, then each table before its grains."""
        tables = -(-self.sectors // (4096 * self.grain_size))
        fields = dict.fromkeys(COWD_FIELDS, 0) | {"magic": b"COWD", "version": 1, "flags": 3, "gd_offset": 4}
        fields |= {"sectors": self.sectors, "grain_size": self.grain_size, "gd_entries": tables}
        directory: dict[int, int] = {}
        data = bytearray((4 + -(-4 * tables // SECTOR)) * SECTOR)
        for grain, fill in self.grains.items():
            if grain // 4096 not in directory:
                directory[grain // 4096] = len(data) // SECTOR
                data += bytes(4096 * 4)
            entry = directory[grain // 4096] * SECTOR + grain % 4096 * 4
            struct.pack_into("<I", data, entry, self.gt_entries.get(grain, len(data) // SECTOR))
            data += bytes([fill]) * (self.grain_size * SECTOR)
        data[: COWD_HEADER.size] = COWD_HEADER.pack(*(fields | self.header).values())
        for index, sector in (directory | self.gd_entries).items():
            struct.pack_into("<I", data, 4 * SECTOR + 4 * index, sector)
        return bytes(data)


@dataclass
class SeSparse:
    """A seSparse extent; a grain has 4 KiB. ``zeroed`` grains hide the parent."""

    sectors: int = 65536
    grains: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 2, 9: 3, 4095: 4, 4096: 5, 8191: 6})
    zeroed: dict[int, int] = field(default_factory=lambda: {5: 1, 6: 2})
    header: dict[int, int] = field(default_factory=dict)
    dirty: int = 0
    gd_entries: dict[int, int] = field(default_factory=dict)
    gt_entries: dict[int, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """Return the file: headers, directory, tables, grains; tables are numbered as they are needed."""
        tables = -(-self.sectors // 32768)
        first_table, first_grain = 16, 16 + tables * 64
        words = [0xCAFEBABE, 0x200000001, self.sectors, 8, 64, 0, 0, 0, 0, 0]
        words += [1, 1, 2, 1, 3, 1, 8, 8, first_table, tables * 64, 4, 1, 5, 1, first_grain, len(self.grains) * 8]
        for index, value in self.header.items():
            words[index] = value
        data = bytearray(first_grain * SECTOR)
        data[: SE_HEADER.size] = SE_HEADER.pack(*words)
        struct.pack_into("<4Q", data, SECTOR, 0xCAFECAFE, 0, 0, self.dirty)
        entries = {grain: kind << 60 for grain, kind in self.zeroed.items()}
        entries |= {grain: 3 << 60 | (i >> 12) | (i & 0xFFF) << 48 for i, grain in enumerate(self.grains)}
        numbers: dict[int, int] = {}
        for grain, entry in sorted((entries | self.gt_entries).items(), reverse=True):
            number = numbers.setdefault(grain // 4096, len(numbers))
            struct.pack_into("<Q", data, (first_table + number * 64) * SECTOR + grain % 4096 * 8, entry)
        directory = {table: 0x10000000 << 32 | number for table, number in numbers.items()} | self.gd_entries
        for table, entry in directory.items():
            struct.pack_into("<Q", data, 8 * SECTOR + 8 * table, entry)
        return bytes(data) + b"".join(bytes([fill]) * 4096 for fill in self.grains.values())


@dataclass
class Stream:
    """A streamOptimized disk with its directory at the end, as VMware writes it."""

    sectors: int = 65536 + 300
    grains: dict[int, bytes] = field(default_factory=lambda: {0: b"\1", 2: bytes(range(256)), 511: b"\3", 512: b"\4"})
    header: dict[str, int | bytes] = field(default_factory=dict)
    footer: dict[str, int | bytes] = field(default_factory=dict)
    packed: dict[int, bytes] = field(default_factory=dict)
    lba: dict[int, int] = field(default_factory=dict)
    size: dict[int, int] = field(default_factory=dict)
    markers: dict[str, bytes] = field(default_factory=dict)
    tail: bytes = b""

    def grain(self, grain: int) -> bytes:
        """Return what a grain holds."""
        return self.grains[grain] * (GRAIN * SECTOR // len(self.grains[grain]))

    def header_bytes(self, **fields: int | bytes) -> bytes:
        """Return header or footer."""
        values: dict[str, int | bytes] = dict.fromkeys(HEADER_FIELDS, 0)
        values |= {"magic": b"KDMV", "version": 3, "flags": 0x30001, "capacity": self.sectors, "grain_size": GRAIN}
        values |= {"descriptor_offset": 1, "descriptor_size": 20, "gtes_per_gt": TABLE, "gd_offset": (1 << 64) - 1}
        values |= {"overhead": 128, "newlines": b"\n \r\n", "compression": 1}
        return HEADER.pack(*(values | fields).values())

    @staticmethod
    def marker(sectors: int, kind: int) -> bytes:
        """Return the sector before a table or footer."""
        return struct.pack("<QII496x", sectors, 0, kind)

    def build(self) -> bytes:
        """Return the file."""
        text = descriptor(f'RW {self.sectors} SPARSE "disk.vmdk"', create_type="streamOptimized")
        data = bytearray(self.header_bytes(**self.header) + text.encode()).ljust(128 * SECTOR, b"\0")
        directory = [0] * -(-self.sectors // (GRAIN * TABLE))
        for table in sorted({grain // TABLE for grain in self.grains}):
            entries = [0] * TABLE
            for grain in (grain for grain in self.grains if grain // TABLE == table):
                entries[grain % TABLE] = len(data) // SECTOR
                packed = self.packed.get(grain, zlib.compress(self.grain(grain)))
                marker = struct.pack("<QI", self.lba.get(grain, grain * GRAIN), self.size.get(grain, len(packed)))
                data += (marker + packed).ljust(-(-(12 + len(packed)) // SECTOR) * SECTOR, b"\0")
            data += self.marker(4, 1)
            directory[table] = len(data) // SECTOR
            data += struct.pack(f"<{TABLE}I", *entries)
        data += self.marker(1, 2)
        at = len(data) // SECTOR
        data += struct.pack(f"<{len(directory)}I", *directory).ljust(SECTOR, b"\0")
        data += self.markers.get("footer", self.marker(1, 3))
        data += self.header_bytes(**{"gd_offset": at, **self.header, **self.footer})
        return bytes(data + self.markers.get("end", self.marker(0, 0)) + self.tail)

    def content(self) -> bytes:
        """Return what the disk holds."""
        disk = bytearray(-(-self.sectors // GRAIN) * GRAIN * SECTOR)
        for grain in self.grains:
            disk[grain * GRAIN * SECTOR : (grain + 1) * GRAIN * SECTOR] = self.grain(grain)
        return bytes(disk[: self.sectors * SECTOR])
