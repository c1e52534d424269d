r"""How do I write to a disk, and when is it safe on storage?

Output::

    b'\x00hello, world\x00'
    written by 8 tasks at once: 800 bytes
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import CreateParams, Vddk


async def main(path: Path) -> None:
    """Write at any byte, from many tasks, and flush."""
    async with Vddk() as vddk, vddk.connect() as connection:
        await connection.create(path, CreateParams(size=1 << 30))
        async with connection.open(path) as disk:  # open for writing
            await disk.write_at(1_000_001, b"hello, world")
            print(await disk.read_at(1_000_000, 14))

            # Sectors that two writes share are exact: neither loses the other's bytes.
            lengths = await asyncio.gather(*(disk.write_at(n * 100, b"x" * 100) for n in range(8)))
            print("written by 8 tasks at once:", sum(lengths), "bytes")

            await disk.flush()  # from here on it survives the end of this machine


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "disk.vmdk")))
