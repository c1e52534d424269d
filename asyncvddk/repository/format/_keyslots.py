"""Key slots: the master key, wrapped once for each password (Argon2id, AES-256-GCM)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from asyncvddk.repository.errors import DamagedError
from asyncvddk.repository.format._crypto import MASTER_SIZE

if TYPE_CHECKING:
    from asyncvddk._secret import Secret

_SALT: Final = 32
_NONCE: Final = 12
_KEK: Final = 32
_MOST: Final = 64
_MOST_KIB: Final = 4 << 20


class Argon2Cost(msgspec.Struct, frozen=True):
    """What one guess of a password costs. The default takes 256 MiB and about half a second."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4

    def check(self) -> None:
        """Raise ValueError for a cost that no honest slot has: it would take the memory of the machine."""
        sane = 8 * self.lanes <= self.memory_kib <= _MOST_KIB
        if not (sane and 1 <= self.iterations <= _MOST and 1 <= self.lanes <= _MOST):
            raise ValueError(
                f"{self}: expected at most 4 GiB of memory and at least 8 KiB a lane, 1..64 iterations, 1..64 lanes"
            )


class KeySlot(msgspec.Struct, frozen=True):
    """What ``keys/<id>`` holds."""

    id: str
    """16 hexadecimal digits."""
    created: float
    """Seconds since 1970, UTC."""
    cost: Argon2Cost
    salt: bytes
    wrapped: bytes
    """Nonce, encrypted master key, tag."""

    def __repr__(self) -> str:
        """Show what is no secret."""
        return f"KeySlot(id={self.id!r}, created={self.created})"


def make_slot(master: bytearray, password: Secret, *, context: bytes, created: float, cost: Argon2Cost) -> KeySlot:
    """Wrap the master key. ``context`` (the repository's configuration) is bound to it."""
    cost.check()
    slot_id, salt, nonce = secrets.token_hex(8), secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    key = _derive(password, salt, cost)
    try:
        wrapped = nonce + AESGCM(key).encrypt(nonce, master, _bound(slot_id, context))
    finally:
        key[:] = bytes(_KEK)
    return KeySlot(slot_id, created, cost, salt, wrapped)


def open_slot(slot: KeySlot, password: Secret, *, context: bytes) -> bytearray | None:
    """Return the master key, which the caller wipes, or None if the password is not this slot's.

    Raises DamagedError for a slot that no honest writer made.
    """
    try:
        slot.cost.check()
    except ValueError as error:
        raise DamagedError(f"keys/{slot.id}", str(error)) from None
    key = _derive(password, slot.salt, slot.cost)
    try:
        nonce, sealed = slot.wrapped[:_NONCE], slot.wrapped[_NONCE:]
        master = bytearray(AESGCM(key).decrypt(nonce, sealed, _bound(slot.id, context)))
    except (InvalidTag, ValueError):
        return None
    finally:
        key[:] = bytes(_KEK)
    return master if len(master) == MASTER_SIZE else None


def _bound(slot_id: str, context: bytes) -> bytes:
    """Return what is authenticated with the key: a slot of another repository or configuration does not open."""
    return b"asyncvddk key slot v1 " + slot_id.encode() + blake3(context).digest()


def _derive(password: Secret, salt: bytes, cost: Argon2Cost) -> bytearray:
    """Return the key that a password makes; the caller wipes it."""
    key = bytearray(_KEK)
    kdf = Argon2id(salt=salt, length=_KEK, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib)
    kdf.derive_into(password.view(), key)  # type: ignore[arg-type]  # any buffer will do
    return key
