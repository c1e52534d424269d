"""What this machine needs for its part: library, packages, limits, a place for backups."""

from __future__ import annotations

import importlib.util
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncvddk._health import Finding, fail, ok, warn
from asyncvddk.cli._run import EXPECTED
from asyncvddk.cli._text import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asyncvddk.cli._repository import Place
    from asyncvddk.disks._library import Vddk

_EXTRAS: Final = {"cli": "rich", "backup": "obstore", "vsphere": "pyVmomi"}
"""Extra -> a package that it alone brings."""
_FILES: Final = 1024
_MIB: Final = 1 << 20


def python_and_packages() -> Iterator[Finding]:
    """Look at Python, the extras, and the number of files that may be open."""
    yield ok("python", f"{sys.version.split()[0]} on {sys.platform}")
    missing = [name for name, package in _EXTRAS.items() if importlib.util.find_spec(package) is None]
    if missing:
        yield warn(
            "packages", f"without the extras {', '.join(missing)}", f"pip install 'asyncvddk[{','.join(missing)}]'"
        )
    else:
        yield ok("packages", "all extras are installed")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        yield warn("open files", f"{soft} at most", f"ulimit -n {min(hard, 65536)}: many disks at once need more")
    else:
        yield ok("open files", f"{soft} at most")


async def library(vddk: Vddk) -> AsyncIterator[Finding]:
    """Look at the loaded library, and use it."""
    yield ok("library", f"{vddk.library_file}, version {vddk.version or 'unknown'}")
    modes = ", ".join(vddk.transport_modes)
    yield ok("transport modes", modes) if modes else warn("transport modes", "the library tells none", "set --libdir")
    from asyncvddk.models import CreateParams  # noqa: PLC0415

    try:
        with tempfile.TemporaryDirectory(prefix="asyncvddk-") as folder:
            path = Path(folder) / "disk.vmdk"
            async with vddk.connect() as connection:
                await connection.create(path, CreateParams(size=_MIB))
                async with connection.open(path) as disk:
                    await disk.write_at(1000, b"works")
                    works = await disk.read_at(1000, 5) == b"works"
    except EXPECTED as error:
        yield fail("local disks", describe(error), "see asyncvddk doctor -v for what the library says")
    else:
        yield (
            ok("local disks", "one was made, written and read")
            if works
            else fail("local disks", "what was written is not what is read", "do not use this library")
        )


async def repository(place: Place) -> AsyncIterator[Finding]:
    """Look at the repository, if one is named."""
    if place.repo is None:
        return
    subject = f"repository {place.repo}"
    try:
        async with place.opened() as opened:
            snapshots = await opened.snapshots()
    except EXPECTED as error:
        yield fail(subject, describe(error), "asyncvddk init makes one; see asyncvddk backup --help for passwords")
    else:
        locked = "not encrypted" if opened.config.encryption == "none" else "encrypted"
        yield ok(subject, f"opens, {locked}, {len(snapshots)} snapshots, takes exclusive writes")
