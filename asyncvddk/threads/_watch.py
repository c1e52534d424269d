"""Finding calls that run for too long by looking now and then: no timer and no clock for each of a million reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

LOOKS: Final = 8
"""Looks within one time limit: a call that runs too long is found at most an eighth of the limit late."""

T = TypeVar("T", bound="Hashable")


class Watch(Generic[T]):
    """What was under way at the last looks. Whoever looks waits an eighth of the time limit in between.

    Looks are counted instead of seconds, so that a program that stood still (a busy event loop, a suspended machine)
    does not take its own pause for one of the library: it counts as one look, however long it was.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._looks: dict[T, int] = {}

    def look(self, running: Iterable[T]) -> T | None:
        """Take note of what is under way now; return one that has been so for the whole time limit."""
        self._looks = {call: self._looks.get(call, -1) + 1 for call in running}
        return next((call for call, looks in self._looks.items() if looks >= LOOKS), None)
