"""Sets of many ids in little memory: 40 bytes an id, sorted, searched by numpy. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt
    from typing_extensions import Buffer

ID_SIZE: Final = 32
_WORDS: Final = 4

Rows = np.ndarray[tuple[int, int], np.dtype[np.uint64]]
"""An id a row, as four words."""


def rows(ids: Buffer) -> Rows:
    """Return ids that stand one behind the other as rows, without a copy."""
    found: Rows = np.frombuffer(memoryview(ids), np.uint64).reshape(-1, _WORDS)
    return found


def nonzero(ids: Rows) -> Rows:
    """Return the rows that are not all zero."""
    return ids[ids.any(axis=1)]


class IdSet:
    """An immutable set of ids."""

    __slots__ = ("_heads", "_rows")

    def __init__(self, ids: Rows | None = None) -> None:
        """Take the rows of ``ids``, in any order and more than once each."""
        found = np.empty((0, _WORDS), np.uint64) if ids is None else ids
        order = np.argsort(found[:, 0], kind="stable")
        found = found[order]
        if len(found):
            new = np.ones(len(found), bool)
            new[1:] = (found[1:] != found[:-1]).any(axis=1)
            found = found[new]
        self._rows: Rows = found
        self._heads = np.ascontiguousarray(found[:, 0])

    @classmethod
    def of(cls, ids: Iterable[bytes]) -> IdSet:
        """Return the set of some ids."""
        return cls(rows(b"".join(ids)))

    @classmethod
    def union(cls, parts: Iterable[Rows]) -> IdSet:
        """Return the set of what several arrays hold; merged now and then, so that doubles take no memory."""
        merged, waiting, size = cls(), list[Rows](), 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size > max(len(merged), 1 << 16):
                merged, waiting, size = cls(np.concatenate([merged.rows, *waiting])), [], 0
        return cls(np.concatenate([merged.rows, *waiting])) if waiting else merged

    @property
    def rows(self) -> Rows:
        """The ids, each once."""
        return self._rows

    def holds(self, ids: Rows) -> npt.NDArray[np.bool_]:
        """Tell of each row whether it is in the set."""
        found = np.zeros(len(ids), bool)
        if not len(self._rows):
            return found
        places = np.searchsorted(self._heads, ids[:, 0])
        left = np.arange(len(ids))
        while len(left):  # one turn, unless several ids begin with the same eight bytes
            inside = places[left] < len(self._heads)
            left = left[inside]
            left = left[self._heads[places[left]] == ids[left, 0]]
            same = (self._rows[places[left]] == ids[left]).all(axis=1)
            found[left[same]] = True
            left = left[~same]
            places[left] += 1
        return found

    def __contains__(self, identifier: bytes) -> bool:
        """Tell whether one id is in the set."""
        return bool(len(self._rows)) and bool(self.holds(rows(identifier))[0])

    def without(self, other: IdSet) -> IdSet:
        """Return what is in this set and not in the other one."""
        return IdSet(self._rows[~other.holds(self._rows)])

    def __len__(self) -> int:
        """Count the ids."""
        return len(self._rows)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the ids."""
        return (row.tobytes() for row in self._rows)


def places_of(index: Rows, ids: IdSet) -> list[int]:
    """Return the numbers of the rows of ``index`` that are in a set."""
    return [int(number) for number in np.flatnonzero(ids.holds(index))]
