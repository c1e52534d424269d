"""What every test gets: the shared fixtures by theme, and the checks that nothing is left behind."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk.disks._runtime import RUNTIME
from asyncvddk.threads._port import _ports

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = [
    "tests.fix_tools",
    "tests.fix_disks",
    "tests.fix_package",
    "tests.fix_stub",
    "tests.fix_repository",
    "tests.fix_vsphere",
]


def pytest_collection_finish() -> None:
    """Let the collection of garbage after each test look at what the test made, not at all that was loaded before."""
    gc.collect()
    gc.freeze()


def _threads() -> set[str]:
    """Return the names of our worker threads in this process."""
    names = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            names.add((task / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return {name for name in names if name.startswith(("vddk-", "to ", "sync "))}


def _descriptors() -> set[str]:
    """Return what this process's file descriptors lead to, of those that are ours."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if "vmdk" in target or "eventfd" in target:
            found.add(f"{entry.name} -> {target}")
    return found


def _objects() -> dict[str, int]:
    """Return how much of the library is in use: each connection, disk and access lock needs a user and a ring."""
    return {"users of the library": RUNTIME.users, "completion rings": len(_ports)}


def _files(folder: Path) -> list[str]:
    """Return what only a program that ended badly leaves: lock folders of disks, files not yet under their name."""
    return [str(path) for pattern in ("**/*.lck", "**/.*.part") for path in folder.glob(pattern)]


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a worker thread, an open disk file, a completion ring, a user of the library or a lock.

    Tests of the engine itself make such files on purpose.
    """
    of_the_engine = request.path.parent.name in {"engine", "conformance", "fuzz"}  # they make no objects of the package
    threads, descriptors, objects = _threads(), _descriptors(), _objects()
    yield
    if not of_the_engine or _threads() > threads or _descriptors() > descriptors:
        gc.collect()  # it takes a tenth of a second
    assert _threads() <= threads, "worker threads are left"
    assert _descriptors() <= descriptors, "file descriptors are left"
    assert _objects() == objects, "something of the library is left open"
    if not of_the_engine:
        assert _files(tmp_path) == [], "files of a program that ended badly are left"
