"""Sessions at the bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import RetryPolicy, Secret, Vddk
from asyncvddk.repository import Repository
from asyncvddk.vsphere import VSphere
from tests.fix_vsphere import PASSWORD, USER
from tests.vsphere.backups import CHUNK, Backups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fix_vsphere import Bench

AT_ONCE = RetryPolicy(attempts=4, delay_s=0)


def session_at(bench: Bench, **more: Any) -> VSphere:  # noqa: ANN401  (the options of a session)
    """Return a session at the bench, its certificate pinned; what fails for now is tried again at once."""
    options: dict[str, Any] = {
        "user": USER,
        "password": Secret(PASSWORD),
        "port": bench.port,
        "thumbprint": bench.sha256,
        "retry": AT_ONCE,
    }
    return VSphere(bench.server, **options | more)


@pytest.fixture(autouse=True)
def state_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep journals out of the user's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
async def vsphere(bench: Bench) -> AsyncIterator[VSphere]:
    """Return a session at the bench with its two machines."""
    async with session_at(bench) as session:
        yield session


@pytest.fixture
async def vddk(bench: Bench) -> AsyncIterator[Vddk]:
    """Return the library, which plays the bench's hosts."""
    async with Vddk(config=bench.library()) as library:
        yield library


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    """Return a repository with small chunks."""
    await Repository.init(tmp_path / "repository", password=None, chunk_size=CHUNK)
    async with Repository.open(tmp_path / "repository", password=None, cache="") as opened:
        yield opened


@pytest.fixture
def backups(bench: Bench, vsphere: VSphere, vddk: Vddk, repository: Repository, tmp_path: Path) -> Backups:
    """Return what makes backups of the bench's two machines."""
    return Backups(bench, vsphere, vddk, repository, tmp_path / "journal")
