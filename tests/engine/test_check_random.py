"""Random damage to the tables of a sound disk: no check fails, no repair makes anything worse."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.engine.craft import GRAIN, SECTOR, TABLE, Sparse
from tests.engine.driver import READ_ONLY
from tests.engine.grain_tables import grains
from tests.engine.test_check import code

if TYPE_CHECKING:
    from tests.engine.driver import Engine

SECTORS = 2 * GRAIN * TABLE
GRAINS = {0: 1, 1: 2, 5: 3, 511: 4, 512: 5, 600: 6, 1023: 7}
DISK = Sparse(sectors=SECTORS, grains=GRAINS)
FIRST = DISK.layout()[2]
WHOLE = grains(DISK.build())
NEEDS_REPAIR = 16006

Entries: TypeAlias = dict[int, int]

interesting = st.one_of(
    st.sampled_from([0, 1, 2, 21, 22, 26, 30, 31, 32, 36, FIRST, FIRST + 1, FIRST + GRAIN, FIRST + 7 * GRAIN]),
    st.sampled_from([FIRST + 20 * GRAIN, (1 << 32) - 1, 1 << 31]),
    st.integers(0, (1 << 32) - 1),
)
grain = st.one_of(st.sampled_from([*GRAINS, 2, 3, 700]), st.integers(0, 2 * TABLE - 1))
table_damage = st.dictionaries(grain, interesting, max_size=4)
directory_damage = st.dictionaries(st.integers(0, 1), interesting, max_size=2)
header = st.dictionaries(
    st.sampled_from([4, 8, 12, 20, 28, 36, 44, 48, 52, 56, 60, 64, 72, 76]),
    st.binary(min_size=4, max_size=4),
    max_size=1,
)


def save(folder: Path, disk: Sparse, damage: dict[int, bytes]) -> Path:
    """Write a disk, then bytes over its header."""
    image = bytearray(disk.build())
    for offset, data in damage.items():
        image[offset : offset + len(data)] = data
    path = folder / "disk.vmdk"
    path.write_bytes(image)
    return path


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(tables=({}, {}), directories=({1: 36}, {0: 0, 1: 0}))
@given(tables=st.tuples(table_damage, table_damage), directories=st.tuples(directory_damage, directory_damage) | header)
def test_a_repair_of_random_damage_keeps_what_was_not_damaged(
    engine: Engine, tables: tuple[Entries, Entries], directories: tuple[Entries, Entries] | dict[int, bytes]
) -> None:
    """Either the disk is sound afterwards, and grains whose entries are not damaged are as before, or nothing changed.

    The header, which says whether there are second copies, is damaged only where the directories are not.
    """
    gd, rgd = directories if isinstance(directories, tuple) else ({}, {})
    disk = replace(DISK, gt_entries=tables[0], rgt_entries=tables[1], gd_entries=gd, rgd_entries=rgd)
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), disk, directories if isinstance(directories, dict) else {})
        before = path.read_bytes()
        found = code(engine, path)
        assert path.read_bytes() == before
        result = code(engine, path, repair=True)
        assert result == (0 if found == NEEDS_REPAIR else found)
        if found != NEEDS_REPAIR:
            assert path.read_bytes() == before
        if result == 0:
            assert code(engine, path) == 0
            assert engine.open_error(path, 0) is None
            content = engine.read(path)
            for number in set(range(2 * TABLE)) - set(tables[0]) - set(tables[1]):
                start = number * GRAIN * SECTOR
                expected = bytes([GRAINS.get(number, 0)]) * (GRAIN * SECTOR)
                assert content[start : start + GRAIN * SECTOR] == expected, number


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(grain, min_size=1, max_size=50), value=interesting, ours=st.booleans())
def test_damage_to_one_copy_of_the_tables_is_undone(engine: Engine, lost: set[int], value: int, *, ours: bool) -> None:
    """Entries that one copy has lost, or that lead nowhere, come back from the other one."""
    assume(not (FIRST <= value < FIRST + 7 * GRAIN))  # else the copies only contradict each other
    entries = dict.fromkeys(lost, value)
    disk = replace(DISK, gt_entries=entries) if ours else replace(DISK, rgt_entries=entries)
    with tempfile.TemporaryDirectory() as folder:
        path = disk.save(Path(folder) / "disk.vmdk")
        engine.check(path, repair=True)
        assert grains(path.read_bytes()) == WHOLE
        with engine.open(path, READ_ONLY) as opened:
            for number, fill in GRAINS.items():
                assert opened.read(number * GRAIN, GRAIN) == bytes([fill]) * (GRAIN * SECTOR)
