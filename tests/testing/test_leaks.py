"""``no_leaks``: what is left open is told, what was there before and what was closed is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncvddk import Vddk
from asyncvddk.testing import make_disk_sync, no_leaks

if TYPE_CHECKING:
    from pathlib import Path


async def test_nothing_is_told_when_all_is_closed(vddk: Vddk, tmp_path: Path) -> None:
    """Also where the library was in use before; locks come and go."""
    async with vddk.connect() as connection:
        with no_leaks(tmp_path):
            async with connection.open(make_disk_sync(tmp_path / "x.vmdk")) as disk:
                await disk.write_at(0, b"hello")


async def test_everything_that_is_left_is_told(tmp_path: Path) -> None:
    """Thread, disk with its lock, and the library itself."""
    path, vddk = make_disk_sync(tmp_path / "x.vmdk"), Vddk()
    with pytest.raises(AssertionError) as caught, no_leaks(tmp_path):  # noqa: PT012  (the block is what leaks)
        await vddk.__aenter__()
        await (await vddk.connect()).open(path)
    await vddk.__aexit__(None, None, None)
    told = str(caught.value)
    assert "threads: vddk-connection, vddk-library" in told
    assert f"-> {path}" in told
    assert f"locks of disks: {path}.lck" in told
    assert "1 Vddk object(s) not left" in told


async def test_an_error_of_the_block_is_not_hidden() -> None:
    """What was left becomes a note of it."""
    vddk = Vddk()
    with pytest.raises(ZeroDivisionError) as caught, no_leaks():  # noqa: PT012
        await vddk.__aenter__()
        raise ZeroDivisionError
    await vddk.__aexit__(None, None, None)
    assert "vddk-library" in caught.value.__notes__[0]
