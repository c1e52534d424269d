"""What is done to disks while a process dies or the power goes, and what must be left."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.engine.craft import Sparse, descriptor, flat
from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    STREAM_OPTIMIZED,
    VMFS_FLAT,
    VMFS_THIN,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engine.driver import Engine

SMALL = 1900
"""Sectors of flat and split disks, whose files are stored and read as wholes."""

LARGE = 65536 + 77
"""Sectors of sparse disks: two grain tables, and a grain that is cut short."""

EXTENT = 4192256
"""Sectors of a full extent of a split disk."""

DISK = "disk.vmdk"
OTHER = "other.vmdk"
PATTERN = 0x40


@dataclass(frozen=True, slots=True)
class Kept:
    """A disk of the folder that must be there, or may be missing while it is made or deleted."""

    names: tuple[str, ...] = (DISK,)
    """One of these: a disk that is being renamed has two."""
    like: str = DISK
    """The disk whose content it had before; empty: zeros."""
    replaced_by: str = ""
    """The disk whose content it may have, and must have behind the command ``made_by``; empty: it is not replaced."""
    made_by: int = 0
    """Number of the command behind which it must be there; 0: always."""
    deleted_by: int = 0
    """Number of the command behind which it must be gone; 0: never."""
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """Commands of crash_run.c on disks that ``prepare`` makes."""

    name: str
    prepare: Callable[[Engine, Path], object]
    commands: tuple[str, ...]
    disks: tuple[Kept, ...] = (Kept(),)


def fill(engine: Engine, path: Path) -> Path:
    """Write a pattern to both ends and to the middle of a disk."""
    with engine.open(path) as disk:
        capacity = disk.capacity
        for start, count in probes(capacity):
            disk.write(start, b"".join(bytes([PATTERN + i % 100]) * SECTOR for i in range(start, start + count)))
        disk.set_metadata("comment", "before")
    return path


def probes(capacity: int) -> list[tuple[int, int]]:
    """Return the areas that are compared besides those that the commands write."""
    return [(0, 150), (capacity // 2, 140), (capacity - 70, 60)]


def nothing(_engine: Engine, _folder: Path) -> None:
    """Prepare an empty folder."""


def sparse(engine: Engine, folder: Path) -> None:
    """Prepare a monolithic sparse disk."""
    fill(engine, engine.create(folder / DISK, LARGE))


def raw(engine: Engine, folder: Path) -> None:
    """Prepare a monolithic flat disk."""
    fill(engine, engine.create(folder / DISK, SMALL, MONOLITHIC_FLAT))


def vmfs(engine: Engine, folder: Path) -> None:
    """Prepare a flat disk as ESXi has it."""
    fill(engine, engine.create(folder / DISK, SMALL, VMFS_FLAT))


def split(engine: Engine, folder: Path) -> None:
    """Prepare a disk of two sparse extents."""
    halves = {"disk-s001.vmdk": 1000, "disk-s002.vmdk": SMALL - 1000}
    lines = [f'RW {sectors} SPARSE "{name}"' for name, sectors in halves.items()]
    (folder / DISK).write_text(descriptor(*lines, create_type="twoGbMaxExtentSparse"), "utf-8")
    for name, sectors in halves.items():
        bare = Sparse(sectors=sectors, grains={}, header={"descriptor_offset": 0, "descriptor_size": 0}, text="")
        bare.save(folder / name)
    fill(engine, folder / DISK)


def split_raw(engine: Engine, folder: Path) -> None:
    """Prepare a disk of two flat extents."""
    halves = {"disk-f001.vmdk": 1000, "disk-f002.vmdk": SMALL - 1000}
    lines = [f'RW {sectors} FLAT "{name}" 0' for name, sectors in halves.items()]
    for name, sectors in halves.items():
        flat(folder, descriptor(*lines, create_type="twoGbMaxExtentFlat"), file=name, sectors=sectors)
    fill(engine, folder / DISK)


def beside(prepare: Callable[[Engine, Path], object]) -> Callable[[Engine, Path], object]:
    """Prepare the same beside a folder that has a file."""

    def both(engine: Engine, folder: Path) -> None:
        prepare(engine, folder)
        (folder / "other").mkdir()
        (folder / "other" / "neighbour").touch()

    return both


def thin(engine: Engine, folder: Path) -> None:
    """Prepare a thin disk as ESXi has it, with a change tracking file."""
    path = engine.create(folder / DISK, SMALL, VMFS_THIN)
    path.write_text(path.read_text().replace("# The Disk", 'changeTrackPath="disk-ctk.vmdk"\n\n# The Disk'))
    (folder / "disk-ctk.vmdk").write_bytes(b"tracked")
    fill(engine, path)


def one_large(engine: Engine, folder: Path) -> None:
    """Prepare a split disk with one extent."""
    fill(engine, engine.create(folder / DISK, LARGE, SPLIT_SPARSE))


def child(engine: Engine, folder: Path) -> None:
    """Prepare a disk with a parent."""
    parent = Sparse(sectors=LARGE, grains={i * 23: i for i in range(1, 20)})
    parent.save(folder / "base.vmdk")
    keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
    Sparse(sectors=LARGE, grains={}, text=descriptor(f'RW {LARGE} SPARSE "{DISK}"', **keys)).save(folder / DISK)
    with engine.open(folder / DISK) as disk:
        disk.write(100, b"\x55" * 300 * SECTOR)


def holes(prepare: Callable[[Engine, Path], object]) -> Callable[[Engine, Path], object]:
    """Prepare the same with grains in disorder, and with zeros in some of them."""

    def more(engine: Engine, folder: Path) -> None:
        prepare(engine, folder)
        with engine.open(folder / DISK) as disk:
            for start in (1280, 640, 512, 768):
                disk.write(start, bytes(128 * SECTOR) if start % 256 == 0 else bytes([start % 251]) * 128 * SECTOR)

    return more


def interrupted(engine: Engine, folder: Path) -> None:
    """Prepare a disk that a writer left in the middle of a flush: marked, a table behind its copy, a leaked grain."""
    sparse(engine, folder)
    with (folder / DISK).open("r+b") as file:
        file.seek(72)
        file.write(b"\1")
        end = file.seek(0, 2) // SECTOR
        file.write(b"\x77" * 128 * SECTOR)
        file.seek(22 * SECTOR + 4 * 20)  # the redundant table's entry for a grain that the table does not have
        file.write(end.to_bytes(4, "little"))
        file.seek(0, 2)
        file.write(bytes(5 * SECTOR))


def over(prepare: Callable[[Engine, Path], object], kind: int) -> Callable[[Engine, Path], object]:
    """Prepare a disk, and another one of some type, with other content, where a copy goes."""

    def both(engine: Engine, folder: Path) -> None:
        prepare(engine, folder)
        with engine.open(engine.create(folder / OTHER, SMALL, kind)) as disk:
            disk.write(100, b"\x99" * 200 * SECTOR)

    return both


def loose_child(engine: Engine, folder: Path) -> None:
    """Prepare a disk, and an empty child of a copy of it that stands elsewhere."""
    grains = {i * 23: i for i in range(1, 20)}
    Sparse(sectors=LARGE, grains=grains).save(folder / DISK)
    Sparse(sectors=LARGE, grains=grains).save(folder / "old.vmdk")
    keys = {"parentCID": "12345678", "parentFileNameHint": '"old.vmdk"'}
    Sparse(sectors=LARGE, grains={}, text=descriptor(f'RW {LARGE} SPARSE "{OTHER}"', **keys)).save(folder / OTHER)
    assert engine.open_error(folder / OTHER) is None


WRITES = ("open disk.vmdk 0", "write 10 5 1", "write 300 500 2", "flush", "write 0 3 3", "write 1850 40 4")
WRITES_ALL = (*WRITES, "metadata comment after", "write 900 300 5", "close")
METADATA = ("open disk.vmdk 0", "metadata comment after", "metadata another value", "close")
COPIED = (Kept(writable=False), Kept((OTHER,), made_by=1))
CHILD = (Kept(writable=False), Kept((OTHER,), made_by=2))
CREATED = (Kept(like="", made_by=1),)
STREAMED = (Kept(like="", made_by=1, writable=False),)
KINDS = {"sparse": sparse, "flat": raw, "split": split, "split flat": split_raw}


def random_writes(seed: int, rounds: int) -> tuple[str, ...]:
    """Return writes of a sector to some grains at any place, and a flush now and then."""
    choose = random.Random(seed)
    commands = ["open disk.vmdk 0"]
    for value in range(1, rounds + 1):
        count = choose.choice((choose.randint(1, 400), choose.randint(1, 8), choose.randint(1, 8)))
        commands.append(f"write {choose.randrange(LARGE - count)} {count} {value}")
        commands += ["flush"] * (value % 5 == 0)
    return (*commands, "close")


def creations() -> Iterator[Scenario]:
    """Yield new disks of every type."""
    sizes = {
        MONOLITHIC_SPARSE: LARGE,
        MONOLITHIC_FLAT: SMALL,
        SPLIT_SPARSE: SMALL,
        SPLIT_FLAT: SMALL,
        VMFS_FLAT: SMALL,
        VMFS_THIN: SMALL,
        STREAM_OPTIMIZED: LARGE,
    }
    for kind, sectors in sizes.items():
        disks = STREAMED if kind == STREAM_OPTIMIZED else CREATED
        yield Scenario(f"create type {kind}", nothing, (f"create {DISK} {kind} {sectors}",), disks)


def writing() -> Iterator[Scenario]:
    """Yield writes and flushes on every kind of disk."""
    for name, prepare in {**KINDS, "vmfs": vmfs, "child": child, "interrupted": interrupted}.items():
        yield Scenario(f"write {name}", prepare, WRITES_ALL)
    for name, prepare in {"sparse": sparse, "child": child}.items():
        yield Scenario(f"random writes {name}", prepare, random_writes(1, 15))
    for name, prepare in {**KINDS, "child": child}.items():
        yield Scenario(f"metadata {name}", prepare, METADATA)


def chains() -> Iterator[Scenario]:
    """Yield new children, and parents that are exchanged."""
    for kind in (MONOLITHIC_SPARSE, SPLIT_SPARSE):
        yield Scenario(f"child type {kind}", sparse, (f"open {DISK} 4", f"child {OTHER} {kind}", "close"), CHILD)
    commands = (f"parent {DISK} 4", f"open {OTHER} 2", "attach", "write 10 5 1", "flush", "close")
    yield Scenario("attach", loose_child, commands, (Kept(writable=False), Kept((OTHER,))))


def copies() -> Iterator[Scenario]:
    """Yield clones to every type, and one over another disk."""
    for kind in range(1, 8):
        source = raw if kind == MONOLITHIC_SPARSE else split
        disks = (COPIED[0], Kept((OTHER,), made_by=1, writable=kind != STREAM_OPTIMIZED))
        yield Scenario(f"clone type {kind}", source, (f"clone {OTHER} {DISK} {kind} 0",), disks)
    replaced = (COPIED[0], Kept((OTHER,), like=OTHER, replaced_by=DISK, made_by=1))
    for kind, old in ((1, 2), (2, 1), (2, 2), (3, 3)):
        commands = (f"clone {OTHER} {DISK} {kind} 1",)
        yield Scenario(f"clone type {kind} over type {old}", over(raw, old), commands, replaced)
    yield Scenario("clone child", child, (f"clone {OTHER} {DISK} {MONOLITHIC_SPARSE} 0",), COPIED)


def maintenance() -> Iterator[Scenario]:
    """Yield what rebuilds disks."""
    for name, prepare in KINDS.items():
        sectors = LARGE + 70000 if prepare is sparse else SMALL + 3000
        yield Scenario(f"grow {name}", prepare, (f"grow {DISK} {sectors}",))
        yield Scenario(f"unlink {name}", prepare, (f"unlink {DISK}",), (Kept(deleted_by=1),))
    yield Scenario("grow sparse in place", sparse, (f"grow {DISK} {LARGE + 1000}",))
    yield Scenario("grow thin", thin, (f"grow {DISK} {SMALL + 3000}",))
    yield Scenario("grow split by an extent", one_large, (f"grow {DISK} {EXTENT + 8}",))
    for name, prepare in {**KINDS, "thin": thin}.items():
        yield Scenario(f"rename {name}", prepare, (f"rename {DISK} {OTHER}",), (Kept((DISK, OTHER)),))
    for name, prepare in {"split": split, "child": child}.items():
        commands = (f"rename {DISK} other/{DISK}",)
        yield Scenario(f"move {name}", beside(prepare), commands, (Kept((DISK, f"other/{DISK}")),))
    for name, prepare in {"sparse": sparse, "split": split, "child": child}.items():
        for call in ("shrink", "defragment") if prepare is not child else ("defragment",):
            yield Scenario(f"{call} {name}", holes(prepare), (f"open {DISK} 0", call, "close"))
    yield Scenario("repair", interrupted, (f"check {DISK} 1",))


SCENARIOS = {s.name: s for part in (creations, writing, chains, copies, maintenance) for s in part()}
