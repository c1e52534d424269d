"""The states of collections, as their objects in ``gc/`` tell them.

Each has a number. ``plan`` is what nothing uses; ``sweep`` says that deleting may have begun; ``done`` is what
may be deleted, and the end of it. There is at most one plan that is not done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._manifests import Ids
from asyncvddk.repository.store._vault import LIST_LIMIT

if TYPE_CHECKING:
    from asyncvddk.repository.store._store import Store
    from asyncvddk.repository.store._vault import Vault

_NAME: Final = re.compile(r"gc/(\d+)/(plan|sweep|done|keep-[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Collections:
    """What a listing showed."""

    parts: dict[int, frozenset[str]]
    """Of each number: ``plan``, ``sweep``, ``done``, ``keep-<id>``."""

    @classmethod
    def of(cls, store: Store) -> Collections:
        """List them."""
        found: dict[int, set[str]] = {}
        for item in store.list(_layout.GC):
            if match := _NAME.fullmatch(item.name):
                found.setdefault(int(match[1]), set()).add(match[2])
        return cls({number: frozenset(parts) for number, parts in sorted(found.items())})

    @property
    def pending(self) -> int | None:
        """The plan that is not done, if there is one."""
        return next((number for number, parts in self.parts.items() if "plan" in parts and "done" not in parts), None)

    @property
    def last_done(self) -> int:
        """The last number that is done, 0 if none is."""
        return max((number for number, parts in self.parts.items() if "done" in parts), default=0)

    def done_since(self, number: int) -> list[int]:
        """Return what was done after a number."""
        return [found for found, parts in self.parts.items() if "done" in parts and found > number]

    def complete_since(self, number: int) -> bool:
        """Tell whether the lists of all that was done after a number are still there."""
        return number <= self.last_done and self.done_since(number) == list(range(number + 1, self.last_done + 1))

    def names(self, number: int) -> list[str]:
        """Return the names of a collection's objects, the plan last."""
        return [_layout.collection(number, part) for part in sorted(self.parts.get(number, ()), key="plan".__eq__)]

    def keeps(self, number: int) -> list[str]:
        """Return the names of what sessions keep of a plan."""
        return [name for name in self.names(number) if "/keep-" in name]


def read_done(vault: Vault, number: int) -> Ids:
    """Return what a collection may have deleted."""
    return vault.get_manifest(Kind.DONE, _layout.collection(number, "done"), Ids, limit=LIST_LIMIT)
