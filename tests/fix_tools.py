"""Programs from outside that tests check us against; a missing one fails in CI and skips elsewhere."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Tool:
    """One program and the Debian package that brings it."""

    name: str
    package: str


QEMU_IMG = Tool("qemu-img", "qemu-utils")
QEMU_IO = Tool("qemu-io", "qemu-utils")
NBDKIT = Tool("nbdkit", "nbdkit")
NBDCOPY = Tool("nbdcopy", "libnbd-bin")
NBDINFO = Tool("nbdinfo", "libnbd-bin")
SEVEN_ZIP = Tool("7z", "p7zip-full")
GCC = Tool("gcc", "gcc")
NM = Tool("nm", "binutils")
OPENSSL = Tool("openssl", "openssl")


def unavailable(reason: str) -> None:
    """Skip the test on a developer's machine; fail it where CI is set, so that nothing is left out unseen."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI skips nothing", pytrace=False)
    pytest.skip(reason)


def find(tool: Tool) -> str:
    """Return the program's path, or leave the test by ``unavailable``."""
    path = shutil.which(tool.name)
    if path is None:
        unavailable(f"{tool.name} is missing (Debian package {tool.package})")
    return str(path)


def find_all(tools: Sequence[Tool]) -> list[str]:
    """Return the paths of all ``tools``."""
    return [find(tool) for tool in tools]


@pytest.fixture(scope="session")
def qemu_img() -> str:
    """Path of qemu-img, the other implementation of VMDK that ours is compared with."""
    return find(QEMU_IMG)


@pytest.fixture(scope="session")
def seven_zip() -> str:
    """Path of 7-Zip, which reads VMDK, compressed streams with a footer among them."""
    return find(SEVEN_ZIP)


@pytest.fixture(scope="session")
def qemu_io() -> str:
    """Path of qemu-io, which writes patterns into disks."""
    return find(QEMU_IO)


@pytest.fixture(scope="session")
def gcc() -> str:
    """Path of gcc, for C probes and clients that a test compiles."""
    return find(GCC)


@pytest.fixture(scope="session")
def nm() -> str:
    """Path of nm, which lists the symbols of a library."""
    return find(NM)


@pytest.fixture(scope="session")
def nbdkit() -> str:
    """Path of nbdkit; the programs that talk to it (nbdcopy, nbdinfo) are there too."""
    return find_all([NBDKIT, NBDCOPY, NBDINFO])[0]
