"""How do I read disks of a datastore that is mounted here, by the names that vCenter gives them?

Output::

    67108864 bytes by nbdssl
    b'hello'
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from asyncvddk import ConnectParams, CreateParams, LibraryConfig, Secret, Vddk

MIB = 1 << 20


async def main(mounted: Path) -> None:
    """Map a folder to a datastore; the open engine then plays the server, and opens nothing outside of the folder."""
    config = LibraryConfig(extra={"openEngine.datastore.ds1": str(mounted), "openEngine.password": "secret"})
    params = ConnectParams("vcenter.example", vmx_spec="moref=vm-16", user="backup", password=Secret("secret"))
    async with Vddk(config=config) as vddk, vddk.connect() as local:
        await local.create(mounted / "vm.vmdk", CreateParams(size=64 * MIB))  # you have a disk already
        async with local.open(mounted / "vm.vmdk") as disk:
            await disk.write_at(MIB, b"hello")

        async with vddk.open_disk("[ds1] vm.vmdk", params=params) as disk:
            print(disk.size, "bytes by", disk.transport_mode)
            print(await disk.read_at(MIB, 5))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
