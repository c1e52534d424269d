"""Compression: zstd, or nothing where it does not shrink. All work is done without the interpreter's lock."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from typing_extensions import Buffer

RAW: Final = 0
ZSTD: Final = 1

DEFAULT_LEVEL: Final = 1
"""The level at which two cores nearly fill 10 GbE."""
LEVELS: Final = range(-7, 20)
"""Levels of zstd that a repository may have; 0 stores everything as it is."""

_local: Final = threading.local()


class CodecError(Exception):
    """The payload is not what a codec wrote; the text says why."""


def compress(data: Buffer, level: int) -> tuple[int, Buffer]:
    """Return the codec and the payload for ``data``."""
    if not level:
        return RAW, data
    compressors: dict[int, zstd.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    compressor = compressors.pop(level, None) or zstd.ZstdCompressor(level)
    packed = compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)
    compressors[level] = compressor  # one that failed in the middle of a frame is not used again
    return (ZSTD, packed) if len(packed) < memoryview(data).nbytes else (RAW, data)


def decompress(codec: int, payload: Buffer, limit: int) -> Buffer:
    """Return what was compressed. Raises CodecError, also when it would have more than ``limit`` bytes."""
    if codec == RAW:
        if memoryview(payload).nbytes > limit:
            raise CodecError(f"more than {limit} bytes")
        return payload
    if codec != ZSTD:
        raise CodecError(f"codec {codec} is unknown; a newer version may read it")
    try:
        decompressor = zstd.ZstdDecompressor()
        data = decompressor.decompress(payload, limit + 1)
    except zstd.ZstdError as error:
        raise CodecError(f"zstd: {error}") from None
    if len(data) > limit:
        raise CodecError(f"more than {limit} bytes when decompressed")
    if not decompressor.eof or decompressor.unused_data:
        raise CodecError("zstd: the frame ends too early or too late")
    return data
