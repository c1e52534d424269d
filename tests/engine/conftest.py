"""The library under test, once for the session, and a check that no test leaves a file open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import asyncvddk
from tests.engine.driver import Engine
from tests.engine.qemu import Qemu
from tests.fix_tools import gcc, qemu_img, qemu_io, seven_zip

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gcc", "qemu_img", "qemu_io", "seven_zip"]

PACKAGE = Path(asyncvddk.__file__).parent


@pytest.fixture(scope="session")
def library() -> Path:
    """Path of the built library; ASYNCVDDK_TEST_ENGINE names another build, with sanitizers for instance."""
    if other := os.environ.get("ASYNCVDDK_TEST_ENGINE"):
        return Path(other)
    subprocess.run([sys.executable, PACKAGE / "engine" / "build.py"], check=True, stdout=subprocess.DEVNULL)
    return PACKAGE / "engine" / "lib64" / "libvixDiskLib.so.8"


@pytest.fixture(scope="session")
def engine(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Initialise the library and connect to local disks."""
    loaded = Engine(library, tmp_path_factory.mktemp("engine"))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def qemu(qemu_img: str, qemu_io: str) -> Qemu:
    """Run QEMU's tools: the other implementation of the format."""
    return Qemu(qemu_img, qemu_io)


@pytest.fixture(autouse=True)
def no_file_left_open(tmp_path: Path) -> Iterator[None]:
    """After every test, passed or failed calls inside, no file of its folder is open."""
    yield
    links = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    assert [link for link in links if link.is_relative_to(tmp_path)] == []
