"""Running backups, as their objects in ``sessions/`` tell of them."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asyncvddk.repository.format import _layout

if TYPE_CHECKING:
    from asyncvddk.repository.store._store import Store

EXPIRY_S: Final = 96 * 3600.0
"""After which a silent session is removed: its writer finds out before it commits."""
BEAT_S: Final = 600.0

_NAME: Final = re.compile(
    r"sessions/(?P<session>(?P<stamp>\d{8}T\d{6}Z)-[0-9a-f]{16})/(?P<part>pin|(?:beat|ack|part)-\d+)"
)


@dataclass(slots=True)
class LiveSession:
    """What a listing showed of a session."""

    session: str
    started: float
    pinned: bool = False
    """Alive: without its pin a session can commit nothing."""
    beat: float = 0.0
    acknowledged: set[int] = field(default_factory=set)
    checkpoint: int = 0
    """When it noted how far it was, in seconds since 1970; 0: it did not."""
    names: list[str] = field(default_factory=list)

    def heard(self) -> float:
        """Return when it gave a sign of life last."""
        return max(self.started, self.beat, self.checkpoint)


def list_sessions(store: Store) -> list[LiveSession]:
    """List the sessions, what is left of dead ones too."""
    found: dict[str, LiveSession] = {}
    for item in store.list(_layout.SESSIONS):
        match = _NAME.fullmatch(item.name)
        if not match:
            continue
        started = float(calendar.timegm(time.strptime(match["stamp"], "%Y%m%dT%H%M%SZ")))
        session = found.setdefault(match["session"], LiveSession(match["session"], started))
        session.names.append(item.name)
        part, _, number = match["part"].partition("-")
        if part == "pin":
            session.pinned = True
        elif part == "beat":
            session.beat = max(session.beat, float(number))
        elif part == "part":
            session.checkpoint = max(session.checkpoint, int(number))
        else:
            session.acknowledged.add(int(number))
    return list(found.values())


def remove(store: Store, session: LiveSession) -> None:
    """End a session: its pin first, so that it commits nothing more."""
    store.delete([_layout.pin(session.session)])
    store.delete(session.names)
