"""Disks on the bundled engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncvddk import AsyncDisk, Connection, CreateParams, Vddk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1 << 20
DISK_SIZE = 8 * MIB + 512
"""No multiple of a grain or of a chunk."""


@pytest.fixture
async def vddk() -> AsyncIterator[Vddk]:
    """Return the bundled engine, initialised."""
    async with Vddk() as library:
        yield library


@pytest.fixture
async def connection(vddk: Vddk) -> AsyncIterator[Connection]:
    """Return a connection to local disks."""
    async with vddk.connect() as local:
        yield local


@pytest.fixture
async def disk(connection: Connection, tmp_path: Path) -> AsyncIterator[AsyncDisk]:
    """Return an empty sparse disk of ``DISK_SIZE`` bytes, open for writing."""
    path = tmp_path / "disk.vmdk"
    await connection.create(path, CreateParams(size=DISK_SIZE))
    async with connection.open(path) as opened:
        yield opened
