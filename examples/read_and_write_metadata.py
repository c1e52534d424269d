"""How do I read and write the metadata of a disk, as its UUID?

Output::

    adapterType = lsilogic
    uuid = 60 00 C2 90 00 00 00 00-00 00 00 00 00 00 00 01
    no entry 'owner': VIX_E_DISK_KEY_NOTFOUND
    3 entries of its geometry
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import CreateParams, MetadataKeyError, Vddk


async def main(path: Path) -> None:
    """Write an entry, read it, ask for one that is not there, and take them all."""
    async with Vddk() as vddk, vddk.connect() as connection:
        await connection.create(path, CreateParams(size=64 << 20))
        async with connection.open(path) as disk:
            print("adapterType =", await disk.read_metadata("adapterType"))
            await disk.write_metadata("uuid", "60 00 C2 90 00 00 00 00-00 00 00 00 00 00 00 01")
            print("uuid =", await disk.read_metadata("uuid"))
            try:
                await disk.read_metadata("owner")
            except MetadataKeyError as error:
                print("no entry 'owner':", error.symbol)
            everything = await disk.metadata()
            print(sum(name.startswith("geometry.") for name in everything), "entries of its geometry")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "disk.vmdk")))
