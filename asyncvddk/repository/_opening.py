"""Making and opening a repository, and its key slots. Blocking."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from asyncvddk.repository.errors import (
    DamagedError,
    KeySlotError,
    ObjectMissingError,
    RepositoryExistsError,
    RepositoryNotFoundError,
    WrongPasswordError,
)
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import MASTER_SIZE, Keys
from asyncvddk.repository.format._index import PAGE_ENTRIES
from asyncvddk.repository.format._keyslots import Argon2Cost, KeySlot, make_slot, open_slot
from asyncvddk.repository.format._manifests import Config, read_text, write_text

if TYPE_CHECKING:
    from asyncvddk._secret import Secret
    from asyncvddk.repository.store._store import Store


def new_config(password: Secret | None, *, chunk_size: int, level: int, page_entries: int = PAGE_ENTRIES) -> Config:
    """Return a configuration of a new repository, with an id of its own. Raises ValueError."""
    config = Config(
        id=secrets.token_hex(16),
        created=time.time(),
        chunk_size=chunk_size,
        page_entries=page_entries,
        level=level,
        encryption="none" if password is None else "aes-256-gcm",
    )
    config.check()
    if password is not None and not password:
        raise ValueError("the password is empty; give one, or none at all for a repository without encryption")
    return config


def make(store: Store, password: Secret | None, config: Config, cost: Argon2Cost) -> Config:
    """Write a new configuration, and the first key slot before it: what opens is complete. Return it.

    Raises RepositoryExistsError, StoreError.
    """
    if store.exists(_layout.CONFIG):
        raise RepositoryExistsError(f"{store.place}: there is a repository already")
    if stray := next(store.list(_layout.KEYS), None):
        raise RepositoryExistsError(f"{store.place}: there is no repository, but {stray.name}; choose an empty place")
    written = write_text(config)
    slot = ""
    if password is not None:
        master = bytearray(secrets.token_bytes(MASTER_SIZE))
        try:
            slot = _store_slot(store, written, master, password, cost)
        finally:
            master[:] = bytes(MASTER_SIZE)
    made = store.create(_layout.CONFIG, written, stable=True)
    if not made and bytes(store.get(_layout.CONFIG)) != written:  # ours, if the answer of a first attempt was lost
        store.delete([slot] if slot else [])
        raise RepositoryExistsError(f"{store.place}: another program made a repository there at the same time")
    return config


def read_config(store: Store) -> tuple[Config, bytes]:
    """Return the configuration, and its text, to which key slots are bound.

    Raises RepositoryNotFoundError, DamagedError.
    """
    try:
        written = bytes(store.get(_layout.CONFIG))
    except ObjectMissingError:
        raise RepositoryNotFoundError(f"{store.place}: there is no repository") from None
    config = read_text(_layout.CONFIG, written, Config)
    try:
        config.check()
    except ValueError as error:
        raise DamagedError(_layout.CONFIG, str(error)) from None
    return config, written


def open_keys(store: Store, password: Secret | None) -> tuple[Config, Keys]:
    """Return the configuration and the keys. Raises WrongPasswordError, RepositoryNotFoundError, DamagedError."""
    config, written = read_config(store)
    if config.encryption == "none":
        if password is not None:
            raise WrongPasswordError(
                f"{store.place}: the repository says that it is not encrypted, and a password was given; "
                "if it should be encrypted, somebody has changed it"
            )
        return config, Keys.open_to_all(config.id)
    if password is None:
        raise WrongPasswordError(f"{store.place}: the repository is encrypted; give a password")
    master, _ = _unlock(store, written, password)
    try:
        return config, Keys(master, encrypted=True)
    finally:
        master[:] = bytes(MASTER_SIZE)


def slots(store: Store) -> list[KeySlot]:
    """Return the key slots, the oldest first. Raises DamagedError."""
    found = [read_text(item.name, store.get(item.name), KeySlot) for item in store.list(_layout.KEYS)]
    return sorted(found, key=lambda slot: slot.created)


def add_slot(store: Store, password: Secret, new: Secret, cost: Argon2Cost) -> KeySlot:
    """Add a slot for ``new``; ``password`` opens one that is there. Raises WrongPasswordError, ValueError."""
    if not new:
        raise ValueError("the new password is empty")
    _, written = read_config(store)
    master, _ = _unlock(store, written, password)
    try:
        name = _store_slot(store, written, master, new, cost)
    finally:
        master[:] = bytes(MASTER_SIZE)
    return read_text(name, store.get(name), KeySlot)


def remove_slot(store: Store, identifier: str) -> None:
    """Remove a slot. Raises KeySlotError if there is none of that id, or no other one."""
    found = slots(store)
    if identifier not in {slot.id for slot in found}:
        raise KeySlotError(f"{identifier!r}: there is no such key slot, but {', '.join(slot.id for slot in found)}")
    if len(found) == 1:
        raise KeySlotError(f"{identifier}: the last key slot; without it the repository could never be opened again")
    store.delete([f"{_layout.KEYS}/{identifier}"])


def change_password(store: Store, password: Secret, new: Secret, cost: Argon2Cost) -> KeySlot:
    """Put a slot for ``new`` in place of the one that ``password`` opens: first there, then away."""
    _, written = read_config(store)
    master, old = _unlock(store, written, password)
    master[:] = bytes(MASTER_SIZE)
    slot = add_slot(store, password, new, cost)
    remove_slot(store, old.id)
    return slot


def _unlock(store: Store, written: bytes, password: Secret) -> tuple[bytearray, KeySlot]:
    """Return the master key, which the caller wipes, and the slot that the password opens."""
    damaged: list[DamagedError] = []
    count = 0
    for item in store.list(_layout.KEYS):
        count += 1
        try:
            slot = read_text(item.name, store.get(item.name), KeySlot)
            master = open_slot(slot, password, context=written)
        except DamagedError as error:
            damaged.append(error)
            continue
        if master is not None:
            return master, slot
    if damaged:
        raise damaged[0]
    if not count:
        raise DamagedError(_layout.KEYS, "all key slots are gone: without one the repository cannot be opened")
    raise WrongPasswordError(f"{store.place}: the password opens none of {count} key slots")


def _store_slot(store: Store, written: bytes, master: bytearray, password: Secret, cost: Argon2Cost) -> str:
    slot = make_slot(master, password, context=written, created=time.time(), cost=cost)
    name = f"{_layout.KEYS}/{slot.id}"
    store.create(name, write_text(slot), stable=True)
    return name
