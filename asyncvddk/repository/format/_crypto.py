"""Keys and seals: ids are keyed BLAKE3-256, contents are AES-256-GCM under a key of their own for each object.

A sealed object is::

    magic "AVRO", version, kind, flags, codec      8 bytes
    salt                                           32 bytes, only if encrypted
    payload                                        encrypted, or as it is
    tag                                            16 bytes: of GCM, or keyed BLAKE3 if not encrypted
    checksum                                       16 bytes: BLAKE3 of all before, without a key

Header and name are authenticated with the payload, so that no object passes for another one. The salt is random and
makes the object's key, so one nonce serves all; a nonce derived from the id would not do: the same chunk compressed
at another level is another plaintext. A repository without encryption derives its keys from its id: its tags find
damage and exchange, not an attacker.
"""

from __future__ import annotations

import secrets
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from asyncvddk.errors import ClosedError
from asyncvddk.repository.errors import DamagedError
from asyncvddk.repository.format import _codec

if TYPE_CHECKING:
    from typing_extensions import Buffer

MASTER_SIZE: Final = 32

_MAGIC: Final = b"AVRO"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("=4sBBBB")
_ENCRYPTED: Final = 1
_SALT: Final = 32
_TAG: Final = 16
_CHECKSUM: Final = 16
_NONCE: Final = bytes(12)


class Kind(IntEnum):
    """What an object is; part of what is authenticated."""

    CHUNK = 1
    PAGE = 2
    ROOT = 3
    BLOB = 4
    SNAPSHOT = 5
    SESSION = 6
    PLAN = 7
    KEEP = 8
    DONE = 9
    TRASH = 10


def checksum(data: Buffer) -> bytes:
    """Return the checksum that needs no key."""
    return blake3(data).digest(_CHECKSUM)


class Keys:
    """The keys of one repository, derived from its master key. Never printed, compared or pickled."""

    __slots__ = ("_chunk", "_meta", "_name", "_seal", "encrypted")

    def __init__(self, master: Buffer, *, encrypted: bool) -> None:
        """Derive; ``master`` stays the caller's, who wipes it."""
        self.encrypted = encrypted
        self._chunk, self._meta, self._name, self._seal = (
            bytearray(blake3(master, derive_key_context=f"asyncvddk repository v1 {purpose}").digest())
            for purpose in ("chunk ids", "meta ids", "names", "seals")
        )

    @classmethod
    def open_to_all(cls, repository_id: str) -> Keys:
        """Return the keys of a repository without encryption."""
        return cls(repository_id.encode(), encrypted=False)

    def chunk_id(self, data: Buffer) -> bytes:
        """Return the id of a chunk."""
        return blake3(data, key=_usable(self._chunk)).digest()

    def meta_id(self, data: Buffer) -> bytes:
        """Return the id of a page, root or blob."""
        return blake3(data, key=_usable(self._meta)).digest()

    def hidden(self, text: str) -> str:
        """Return a name that tells nothing of ``text`` and is the same each time."""
        return blake3(text.encode(), key=_usable(self._name)).hexdigest(8)

    def seal(self, kind: Kind, name: str, data: Buffer, *, level: int) -> bytearray:
        """Return the object to store under ``name``."""
        codec, payload = _codec.compress(data, level)
        length = memoryview(payload).nbytes
        start = _HEADER.size + (_SALT if self.encrypted else 0)
        sealed = bytearray(start + length + _TAG + _CHECKSUM)
        header = _HEADER.pack(_MAGIC, _VERSION, kind, _ENCRYPTED if self.encrypted else 0, codec)
        sealed[: _HEADER.size] = header
        with memoryview(sealed) as view:
            if self.encrypted:
                salt = secrets.token_bytes(_SALT)
                view[_HEADER.size : start] = salt
                cipher = AESGCM(blake3(salt, key=_usable(self._seal)).digest())
                target = view[start : start + length + _TAG]
                cipher.encrypt_into(_NONCE, memoryview(payload), header + name.encode(), target)
            else:
                view[start : start + length] = memoryview(payload).cast("B")
                view[start + length : -_CHECKSUM] = self._plain_tag(header, name, payload)
            view[-_CHECKSUM:] = checksum(view[:-_CHECKSUM])
        return sealed

    def unseal(self, kind: Kind, name: str, stored: Buffer, *, limit: int) -> Buffer:
        """Return what was sealed, at most ``limit`` bytes. Raises DamagedError, which names the object."""
        codec, payload = self._payload(kind, name, stored)
        try:
            return _codec.decompress(codec, payload, limit)
        except _codec.CodecError as error:
            raise DamagedError(name, str(error)) from None

    def unseal_into(self, kind: Kind, name: str, stored: Buffer, target: memoryview) -> int:
        """Write what was sealed to the beginning of ``target``; return its length. Raises as ``unseal``."""
        codec, payload = self._payload(kind, name, stored)
        try:
            return _codec.decompress_into(codec, payload, target)
        except _codec.CodecError as error:
            raise DamagedError(name, str(error)) from None

    def _payload(self, kind: Kind, name: str, stored: Buffer) -> tuple[int, Buffer]:
        """Return codec and payload of an object that is authentic. Raises DamagedError."""
        view = memoryview(stored).cast("B")
        header = bytes(view[: _HEADER.size])
        flags, codec = _check_header(name, view, kind)
        if bool(flags & _ENCRYPTED) != self.encrypted:
            raise DamagedError(name, "not encrypted, in a repository that is" if self.encrypted else "encrypted")
        start = _HEADER.size + (_SALT if self.encrypted else 0)
        body = view[start:-_CHECKSUM]
        if not self.encrypted:
            if not secrets.compare_digest(self._plain_tag(header, name, body[:-_TAG]), bytes(body[-_TAG:])):
                raise _not_authentic(name, view)
            return codec, body[:-_TAG]
        cipher = AESGCM(blake3(view[_HEADER.size : start], key=_usable(self._seal)).digest())
        try:
            return codec, cipher.decrypt(_NONCE, body, header + name.encode())
        except InvalidTag:
            raise _not_authentic(name, view) from None

    def _plain_tag(self, header: bytes, name: str, payload: Buffer) -> bytes:
        hasher = blake3(header, key=_usable(self._seal))
        hasher.update(len(name).to_bytes(4, "little") + name.encode())
        return hasher.update(payload).digest(_TAG)

    def wipe(self) -> None:
        """Overwrite the keys; every use of them raises ClosedError afterwards, in threads that are at work, too."""
        for key in (self._chunk, self._meta, self._name, self._seal):
            key[:] = bytes(len(key))
            key.clear()  # zeros would still be a key, and one that everybody knows

    def __repr__(self) -> str:
        """Hide the keys."""
        return "Keys('***')"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse: pickled keys would be keys in a file."""
        raise TypeError("Keys cannot be pickled")


def _usable(key: bytearray) -> bytearray:
    """Return a key that was not wiped. Raises ClosedError."""
    if not key:
        raise ClosedError("the repository is closed: its keys are gone")
    return key


def check_stored(name: str, stored: Buffer) -> None:
    """Raise DamagedError if a sealed object is not as it was stored, as far as one can tell without a key."""
    view = memoryview(stored).cast("B")
    _check_header(name, view, None)
    if checksum(view[:-_CHECKSUM]) != view[-_CHECKSUM:]:
        raise DamagedError(name, "the checksum is wrong: damaged on storage or on the way")


def kind_of(name: str, stored: Buffer) -> Kind:
    """Return the kind that an object's header claims. Raises DamagedError."""
    view = memoryview(stored).cast("B")
    _check_header(name, view, None)
    try:
        return Kind(_HEADER.unpack(view[: _HEADER.size])[2])
    except ValueError:
        raise DamagedError(name, "of a kind that nobody knows") from None


def _check_header(name: str, view: memoryview, kind: Kind | None) -> tuple[int, int]:
    """Return flags and codec of an object whose header makes sense."""
    if len(view) < _HEADER.size + _TAG + _CHECKSUM:
        raise DamagedError(name, f"cut: {len(view)} bytes are left")
    magic, version, found, flags, codec = _HEADER.unpack(view[: _HEADER.size])
    if magic != _MAGIC:
        raise DamagedError(name, "no object of a repository")
    if version != _VERSION:
        raise DamagedError(name, f"format {version}; this version reads {_VERSION}")
    if flags & _ENCRYPTED and len(view) < _HEADER.size + _SALT + _TAG + _CHECKSUM:
        raise DamagedError(name, f"cut: {len(view)} bytes are left")
    if kind is not None and found != kind:
        raise DamagedError(name, f"of kind {found}, expected {kind} ({kind.name.lower()}): exchanged or damaged")
    return flags, codec


def _not_authentic(name: str, view: memoryview) -> DamagedError:
    """Return the error for a wrong tag; the checksum tells an accident from an exchange."""
    try:
        check_stored(name, view)
    except DamagedError as error:
        return error
    return DamagedError(
        name, "whole, but not authentic: another object's content, another repository's, or tampered with"
    )
