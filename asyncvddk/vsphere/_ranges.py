"""Ranges of bytes, many of them in little memory. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from asyncvddk.models import Block


class Ranges(Sequence[Block]):
    """Ranges, ascending and with a gap between each two; 16 bytes of memory each."""

    def __init__(self) -> None:
        """Begin with none."""
        self._starts = array("Q")
        self._ends = array("Q")

    def _append(self, start: int, end: int) -> None:
        if self._ends and start <= self._ends[-1]:
            self._ends[-1] = max(self._ends[-1], end)
        else:
            self._starts.append(start)
            self._ends.append(end)

    def add(self, pieces: Sequence[tuple[int, int]]) -> None:
        """Add (start, end) in any order; they may overlap. Those that begin before what is there take long."""
        ordered = sorted(pieces)
        if ordered and self._starts and ordered[0][0] < self._starts[-1]:
            ordered = sorted([*zip(self._starts, self._ends, strict=True), *ordered])
            self._starts, self._ends = array("Q"), array("Q")
        for start, end in ordered:
            self._append(start, end)

    @property
    def bytes(self) -> int:
        """Bytes of all."""
        return sum(self._ends) - sum(self._starts)

    def __len__(self) -> int:
        """Count them."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Block: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Block]: ...

    def __getitem__(self, index: int | slice) -> Block | Sequence[Block]:
        """Return one, or some."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start = self._starts[index]
        return Block(start, self._ends[index] - start)

    def __iter__(self) -> Iterator[Block]:
        """Iterate over them."""
        for start, end in zip(self._starts, self._ends, strict=True):
            yield Block(start, end - start)
