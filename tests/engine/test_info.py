"""VixDiskLib_GetInfo, from what stands in the descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import BUSLOGIC, IDE, LSILOGIC, READ_ONLY

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.engine.driver import Engine

UNKNOWN = 256


def info(engine: Engine, folder: Path, *database: str) -> dict[str, Any]:
    """Return the information on a disk with these lines in its database, and no others."""
    text = descriptor('RW 8192 SPARSE "d.vmdk"').split("ddb.")[0] + "".join(f"ddb.{line}\n" for line in database)
    with engine.open(Sparse(text=text).save(folder / "d.vmdk"), READ_ONLY) as disk:
        return disk.info()


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        ("ide", IDE),
        ("buslogic", BUSLOGIC),
        ("lsilogic", LSILOGIC),
        ("LsiLogic", LSILOGIC),
        ("legacyESX", UNKNOWN),
        ("pvscsi", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_adapter_type_is_one_of_three_or_unknown(name: str, adapter: int, engine: Engine, tmp_path: Path) -> None:
    """The word legacyESX says that it is some SCSI adapter: no guess; the word itself is in the metadata."""
    assert info(engine, tmp_path, f'adapterType = "{name}"')["adapter_type"] == adapter
    with engine.open(tmp_path / "d.vmdk", READ_ONLY) as disk:
        assert disk.metadata("adapterType") == name


def test_both_geometries_come_from_the_database(engine: Engine, tmp_path: Path) -> None:
    """The BIOS' one is rarely there; letter case does not matter."""
    physical = ('geometry.cylinders = "8"', 'geometry.HEADS = "16"', 'GEOMETRY.sectors = "63"')
    found = info(engine, tmp_path, *physical)
    assert (found["geometry"], found["bios"]) == ((8, 16, 63), (0, 0, 0))
    bios = ('geometry.biosCylinders = "1024"', 'geometry.biosHeads = "255"', 'geometry.biosSectors = "32"')
    found = info(engine, tmp_path, *physical, *bios)
    assert (found["geometry"], found["bios"]) == ((8, 16, 63), (1024, 255, 32))


@pytest.mark.parametrize("value", ["", "many", "-1", "99999999999999999999", "4294967296"])
def test_a_number_that_makes_no_sense_is_0(value: str, engine: Engine, tmp_path: Path) -> None:
    """Geometry is advice; the disk opens all the same."""
    assert info(engine, tmp_path, f'geometry.cylinders = "{value}"')["geometry"] == (0, 0, 0)


@pytest.mark.parametrize(
    ("lines", "sizes"),
    [
        ((), (512, 512)),
        (('logicalSectorSize = "4096"',), (4096, 4096)),
        (('physicalSectorSize = "4096"',), (512, 4096)),
        (('logicalSectorSize = "1000"', 'physicalSectorSize = "7"'), (512, 512)),
    ],
)
def test_sector_sizes_are_512_unless_said_otherwise(
    lines: tuple[str, ...], sizes: tuple[int, int], engine: Engine, tmp_path: Path
) -> None:
    """Other sizes than 512 and 4096 do not exist."""
    found = info(engine, tmp_path, *lines)
    assert (found["logical_sector_size"], found["physical_sector_size"]) == sizes


def test_what_is_missing_is_null(engine: Engine, tmp_path: Path) -> None:
    """No uuid, no parent; one link."""
    found = info(engine, tmp_path)
    assert (found["uuid"], found["parent_hint"], found["links"]) == (None, None, 1)
    assert info(engine, tmp_path, 'uuid = "60 00 C2 9f"')["uuid"] == b"60 00 C2 9f"
