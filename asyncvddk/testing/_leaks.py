"""Whether a piece of a program has left anything of ours behind."""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from asyncvddk.disks._runtime import RUNTIME

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class _Held:
    """What this process holds of ours at one moment."""

    threads: frozenset[str]
    descriptors: frozenset[str]
    locks: frozenset[str]
    users: int

    @classmethod
    def now(cls, folder: Path | None) -> Self:
        """Look."""
        return cls(
            threads=frozenset(_threads()),
            descriptors=frozenset(_descriptors()),
            locks=frozenset(str(lock) for lock in folder.rglob("*.lck")) if folder else frozenset(),
            users=RUNTIME.users,
        )

    def beyond(self, before: Self) -> list[str]:
        """Tell what there is now that was not there ``before``."""
        found = {
            "threads": self.threads - before.threads,
            "open files": self.descriptors - before.descriptors,
            "locks of disks": self.locks - before.locks,
        }
        told = [f"{what}: {', '.join(sorted(names))}" for what, names in found.items() if names]
        if self.users > before.users:
            told.append(f"the library: {self.users} Vddk object(s) not left")
        return told


def _threads() -> Iterator[str]:
    """Yield the names of our worker threads in this process."""
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            name = (task / "comm").read_text().strip()
            if name.startswith(("vddk-", "to ", "sync ")):
                yield name


def _descriptors() -> Iterator[str]:
    """Yield what file descriptors lead to, of those that are ours: disks and completion rings."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(entry.readlink())
            if "vmdk" in target or "eventfd" in target:
                yield f"{entry.name} -> {target}"


@contextmanager
def no_leaks(folder: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Check that the ``with`` block leaves no thread, open disk, completion ring or user of the library behind.

    With ``folder`` also no lock of a disk in or below it. What was there before the block does not count. The block
    has to close all it opened: nothing is closed here. Garbage is collected first.

    Raises AssertionError, which lists what was left; an error of the block goes before it and gets a note instead.
    """
    place = Path(folder) if folder is not None else None
    before = _Held.now(place)
    try:
        yield
    except BaseException as exc:
        if left := _left_since(before, place):
            exc.add_note(left)
        raise
    if left := _left_since(before, place):
        raise AssertionError(left)


def _left_since(before: _Held, folder: Path | None) -> str:
    gc.collect()
    left = _Held.now(folder).beyond(before)
    return f"left behind: {'; '.join(left)}" if left else ""
