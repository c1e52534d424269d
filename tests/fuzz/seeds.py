"""Sound disks of every format as inputs of the fuzzer; container.h describes their form."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.engine.craft import GRAIN, SECTOR, Sparse, descriptor, flat_line
from tests.engine.craft_esx import Cowd, SeSparse, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("disk.vmdk", "disk-s001.vmdk", "disk-s002.vmdk", "disk-flat.vmdk", "disk-delta.vmdk", "base.vmdk")
WRITABLE, SINGLE_LINK, REPAIR, SHRINK, DEFRAGMENT, GROW, CLONE, CHILD = (1 << bit for bit in range(8))
RECORD = struct.Struct("<BIH")
RUNS = re.compile(rb"[^\0](?:[^\0]|\0{1,24}(?!\0))*", re.DOTALL)
PARTS = re.compile(rb"(.)\1{255,}|(?:(?!(.)\2{255}).)+", re.DOTALL)
CHILD_KEYS = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}

Files = dict[str, bytes]


def records(name: str, data: bytes) -> Iterator[bytes]:
    """Yield what is not zero in a file, the beginning only of areas of one byte, then its size."""
    number = NAMES.index(name)
    for run in RUNS.finditer(data):
        for part in PARTS.finditer(run[0]):
            content = part[0][:64] if part[1] else part[0]
            yield RECORD.pack(number, run.start() + part.start(), len(content)) + content
    yield RECORD.pack(number, len(data), 0)


def pack(files: Files, flags: int) -> bytes:
    """Return one input."""
    return bytes([flags]) + b"".join(record for name, data in files.items() for record in records(name, data))


def text(*lines: str, kind: str = "custom", **keys: str | None) -> bytes:
    """Return a text descriptor."""
    return descriptor(*lines, create_type=kind, **keys).encode()


def tables_first(*, redundant: bool) -> bytes:
    """Return a compressed stream with its tables before the data, as QEMU and open-vmdk write it."""
    flags = 0x30003 if redundant else 0x30001
    header: dict[str, int | bytes] = {"version": 3, "flags": flags, "compression": 1}
    if not redundant:
        header["rgd_offset"] = 0
    shape = Sparse(grains={}, header=header)
    data = b""
    for grain in (0, 2):
        packed = zlib.compress(bytes([grain + 1]) * GRAIN * SECTOR)
        entry = shape.layout()[2] + len(data) // SECTOR
        shape.gt_entries[grain] = entry
        shape.rgt_entries[grain] = entry
        record = struct.pack("<QI", grain * GRAIN, len(packed)) + packed
        data += record.ljust(-(-len(record) // SECTOR) * SECTOR, b"\0")
    shape.text = descriptor(f'RW {shape.sectors} SPARSE "disk.vmdk"', create_type="streamOptimized")
    return shape.build() + data + (b"" if redundant else bytes(SECTOR))


def split() -> Files:
    """Return two sparse extents, the second one with space at its end."""
    shape = Sparse(sectors=1000, grains={0: 1}, header={"descriptor_offset": 0, "descriptor_size": 0}, text="")
    lines = 'RW 1000 SPARSE "disk-s001.vmdk"', 'RW 900 SPARSE "disk-s002.vmdk"'
    second = replace(shape, sectors=900)
    return {
        "disk.vmdk": text(*lines, kind="twoGbMaxExtentSparse"),
        "disk-s001.vmdk": shape.build(),
        "disk-s002.vmdk": second.build(),
    }


def chain(top: Files, sectors: int = 8192) -> Files:
    """Return a disk on top of a sparse one."""
    return {**top, "base.vmdk": Sparse(sectors=sectors, grains={1: 7, 3: 8}).build()}


def delta(disk: Cowd | SeSparse, *, child: bool) -> Files:
    """Return a redo log with its descriptor."""
    line, kind = ("SESPARSE", "seSparse") if isinstance(disk, SeSparse) else ("VMFSSPARSE", "vmfsSparse")
    keys = CHILD_KEYS if child else {}
    files = {
        "disk.vmdk": text(f'RW {disk.sectors} {line} "disk-delta.vmdk"', kind=kind, **keys),
        "disk-delta.vmdk": disk.build(),
    }
    return chain(files, disk.sectors) if child else files


def child(gd_entries: dict[int, int]) -> Files:
    """Return a sparse disk with a parent; ``gd_entries`` overwrites both directories."""
    line = descriptor('RW 8192 SPARSE "disk.vmdk"', **CHILD_KEYS)
    return chain({"disk.vmdk": Sparse(text=line, grains={0: 9}, gd_entries=gd_entries, rgd_entries=gd_entries).build()})


def flat_disks() -> Iterator[Files]:
    """Yield raw extents in several sorts of descriptors."""
    yield {"disk.vmdk": text(flat_line(), kind="monolithicFlat"), "disk-flat.vmdk": bytes(128 * SECTOR)}
    yield {"disk.vmdk": text('RW 128 VMFS "disk-flat.vmdk"', kind="vmfs"), "disk-flat.vmdk": bytes(128 * SECTOR)}
    mixed = 'RW 64 FLAT "disk-flat.vmdk" 0', "RW 100 ZERO", 'RDONLY 64 FLAT "disk-flat.vmdk" 64'
    yield {"disk.vmdk": text(*mixed), "disk-flat.vmdk": bytes(128 * SECTOR)}


def sparse_disks() -> Iterator[Files]:
    """Yield sparse disks: ordinary ones, with zeroed grains, without redundancy, left by a writer that died."""
    yield {"disk.vmdk": Sparse(grains={0: 5}).build()}
    yield {"disk.vmdk": Sparse(sectors=65536 + 300, header={"unclean": 1}, rgt_entries={1: 0}).build()}
    yield {"disk.vmdk": Sparse(header={"version": 2, "flags": 7}, gt_entries={5: 1}, rgt_entries={5: 1}).build()}
    yield {"disk.vmdk": Sparse(header={"flags": 1, "rgd_offset": 0}).build()}
    small: dict[str, int | bytes] = {"grain_size": 8, "gtes_per_gt": 512}
    yield {"disk.vmdk": Sparse(sectors=4000, header=small, grains={i: i for i in range(1, 4)}).build()}


def stream_disks() -> Iterator[Files]:
    """Yield compressed streams in the layouts of VMware, QEMU and open-vmdk."""
    yield {"disk.vmdk": Stream().build()}
    yield {"disk.vmdk": Stream(sectors=1000, grains={0: b"\1"}).build()}
    yield from ({"disk.vmdk": tables_first(redundant=redundant)} for redundant in (True, False))


def chains() -> Iterator[Files]:
    """Yield disks with a parent."""
    yield child({})
    yield child({0: 0})
    two = descriptor('RW 8192 SPARSE "base.vmdk"', **CHILD_KEYS).replace('Hint="base', 'Hint="disk')
    yield {"disk.vmdk": child({})["disk.vmdk"], "base.vmdk": Sparse(text=two).build()}


def disks(fmt: str) -> Iterator[Files]:
    """Yield the disks of one format."""
    match fmt:
        case "sparse":
            yield from sparse_disks()
        case "stream":
            yield from stream_disks()
        case "cowd":
            yield from (delta(Cowd(grain_size=size), child=size > 1) for size in (1, 8))
        case "sesparse":
            yield from (delta(SeSparse(), child=child) for child in (False, True))
        case "flat":
            yield from flat_disks()
        case "split":
            yield split()
        case "chain":
            yield from chains()


FORMATS = ("sparse", "stream", "cowd", "sesparse", "flat", "split", "chain")
HOW = (0, WRITABLE, REPAIR, WRITABLE | SHRINK | DEFRAGMENT, GROW, CLONE | CHILD, SINGLE_LINK | WRITABLE)


def write(fmt: str, folder: Path) -> int:
    """Write the seeds of a format; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [pack(files, flags) for files in disks(fmt) for flags in HOW]
    for number, data in enumerate(inputs):
        (folder / f"seed-{number:02}").write_bytes(data)
    return len(inputs)
