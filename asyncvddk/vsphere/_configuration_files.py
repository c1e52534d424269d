"""The files of a machine's configuration, as far as they can be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asyncvddk.vsphere._properties import properties
from asyncvddk.vsphere._vim import vim
from asyncvddk.vsphere.errors import FaultError

if TYPE_CHECKING:
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere

_VMX_LIMIT: Final = 4 << 20
_NVRAM_LIMIT: Final = 8 << 20
_NVRAM: Final = re.compile(rb'^nvram\s*=\s*"([^"/\r\n]+)"', re.MULTILINE)


async def read_files(vsphere: VSphere, machine: VirtualMachine) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files that belong to a machine's configuration, and why one is missing."""
    files: dict[str, bytes] = {}
    missing: dict[str, str] = {}

    async def read(name: str, path: str, limit: int) -> None:
        try:
            files[name] = await vsphere.read_file(path, machine.datacenter, limit=limit)
        except (FaultError, ValueError) as error:
            missing[name] = str(error)

    await read("vmx", machine.vmx, _VMX_LIMIT)
    if (nvram := await _nvram(vsphere, machine, files.get("vmx", b""))) is not None:
        await read("nvram", nvram, _NVRAM_LIMIT)
    else:
        missing["nvram"] = "it is not known where it is"
    return files, missing


async def _nvram(vsphere: VSphere, machine: VirtualMachine, vmx: bytes) -> str | None:
    """Return the path of the file with the firmware's variables."""
    if match := _NVRAM.search(vmx):
        return f"{machine.vmx.rpartition('/')[0]}/{match[1].decode('utf-8', 'replace')}"
    thing = vsphere.managed(vim.VirtualMachine, machine.moref)
    what = f"files of {machine.name}"
    try:
        found = await vsphere.call(lambda: properties(vsphere.content, thing, ["layoutEx.file"]), what=what)
    except FaultError:
        return None
    return next((str(file.name) for file in found.get("layoutEx.file") or () if file.type == "nvram"), None)
