"""Fixtures for users of asyncvddk, loaded by every pytest of an environment that has it: imports nothing until used.

Outside of the package, because a module inside of it would load the package, C core and all, at each start of pytest.
Documented in ``asyncvddk.testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncvddk.testing import DiskFactory, EngineFactory, EngineServer


@pytest.fixture
def vddk_disk(tmp_path: Path) -> DiskFactory:
    """Make scratch disks of any type and content in tmp_path; see asyncvddk.testing.DiskFactory."""
    from asyncvddk.testing import DiskFactory

    return DiskFactory(tmp_path)


@pytest.fixture
def vddk_engine() -> EngineFactory:
    """Start the bundled engine, sound, slow or failing, as async with does; see asyncvddk.testing.engine."""
    from asyncvddk.testing import engine

    return engine


@pytest.fixture
def vddk_server(tmp_path: Path) -> EngineServer:
    """Describe a server with the datastore ds1, the folder ds1 in tmp_path: EngineConfig(server=vddk_server)."""
    from asyncvddk.testing import EngineServer

    folder = tmp_path / "ds1"
    folder.mkdir(exist_ok=True)
    return EngineServer(datastores={"ds1": folder})


@pytest.fixture
def vddk_no_leaks(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a thread, an open disk, its lock or an initialised library behind."""
    from asyncvddk.testing import no_leaks

    with no_leaks(tmp_path):
        yield
