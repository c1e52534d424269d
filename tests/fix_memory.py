"""What of a secret is left in this process's memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

CHUNK = 1 << 20
LARGEST = 1 << 30
"""Bytes; larger areas of memory are reservations."""


def copies_in_memory(secret: bytes) -> set[int]:
    """Return where a text stands in this process's writable memory."""
    chunk, found = bytearray(CHUNK), set()
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or "[v" in line or end - start > LARGEST:
                continue
            for offset in range(start, end, CHUNK):
                chunk[:] = bytes(CHUNK)
                view = memoryview(chunk)[: min(CHUNK, end - offset)]
                try:
                    os.preadv(memory.fileno(), [view], offset)
                except OSError:
                    continue
                found |= {offset + match.start() for match in re.finditer(secret, chunk)}
    chunk[:] = bytes(CHUNK)  # else what it holds is found by the next call, where freed memory is kept
    return found
