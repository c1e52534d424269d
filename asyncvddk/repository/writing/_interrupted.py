"""What interrupted backups of a source had read, for the next one. Blocking."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.errors import DamagedError, ObjectMissingError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._manifests import Checkpoint, Pin

if TYPE_CHECKING:
    from asyncvddk.repository.format._manifests import PartialDisk
    from asyncvddk.repository.store._vault import Vault

_logger = structlog.get_logger()


@dataclass(slots=True)
class Interrupted:
    """Sessions of a source that were not committed, and maybe still run: it makes no difference."""

    found: bool
    """True: there are some, so the store may hold what nobody knows of."""
    parts: dict[str, Checkpoint]
    """Their last checkpoints, by name, the newest first."""
    names: list[str] = field(default_factory=list)
    """All their checkpoints: one that is killed may have two."""

    @property
    def roots(self) -> list[bytes]:
        """What has to stay for them to be of use."""
        return [disk.root for part in self.parts.values() for disk in part.disks]

    def drop_missing(self, vault: Vault) -> None:
        """Forget those that are gone: whoever removed them may not have seen that their roots are pinned."""
        self.parts = {name: part for name, part in self.parts.items() if vault.store.exists(name)}

    def disk(self, key: str, uuid: str | None, capacity: int, state: str) -> PartialDisk | None:
        """Return what was read of a disk, if it was in this very state."""
        wanted = (key, uuid, capacity, state)
        for part in self.parts.values():
            for disk in part.disks:
                if (disk.key, disk.uuid, disk.capacity, disk.state) == wanted:
                    return disk
        return None


def find(vault: Vault, source: str) -> Interrupted:
    """Look for sessions of a source; what is damaged of them is left alone."""
    found = Interrupted(found=False, parts={})
    for session in sorted(_sessions.list_sessions(vault.store), key=_sessions.LiveSession.heard, reverse=True):
        try:
            with contextlib.suppress(ObjectMissingError):  # it ended, or is further, meanwhile
                _look(vault, session, source, found)
        except DamagedError as error:
            _logger.warning("session_unreadable", session=session.session, reason=str(error), effect="it is not used")
    return found


def _look(vault: Vault, session: _sessions.LiveSession, source: str, found: Interrupted) -> None:
    if session.checkpoint:
        name = _layout.part(session.session, session.checkpoint)
        part = vault.get_manifest(Kind.SESSION, name, Checkpoint)
        if part.source == source:
            found.parts[name] = part
            found.names += [one for one in session.names if "/part-" in one]
            found.found = True
    elif session.pinned:
        pin = vault.get_manifest(Kind.SESSION, _layout.pin(session.session), Pin)
        found.found |= pin.source == source
