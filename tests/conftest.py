"""What every test gets: the shared fixtures by theme, and the checks that nothing is left behind."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.fix_tools", "tests.fix_disks", "tests.fix_package", "tests.fix_stub", "tests.fix_repository"]


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
        except FileNotFoundError:
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


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a worker thread, an open disk file or a completion ring."""
    threads, descriptors = _threads(), _descriptors()
    yield
    gc.collect()
    assert _threads() <= threads, "worker threads are left"
    assert _descriptors() <= descriptors, "file descriptors are left"
