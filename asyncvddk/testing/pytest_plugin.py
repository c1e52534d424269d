"""Fixtures for users of asyncvddk, which every pytest of an environment that has it loads.

Loading it loads the package, and nothing else: no library is looked for, and no thread started, until a fixture is
used. Documented in ``asyncvddk.testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncvddk.testing import DiskFactory, EngineFactory, EngineServer, engine, no_leaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def vddk_disk(tmp_path: Path) -> DiskFactory:
    """Make scratch disks of any type and content in tmp_path; see asyncvddk.testing.DiskFactory."""
    return DiskFactory(tmp_path)


@pytest.fixture
def vddk_engine() -> EngineFactory:
    """Start the bundled engine, sound, slow or failing, as async with does; see asyncvddk.testing.engine."""
    return engine


@pytest.fixture
def vddk_server(tmp_path: Path) -> EngineServer:
    """Describe a server with the datastore ds1, the folder ds1 in tmp_path: EngineConfig(server=vddk_server)."""
    folder = tmp_path / "ds1"
    folder.mkdir(exist_ok=True)
    return EngineServer(datastores={"ds1": folder})


@pytest.fixture
def vddk_no_leaks(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a thread, an open disk, its lock or an initialised library behind."""
    with no_leaks(tmp_path):
        yield
