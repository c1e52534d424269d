"""What the repository wants of a place that holds objects: create, get, list, delete. Blocking; used in threads."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from asyncvddk.repository.errors import StoreUnsuitableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing tells of it."""

    name: str
    size: int
    """Bytes as stored."""


class Store(Protocol):
    """Named objects that are created once, whole, and never changed.

    All methods block, may be called from several threads at once, and raise StoreError and its subclasses. Names
    are made by ``_layout`` alone. No buffer is kept after return.
    """

    place: str
    """Where it is, for messages; without credentials."""
    local: bool
    """True: a look whether an object exists is cheap, and objects are on stable storage only after ``sync``."""

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """Store an object unless there is one of that name; tell whether it was. Of several creators one wins.

        ``stable``: returns when data and name survive a power cut.
        """
        ...

    def replace(self, name: str, data: Buffer) -> None:
        """Store an object, in place of a damaged one if there is one: readers find the one or the other."""
        ...

    def get(self, name: str) -> Buffer:
        """Return an object's bytes. Raises ObjectMissingError."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        ...

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Iterate over the objects below a folder, in any order; over all with an empty name."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are not there are no error."""
        ...

    def sync(self) -> None:
        """Return when all that was created before survives a power cut."""
        ...

    def tidy(self) -> None:
        """Remove what killed writers left outside of objects."""
        ...

    def close(self) -> None:
        """Free what the store holds in this process."""
        ...


_PROBES: Final = 2
"""Once more: an attempt whose answer was lost finds its own object there when it is made again."""


def probe(store: Store) -> None:
    """Raise StoreUnsuitableError unless the store lets one of two creators win and keeps the winner's bytes."""
    if not any(_is_exclusive(store) for _ in range(_PROBES)):
        raise StoreUnsuitableError(
            f"{store.place}: the store overwrites objects that exist (or denies to create one), so that two writers "
            "could destroy each other's backups; use a store with conditional writes (If-None-Match on S3)"
        )


def _is_exclusive(store: Store) -> bool:
    name = f"probe/{secrets.token_hex(16)}"
    try:
        answers = store.create(name, b"first"), store.create(name, b"second")
        return answers == (True, False) and bytes(store.get(name)) == b"first"
    finally:
        store.delete([name])
