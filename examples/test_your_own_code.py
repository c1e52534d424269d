"""How do I test my own code, without VMware and without a server?

Run by ``pytest``; the fixtures ``vddk_disk`` and ``vddk_engine`` come with asyncvddk.

Output::

    3 passed
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asyncvddk import ConnectionFailedError, Vddk
from asyncvddk.testing import EngineConfig, Fail, Hang, random_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.testing import DiskFactory, EngineFactory

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("vddk_no_leaks")]


async def used_bytes(vddk: Vddk, path: Path) -> int:
    """Count what is not zero: the code to be tested. It tries again when the connection breaks."""
    for attempt in (1, 2):
        try:
            async with vddk.open_disk(path) as disk:
                parts = [await disk.read_at(b.offset, b.length) async for b in disk.allocated_blocks()]
                return sum(len(part) - part.count(0) for part in parts)
        except ConnectionFailedError:
            if attempt == 2:  # noqa: PLR2004
                raise
    raise AssertionError


async def test_bytes_of_all_snapshots_count(vddk_disk: DiskFactory, vddk_engine: EngineFactory) -> None:
    """A chain of two links; the fixture makes it."""
    top = vddk_disk.chain([random_blocks(1 << 20, count=1), {512: b"xyz"}])[-1]
    async with vddk_engine() as vddk:
        assert 65536 * 0.99 < await used_bytes(vddk, top) <= 65536 + 3


async def test_one_broken_connection_is_survived(vddk_disk: DiskFactory, vddk_engine: EngineFactory) -> None:
    """The engine fails the first read, as a network does."""
    path = vddk_disk(b"hello")
    async with vddk_engine(EngineConfig(fail=[Fail("Read", ConnectionFailedError, call=1)])) as vddk:
        assert await used_bytes(vddk, path) == len("hello")


async def test_cancelled_while_the_library_hangs(vddk_disk: DiskFactory, vddk_engine: EngineFactory) -> None:
    """A read stands still until the test lets it go; nothing is left open, which the last fixture checks."""
    path, hang = vddk_disk(b"hello"), Hang("Read")
    async with vddk_engine(EngineConfig(hang=[hang])) as vddk:
        counting = asyncio.create_task(used_bytes(vddk, path))
        async with hang:
            counting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await counting
