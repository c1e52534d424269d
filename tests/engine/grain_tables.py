"""The grain tables of a sparse extent, read from the bytes of its file."""

from __future__ import annotations

import struct

from tests.engine.craft import GRAIN, HEADER, HEADER_FIELDS, SECTOR, TABLE

GRAIN_BYTES = GRAIN * SECTOR


def header(image: bytes | bytearray) -> dict[str, int]:
    """Return the numbers of the header."""
    return dict(zip(HEADER_FIELDS, HEADER.unpack_from(image), strict=True))


def entries(image: bytes | bytearray, directory: str = "gd_offset") -> dict[int, int]:
    """Return the entries that are not 0, by grain: sectors of the file. ``rgd_offset``: of the redundant tables."""
    fields = header(image)
    tables = -(-fields["capacity"] // (GRAIN * TABLE))
    found: dict[int, int] = {}
    for number, sector in enumerate(struct.unpack_from(f"<{tables}I", image, fields[directory] * SECTOR)):
        table = struct.unpack_from(f"<{TABLE}I", image, sector * SECTOR)
        found |= {number * TABLE + i: entry for i, entry in enumerate(table) if entry}
    return found


def grains(image: bytes | bytearray) -> dict[int, int]:
    """Return the entries, which both copies of the tables must have."""
    found = entries(image)
    assert found == entries(image, "rgd_offset")
    return found


def first_grain(image: bytes | bytearray) -> int:
    """Return the sector of the first grain of an extent whose tables come first."""
    return header(image)["overhead"]


def in_order(image: bytes | bytearray, wanted: list[int]) -> None:
    """Fail unless the file holds the wanted grains in order and without gaps, and nothing else."""
    start = first_grain(image)
    assert list(grains(image).items()) == [(grain, start + place * GRAIN) for place, grain in enumerate(wanted)]
    assert len(image) == (start + len(wanted) * GRAIN) * SECTOR


def with_table_between_grains(image: bytes) -> tuple[bytes, list[int]]:
    """Move the second grain table, and its copy, to the first two places of grains that no entry leads to.

    Returns the image and the sectors of the two.
    """
    result, fields = bytearray(image), header(image)
    places = sorted(set(range(fields["overhead"], len(image) // SECTOR, GRAIN)) - set(entries(image).values()))[:2]
    for directory, sector in zip((fields["gd_offset"], fields["rgd_offset"]), places, strict=True):
        (table,) = struct.unpack_from("<I", image, directory * SECTOR + 4)
        result[sector * SECTOR : (sector + 4) * SECTOR] = image[table * SECTOR : (table + 4) * SECTOR]
        struct.pack_into("<I", result, directory * SECTOR + 4, sector)
    return bytes(result), places
