"""Compression: what comes back is what went in, and nothing that is not a whole frame passes for one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import zstandard

from asyncvddk.repository.format._codec import RAW, ZSTD, CodecError, compress, decompress, decompress_into

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = b"a chunk " * 5000
NOISE = random.Random(1).randbytes(5000)
FRAME = zstandard.ZstdCompressor(level=1).compress(TEXT)
OTHER_FRAME = bytes.fromhex("28b52ffd6040007d00004061206368756e6b20010035530b17")


def all_of(codec: int, payload: bytes, limit: int) -> bytes:
    """Decompress to memory of its own."""
    return bytes(decompress(codec, payload, limit))


def into(codec: int, payload: bytes, limit: int) -> bytes:
    """Decompress into given memory, and check that none behind it was touched."""
    memory = memoryview(bytearray(b"\xee" * (limit + 5)))
    length = decompress_into(codec, payload, memory[:limit])
    assert memory[limit:] == b"\xee" * 5
    return bytes(memory[:length])


both = pytest.mark.parametrize("decompressed", [all_of, into])


@both
@pytest.mark.parametrize("data", [TEXT, NOISE, b"x", b""])
@pytest.mark.parametrize("level", [-7, 0, 1, 19])
def test_what_went_in_comes_out(decompressed: Callable[[int, bytes, int], bytes], data: bytes, level: int) -> None:
    """Also if there is more room than needed; what does not shrink is stored as it is."""
    codec, payload = compress(data, level)
    assert codec == (ZSTD if data is TEXT and level else RAW)
    for limit in (len(data), len(data) + 100):
        assert decompressed(codec, bytes(payload), limit) == data
    if data:
        with pytest.raises(CodecError, match=f"more than {len(data) - 1} bytes"):
            decompressed(codec, bytes(payload), len(data) - 1)


@both
@pytest.mark.parametrize(
    ("codec", "payload", "reason"),
    [
        (ZSTD, FRAME[:-1], "frame"),
        (ZSTD, FRAME[:10], "frame"),
        (ZSTD, b"", "zstd"),
        (ZSTD, b"no frame at all", "zstd"),
        (ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress(TEXT), "does not tell its size"),
        (7, FRAME, "codec 7 is unknown"),
    ],
)
def test_what_is_no_whole_frame_is_refused(
    decompressed: Callable[[int, bytes, int], bytes], codec: int, payload: bytes, reason: str
) -> None:
    """With the reason."""
    with pytest.raises(CodecError, match=reason):
        decompressed(codec, payload, len(TEXT))


@both
def test_a_frame_of_another_library_is_read(decompressed: Callable[[int, bytes, int], bytes]) -> None:
    """Frames as Python's own module writes them, which earlier repositories hold."""
    assert decompressed(ZSTD, OTHER_FRAME, 320) == b"a chunk " * 40
