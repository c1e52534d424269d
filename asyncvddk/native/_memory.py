"""Memory that C reads and writes while Python owns it: output cells, buffers and their addresses."""

from __future__ import annotations

import ctypes
import mmap
import os
from ctypes import Array, c_char, c_int, c_size_t, c_ssize_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Final

from asyncvddk._secret import Secret

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Cell:
    """One 64-bit output argument: a handle, a pointer or a number."""

    __slots__ = ("_cell", "address")

    def __init__(self) -> None:
        """Start with 0."""
        self._cell = c_uint64()
        self.address = ctypes.addressof(self._cell)

    @property
    def value(self) -> int:
        """What C has written."""
        return self._cell.value


def keep_for_ever(thing: object) -> None:
    """Have ``thing`` never freed, not even at the end of the interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def copy_to(address: int, data: bytes) -> None:
    """Copy ``data`` to memory at ``address`` that has room for it."""
    ctypes.memmove(address, data, len(data))


def text_at(address: int) -> str | None:
    """Copy the NUL-terminated text at ``address``; ``None`` for NULL."""
    return os.fsdecode(ctypes.string_at(address)) if address else None


_strlen: Final = ctypes.CDLL(None).strlen
_strlen.restype = c_size_t
_strlen.argtypes = (c_void_p,)


def secret_at(address: int | None) -> Secret | None:
    """Copy the NUL-terminated text at ``address`` straight into a ``Secret``; ``None`` for NULL and for no text."""
    length = _strlen(address) if address else 0
    return Secret(memoryview((c_char * length).from_address(address)).cast("B")) if address and length else None


def secret_copy(secret: Secret) -> Array[c_char]:
    """Return a NUL-terminated copy of the content of ``secret``, made straight from it; ``overwrite`` it after use."""
    pinned = Pinned(secret.view())
    copy: Array[c_char] = (c_char * (pinned.length + 1))()
    ctypes.memmove(copy, pinned.address, pinned.length)
    return copy


def overwrite(memory: Array[c_char]) -> None:
    """Fill memory of C with zeros."""
    ctypes.memset(memory, 0, ctypes.sizeof(memory))


def address_of(struct: ctypes.Structure) -> int:
    """Return the address of a C structure; it stays valid as long as the object."""
    return ctypes.addressof(struct)


def array_of(item_size: int, count: int) -> tuple[memoryview, int]:
    """Return zeroed memory for ``count`` items and its address; the view keeps the memory alive."""
    memory = (c_char * (item_size * count))()
    return memoryview(memory).cast("B"), ctypes.addressof(memory)


def new_pages(length: int) -> memoryview:
    """Return zeroed memory that begins with a page; it is freed with the last view of it.

    For large reads: AMD processors copy three to four times slower to memory that begins 16 bytes behind the start of a
    page, and there malloc puts what is large, a ``bytearray`` for instance.
    """
    return memoryview(mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


_new_bytes: Final = ctypes.PyDLL(None).PyBytes_FromStringAndSize
_new_bytes.restype = ctypes.py_object
_new_bytes.argtypes = (c_void_p, c_ssize_t)
_bytes_address: Final = ctypes.PyDLL(None).PyBytes_AsString
_bytes_address.restype = c_void_p
_bytes_address.argtypes = (ctypes.py_object,)

_probe: Final = bytes(range(9))
_HEADER: Final[int] = _bytes_address(_probe) - id(_probe)
"""Where the content of a ``bytes`` object starts behind its identity, which is its address in CPython."""


_SMALL: Final = 32768
"""Zeroed ``bytes`` of this size still cost less than a call through ctypes: 0.3 against 1.1 us at 4 KiB."""


def new_bytes(length: int) -> tuple[bytes, int]:
    """Return a ``bytes`` object for C to read a disk into, and its address.

    ``length`` is at least 2, and nobody else may see the object before C has filled it (the rules of Python's C API
    for objects made this way). Zeroing large ones, and copying, would cost more than the read.
    """
    made: bytes = bytes(length) if length <= _SMALL else _new_bytes(None, length)
    return made, id(made) + _HEADER


def bytes_address(data: bytes) -> int:
    """Return the address of the content of ``data``; it stays valid as long as the object."""
    return id(data) + _HEADER


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the stable ABI (Python 3.11 and newer)."""

    _fields_ = (
        ("buf", c_void_p),
        ("obj", ctypes.py_object),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_void_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )


_CONTIGUOUS: Final = 0
_WRITABLE: Final = 1
_get_buffer: Final = ctypes.PyDLL(None).PyObject_GetBuffer
_get_buffer.restype = c_int
_get_buffer.argtypes = (ctypes.py_object, c_void_p, c_int)
_release_buffer: Final = ctypes.PyDLL(None).PyBuffer_Release
_release_buffer.restype = None
_release_buffer.argtypes = (c_void_p,)


class _Exported:
    """A buffer as Python's C API lends it: any contiguous one, read-only ones too."""

    __slots__ = ("buffer",)

    def __init__(self, data: Buffer, flags: int) -> None:
        """Borrow it."""
        buffer = _PyBuffer()
        _get_buffer(data, ctypes.byref(buffer), flags)
        self.buffer = buffer

    def __del__(self) -> None:
        """Give it back."""
        if buffer := getattr(self, "buffer", None):
            _release_buffer(ctypes.byref(buffer))


class Pinned:
    """A caller's buffer held still: while this object lives it can be neither freed nor resized.

    Raises BufferError when the object is not contiguous, or is read-only and ``writable`` is asked for; TypeError when
    it has no buffer.
    """

    __slots__ = ("_keep", "address", "length")

    def __init__(self, data: Buffer, *, writable: bool = False) -> None:
        """Pin ``data``."""
        self._keep: object
        try:  # a fifth of what the general way costs
            first = c_char.from_buffer(data)
        except (TypeError, ValueError):  # read-only, empty, not contiguous, or no buffer at all
            exported = _Exported(data, _WRITABLE if writable else _CONTIGUOUS)
            self._keep = exported
            self.address: int = exported.buffer.buf or 0
            self.length: int = exported.buffer.len
        else:
            self._keep = first
            self.address = ctypes.addressof(first)
            self.length = memoryview(data).nbytes

    def copy(self, start: int, end: int) -> bytes:
        """Return bytes ``start`` to ``end`` of the buffer."""
        return ctypes.string_at(self.address + start, end - start)
