"""Who may go on: so many at once in all, and so many of each place. Whoever waits keeps nobody else waiting."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

RECOVERY: Final = 8
"""Turns that ended well, after which a place that was overloaded gets one more at a time."""


@dataclass(slots=True)
class _Place:
    """Something that bears so many at once, as a host."""

    most: float
    """What it may get back to."""
    limit: float
    used: int = 0
    well: int = 0
    """Turns that ended well since the limit changed."""


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits for places."""

    places: list[_Place]
    ready: anyio.Event


class Turns:
    """Turns at places, which are known by their names; the first who can go on goes on."""

    def __init__(self) -> None:
        """Know no place yet."""
        self._places: dict[str, _Place] = {}
        self._queue: list[_Waiting] = []

    @asynccontextmanager
    async def turn(self, names: Sequence[tuple[str, float]]) -> AsyncIterator[None]:
        """Wait until all places have room, and be there in the block. ``names`` come with what each bears at most."""
        places = [self._places.setdefault(name, _Place(most, most)) for name, most in names]
        waiting = _Waiting(places, anyio.Event())
        self._queue.append(waiting)
        self._admit()
        try:
            await waiting.ready.wait()
            yield
        finally:
            if waiting.ready.is_set():
                for place in places:
                    place.used -= 1
            else:
                self._queue.remove(waiting)
            self._admit()

    def _admit(self) -> None:
        """Let those go on, longest waiting first, whose places have room."""
        for waiting in list(self._queue):
            if all(place.used < place.limit for place in waiting.places):
                for place in waiting.places:
                    place.used += 1
                self._queue.remove(waiting)
                waiting.ready.set()

    def overloaded(self, name: str) -> int:
        """Let a place have half as many at once, at least one; return how many. Called in a turn there."""
        place = self._places[name]
        place.limit, place.well = max(1, min(place.limit, place.used) // 2), 0
        return int(place.limit)

    def well(self, name: str) -> None:
        """Note that a turn ended well: after some of them a place that was overloaded bears one more."""
        place = self._places[name]
        place.well += 1
        if place.limit < place.most and place.well >= RECOVERY:
            place.limit, place.well = place.limit + 1, 0
            self._admit()

    def limit(self, name: str) -> float:
        """Return how many a place bears now."""
        return self._places[name].limit if name in self._places else math.inf
