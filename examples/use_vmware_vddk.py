"""How do I use VMware's VDDK to read a disk of a virtual machine on vCenter?

Start Python with ``LD_LIBRARY_PATH=/opt/vmware-vix-disklib-distrib/lib64`` set. Here, where there is no VMware, the
open engine plays the server; with VMware's library nothing changes but the values in ``main``.

Output::

    [ds1] vm/vm.vmdk over nbdssl: 1048576 bytes, b'hello'
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from asyncvddk import ConnectParams, Secret, Vddk
from asyncvddk.testing import EngineConfig, EngineServer, make_disk_sync


async def first_bytes(libdir: str | None, config: Path, params: ConnectParams, path: str) -> None:
    """Open the disk for reading, its machine kept from moving meanwhile, and read."""
    async with (
        Vddk(libdir, config=config) as vddk,  # libdir: "/opt/vmware-vix-disklib-distrib"
        vddk.open_disk(path, params=params, snapshot="snapshot-47", transport_modes=["hotadd", "nbdssl"]) as disk,
    ):
        print(f"{path} over {disk.transport_mode}: {disk.size} bytes, {await disk.read_at(0, 5)!r}")


def main(folder: Path) -> None:
    """Say where the disk is and who asks."""
    (folder / "vm").mkdir()
    make_disk_sync(folder / "vm" / "vm.vmdk", b"hello")
    params = ConnectParams(
        "vcenter.example",
        vmx_spec="moref=vm-16",
        user="backup@vsphere.local",
        password=Secret(os.environ.get("VCENTER_PASSWORD", "correct horse")),
        thumbprint="A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D",
    )
    server = EngineServer(datastores={"ds1": folder}, names=[params.server], vms=["vm-16"], user="backup@vsphere.local")
    with EngineConfig(server=server).file() as config:
        asyncio.run(first_bytes(None, config, params, "[ds1] vm/vm.vmdk"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
