"""Every error that the repository raises on purpose.

::

    VddkError
    └── RepositoryError
        ├── RepositoryNotFoundError      nothing is there
        ├── RepositoryExistsError        something is there already
        ├── RepositoryBusyError          another collection is at work
        ├── WrongPasswordError           no key slot opens with it, or one is needed and none was given
        ├── KeySlotError                 no such slot, or it is the last one
        ├── SnapshotNotFoundError        none, or several, have that id
        ├── SessionLostError             the session was silent for too long and was removed
        ├── ChunksLostError              chunks of a session have vanished: put them again, then commit
        ├── DamagedError                 an object is not what was stored
        └── StoreError                   the store does not do what it is asked
            ├── ObjectMissingError
            ├── StoreAccessError         rights or credentials
            ├── StoreFullError
            └── StoreUnsuitableError     it cannot hold a repository

Wrong arguments are ``ValueError`` or ``TypeError``, raised before anything changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncvddk.errors import VddkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ChunksLostError",
    "DamagedError",
    "KeySlotError",
    "ObjectMissingError",
    "RepositoryBusyError",
    "RepositoryError",
    "RepositoryExistsError",
    "RepositoryNotFoundError",
    "SessionLostError",
    "SnapshotNotFoundError",
    "StoreAccessError",
    "StoreError",
    "StoreFullError",
    "StoreUnsuitableError",
    "WrongPasswordError",
]


class RepositoryError(VddkError):
    """Base of every error of the repository."""


class RepositoryNotFoundError(RepositoryError):
    """There is no repository at that place."""


class RepositoryExistsError(RepositoryError):
    """There is a repository, or something else, at the place of a new one."""


class RepositoryBusyError(RepositoryError):
    """Another collection is at work; the message says since when."""


class WrongPasswordError(RepositoryError):
    """The password opens no key slot, or one is needed and none was given, or one was given and none is needed."""


class KeySlotError(RepositoryError):
    """There is no such key slot, or it is the last one."""


class SnapshotNotFoundError(RepositoryError):
    """No snapshot, or more than one, has an id that begins so."""


class SessionLostError(RepositoryError):
    """The session was silent for so long that a collection removed it: what it stored may be gone. Start again."""


class ChunksLostError(RepositoryError):
    """Chunks on which a session relied have vanished from the store. Put those of ``chunks`` again, then commit."""

    def __init__(self, chunks: Mapping[str, Sequence[int]]) -> None:
        """Take the numbers of the chunks to put again, by key of the disk."""
        super().__init__(chunks)
        self.chunks = chunks
        """Numbers of the chunks to put again, by key of the disk."""

    def __str__(self) -> str:
        """Say how many, of which disks."""
        counts = ", ".join(f"{len(numbers)} of disk {key}" for key, numbers in self.chunks.items())
        return f"chunks have vanished from the store ({counts}); put them again, then commit"


class DamagedError(RepositoryError):
    """An object is not what was stored: flipped, cut, exchanged for another one, or tampered with."""

    def __init__(self, name: str, reason: str) -> None:
        """Take the object's name in the store, and what is wrong."""
        super().__init__(name, reason)
        self.name = name
        """Name in the store."""
        self.reason = reason

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.reason}"


class StoreError(RepositoryError):
    """The store failed: network, disk, or an answer that makes no sense. The message names object and place."""


class ObjectMissingError(StoreError):
    """The store has no such object."""

    def __init__(self, name: str, place: str) -> None:
        """Take the object's name and the store's."""
        super().__init__(name, place)
        self.name = name
        """Name in the store."""
        self.place = place

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: no such object in {self.place}"


class StoreAccessError(StoreError):
    """Rights or credentials are missing."""


class StoreFullError(StoreError):
    """There is no room left; nothing that was stored before is hurt."""


class StoreUnsuitableError(StoreError):
    """This store cannot hold a repository: it does not create objects exclusively."""
