"""One collection at a time: a lock that its holder refreshes, and that expires if it does not."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from asyncvddk.repository.errors import RepositoryBusyError, StoreError
from asyncvddk.repository.format import _layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk.repository.store._vault import Vault

EXPIRY_S: Final = 6 * 3600.0
"""After which a silent holder is taken for dead."""
_REFRESH_S: Final = 60.0
_NAME: Final = re.compile(r"gc/lock/([0-9a-f]+)/(\d+)")


class Lock:
    """A lock that is held. Made by ``locked``."""

    def __init__(self, vault: Vault) -> None:
        """Choose a name."""
        self._vault = vault
        self._id = _layout.new_id()
        self._name = ""
        self._refreshed = 0.0

    def take(self) -> None:
        """Take the lock. Raises RepositoryBusyError. Of two that try at once, none or one gets it."""
        self._refuse_others()
        try:
            self._sign()
            self._refuse_others()
        except BaseException:
            with suppress(StoreError):
                self.release()
            raise

    def confirm(self, *, at_once: bool = False) -> None:
        """Raise RepositoryBusyError if the lock was lost to somebody else: after a long sleep of this machine.

        Call it often: the store is asked once a minute, or ``at_once``.
        """
        if not at_once and self._vault.clock() - self._refreshed < _REFRESH_S:
            return
        if not self._vault.store.exists(self._name):
            raise RepositoryBusyError("the collection was silent for so long that another one took its place")
        old = self._name
        self._sign()
        if old != self._name:
            self._vault.store.delete([old])

    def release(self) -> None:
        """Let others go on."""
        self._vault.store.delete([self._name])

    def _sign(self) -> None:
        self._refreshed = self._vault.clock()
        self._name = _layout.lock(self._id, self._refreshed)
        self._vault.store.create(self._name, b"")

    def _refuse_others(self) -> None:
        expired = []
        for identifier, since, name in locks(self._vault):
            if identifier == self._id:
                continue
            if self._vault.clock() - since < EXPIRY_S:
                ago = max(0, int(self._vault.clock() - since))
                raise RepositoryBusyError(f"another collection is at work, last heard of {ago} s ago; try again later")
            expired.append(name)
        self._vault.store.delete(expired)


def locks(vault: Vault) -> Iterator[tuple[str, float, str]]:
    """Iterate over the locks, expired ones too: id, time, name."""
    for item in vault.store.list(_layout.LOCK):
        if match := _NAME.fullmatch(item.name):
            yield match[1], float(match[2]), item.name


def is_held(vault: Vault) -> bool:
    """Tell whether a collection is at work and alive."""
    return any(vault.clock() - since < EXPIRY_S for _, since, _ in locks(vault))


@contextmanager
def locked(vault: Vault) -> Iterator[Lock]:
    """Hold the lock for the block. Raises RepositoryBusyError."""
    lock = Lock(vault)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()
