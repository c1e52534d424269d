"""The pytest plugin as a user has it: in a repository of his own, beside any plugin for async tests."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

STRICT = "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n"

OWN_CODE = """
from asyncvddk import ConnectionFailedError

async def read_twice(vddk, path, **options):
    async with vddk.open_disk(path, **options) as disk:
        try:
            return await disk.read_at(0, 5)
        except ConnectionFailedError:
            return await disk.read_at(0, 5)
"""

OWN_TESTS = """
import asyncio
import pytest
from asyncvddk import DiskType
from asyncvddk.testing import EngineConfig, Fail, Hang, run_local
from own_code import read_twice

pytestmark = [{marks}pytest.mark.usefixtures("vddk_no_leaks")]

async def test_one_failure_is_survived(vddk_disk, vddk_engine):
    path = vddk_disk(b"hello")
    async with vddk_engine(EngineConfig(fail=[Fail("Read", 14009, call=1)])) as vddk:
        assert await read_twice(vddk, path) == b"hello"

async def test_a_cancelled_read_is_waited_for(vddk_disk, vddk_engine):
    path, hang = vddk_disk.chain([b"hello", b"w"])[-1], Hang("Read")
    async with vddk_engine(EngineConfig(hang=[hang])) as vddk:
        reading = asyncio.create_task(read_twice(vddk, path))
        async with hang:
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

async def test_disks_of_a_server_are_read(vddk_disk, vddk_engine, vddk_server):
    vddk_disk(b"hello", name="ds1/vm/vm.vmdk", disk_type=DiskType.VMFS_THIN)
    async with vddk_engine(EngineConfig(server=vddk_server)) as vddk:
        params = vddk_server.connect_params()
        assert await read_twice(vddk, "[ds1] vm/vm.vmdk", params=params) == b"hello"
"""

SYNC_TEST = """
import pytest
from asyncvddk.testing import run_local

@pytest.mark.usefixtures("vddk_no_leaks")
def test_not_async(vddk_disk):
    path = vddk_disk(b"hello")
    async def read(connection):
        async with connection.open(path) as disk:
            return await disk.read_at(0, 5)
    assert run_local(read) == b"hello"
"""

SCOPE = "asyncio_default_fixture_loop_scope = function\n"
MODES = {
    "pytest-asyncio auto": (f"asyncio_mode = auto\n{SCOPE}", "", "-p no:anyio"),
    "pytest-asyncio strict": (f"asyncio_mode = strict\n{SCOPE}", "pytest.mark.asyncio, ", ""),
    "anyio": ("", "pytest.mark.anyio, ", "-p no:asyncio"),
}

ANYIO_BACKEND = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def run_pytest(folder: Path, *options: str, path: Path | None = None) -> str:
    """Run pytest in ``folder`` as a user would, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def user_repository(folder: Path, mode: str) -> list[str]:
    """Write a repository with a module of its own and its tests; return the options to run them."""
    ini, marks, options = MODES[mode]
    (folder / "pytest.ini").write_text(STRICT + ini)
    (folder / "own_code.py").write_text(OWN_CODE)
    (folder / "test_own_code.py").write_text(OWN_TESTS.replace("{marks}", marks))
    (folder / "test_sync.py").write_text(SYNC_TEST)
    if mode == "anyio":
        (folder / "conftest.py").write_text(ANYIO_BACKEND)
    return options.split()


@pytest.mark.parametrize("mode", MODES)
def test_users_test_their_own_code(tmp_path: Path, mode: str) -> None:
    """Failure, cancellation of a hanging call, a server; warnings are errors; tests that are not async beside them."""
    options = user_repository(tmp_path, mode)
    told = run_pytest(tmp_path, *options)
    assert "4 passed" in told, told


def test_the_wheel_brings_the_plugin(tmp_path: Path, wheel: Path) -> None:
    """Installed, not from the sources: the entry point, the module and all it needs are in it."""
    site, own = tmp_path / "site", tmp_path / "own"
    own.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (own / "test_where.py").write_text(
        "import _asyncvddk_pytest, asyncvddk.testing\n"
        f"def test_where(vddk_disk):\n    vddk_disk()\n"
        f"    assert _asyncvddk_pytest.__file__.startswith({str(site)!r})\n"
        f"    assert asyncvddk.testing.__file__.startswith({str(site)!r})\n"
    )
    assert "1 passed" in (told := run_pytest(own, path=site)), told


def test_what_a_test_leaves_open_fails_it(tmp_path: Path) -> None:
    """The fixture names what is left."""
    (tmp_path / "test_leak.py").write_text(
        "from asyncvddk import Vddk\nasync def test_leak(vddk_no_leaks):\n    await Vddk().__aenter__()\n"
    )
    told = run_pytest(tmp_path, "-o", "asyncio_mode=auto")
    assert "1 passed, 1 error" in told, told
    assert "the library: 1 Vddk object(s) not left" in told


def test_a_run_that_uses_no_fixture_does_not_load_the_package(tmp_path: Path) -> None:
    """Whoever has asyncvddk installed pays nothing for it in other tests; the fixtures are listed all the same."""
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_other():\n    assert not [name for name in sys.modules if name.startswith('asyncvddk')]\n"
    )
    assert "1 passed" in (told := run_pytest(tmp_path)), told
    told = run_pytest(tmp_path, "--fixtures")
    for name in ("vddk_disk", "vddk_engine", "vddk_server", "vddk_no_leaks"):
        assert f"\n{name} -- " in told, told
