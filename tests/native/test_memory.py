"""Memory that C fills and reads while Python owns it."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from typing import TYPE_CHECKING

import pytest

from asyncvddk.native import _memory

if TYPE_CHECKING:
    from typing_extensions import Buffer

WRITABLE = {
    "bytearray": bytearray(b"abcdef"),
    "slice of a view": memoryview(bytearray(b"--abcdef"))[2:],
    "array": array("H", [0x6261, 0x6463, 0x6665]),
}


@pytest.mark.parametrize("buffer", WRITABLE.values(), ids=WRITABLE)
def test_pinned_memory_is_the_buffers_own(buffer: Buffer) -> None:
    """Address and length in bytes, whatever the items are."""
    pinned = _memory.Pinned(buffer, writable=True)
    assert pinned.length == 6
    assert ctypes.string_at(pinned.address, 6) == b"abcdef"
    assert pinned.copy(2, 4) == b"cd"


def test_pinned_buffer_can_be_resized_when_the_pin_is_gone() -> None:
    """And not before."""
    buffer = bytearray(10)
    pinned = _memory.Pinned(buffer)
    with pytest.raises(BufferError):
        buffer.clear()
    del pinned
    buffer.clear()


@pytest.mark.parametrize("data", [b"abc", memoryview(b"abc")], ids=["bytes", "view"])
def test_read_only_buffer_is_pinned_for_reading_alone(data: Buffer) -> None:
    """Asked to be writable it is refused."""
    assert ctypes.string_at(_memory.Pinned(data).address, 3) == b"abc"
    with pytest.raises(BufferError):
        _memory.Pinned(data, writable=True)


def test_what_is_no_plain_memory_is_refused() -> None:
    """Gaps between the items, or no buffer at all."""
    with pytest.raises(BufferError):
        _memory.Pinned(memoryview(bytearray(8))[::2])
    with pytest.raises(TypeError):
        _memory.Pinned("text")  # type: ignore[arg-type]


def test_empty_buffer_is_pinned() -> None:
    """Length 0; its address is never used."""
    assert _memory.Pinned(bytearray(), writable=True).length == 0


@pytest.mark.parametrize("length", [512, 32768, 32769, 1 << 20])
def test_new_bytes_are_filled_through_their_address(length: int) -> None:
    """Small and large ones."""
    made, address = _memory.new_bytes(length)
    ctypes.memset(address, 7, length)
    assert made == b"\7" * length


def test_new_pages_begin_with_a_page_and_are_zeroed() -> None:
    """Of any length."""
    pages = _memory.new_pages(5000)
    assert bytes(pages) == bytes(5000)
    assert _memory.Pinned(pages, writable=True).address % mmap.PAGESIZE == 0
