"""nbdkit's vddk plugin serves local VMDKs with ``libdir`` pointing at the engine.

Debian's nbdkit is built without that plugin. ``ASYNCVDDK_NBDKIT_VDDK`` may name a nbdkit-vddk-plugin.so;
else the plugin of the installed nbdkit is taken. Where there is none the tests are skipped, in CI too: there
client.c makes the same calls.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conformance import disks

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 20 * disks.MIB
"""A whole number of chunks: of other disks the plugin asks for allocated blocks past the end."""


@pytest.fixture(scope="session")
def plugin(nbdkit: str) -> str:
    """Name or path of the plugin, as nbdkit takes it."""
    name = os.environ.get("ASYNCVDDK_NBDKIT_VDDK", "vddk")
    probe = subprocess.run([nbdkit, name, f"libdir={disks.ENGINE}", "--dump-plugin"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this nbdkit has no vddk plugin, and ASYNCVDDK_NBDKIT_VDDK names none")
    return name


def serve(plugin: str, vmdk: Path, command: str, *options: str) -> bytes:
    """Serve a disk on a private socket, run a shell command on ``$uri`` meanwhile, return its output."""
    plugin_options = [f"libdir={disks.ENGINE}", f"file={vmdk}"]
    return disks.run("nbdkit", *options, "-U", "-", plugin, *plugin_options, "--run", command)


def test_plugin_finds_library_and_functions(plugin: str) -> None:
    """The plugin loads lib64/libvixDiskLib.so.8 below ``libdir`` and finds every function it can use."""
    told = disks.run("nbdkit", plugin, f"libdir={disks.ENGINE}", "--dump-plugin").decode().splitlines()
    for function in ("ReadAsync", "WriteAsync", "Wait", "Flush", "QueryAllocatedBlocks", "FreeBlockList"):
        assert f"VixDiskLib_{function}=1" in told
    assert "vddk_library_version=8" in told


@pytest.mark.parametrize("subformat", disks.SUBFORMATS)
def test_plugin_reads_a_disk(plugin: str, qemu_img: str, tmp_path: Path, subformat: str) -> None:
    """nbdcopy, many requests in flight and guided by extents, copies the disk byte for byte."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE)
    vmdk = disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", subformat)
    copy = tmp_path / "copy.raw"
    serve(plugin, vmdk, f'nbdcopy "$uri" {shlex.quote(str(copy))}', "-r")
    assert copy.read_bytes() == raw.read_bytes()


@pytest.mark.parametrize("subformat", disks.SUBFORMATS)
def test_plugin_writes_a_disk(plugin: str, qemu_img: str, tmp_path: Path, subformat: str) -> None:
    """What nbdcopy wrote and flushed is what qemu-img reads from the disk."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE)
    vmdk = disks.make_empty_vmdk(qemu_img, tmp_path / "disk.vmdk", SIZE, subformat)
    serve(plugin, vmdk, f'nbdcopy --flush {shlex.quote(str(raw))} "$uri"')
    disks.assert_equal(qemu_img, vmdk, raw)


def test_plugin_lists_extents(plugin: str, qemu_img: str, tmp_path: Path) -> None:
    """Data shows where the disk has grains, and holes that read as zeros show elsewhere."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE, areas=4)
    vmdk = disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", "monolithicSparse")
    extents = json.loads(serve(plugin, vmdk, 'nbdinfo --json --map "$uri"', "-r"))
    assert sum(extent["length"] for extent in extents) == SIZE
    assert {extent["type"] for extent in extents} == {0, 3}
    data = [(extent["offset"], extent["length"]) for extent in extents if extent["type"] == 0]
    disks.assert_covers_data(data, raw)


def test_plugin_reads_a_disk_of_a_server(plugin: str, qemu_img: str, tmp_path: Path) -> None:
    """With a user's password, and with a session; a certificate that is not the server's is told as the reason."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE)
    disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", "monolithicSparse")
    keys = {"datastore.ds1": tmp_path, "thumbPrint": "AA:BB", "user": "backup", "password": "secret", "cookie": "crumb"}
    config = tmp_path / "engine.conf"
    config.write_text("".join(f"openEngine.{key} = {value}\n" for key, value in keys.items()), "utf-8")
    (tmp_path / "password").write_text("secret", "utf-8")
    login = [f"config={config}", "server=vc.test", "user=backup", f"password=+{tmp_path}/password", "vm=moref=vm-1"]
    for options in (["thumbprint=aabb"], ["thumbprint=aabb", "cookie=crumb", "snapshot=snapshot-1", "transports=nbd"]):
        copy = tmp_path / "copy.raw"
        command = ["nbdkit", "-r", "-U", "-", plugin, f"libdir={disks.ENGINE}", *login, *options]
        disks.run(*command, "file=[ds1] disk.vmdk", "--run", f'nbdcopy "$uri" {shlex.quote(str(copy))}')
        assert copy.read_bytes() == raw.read_bytes()
        copy.unlink()
    command = ["nbdkit", "-r", "-U", "-", plugin, f"libdir={disks.ENGINE}", *login, "thumbprint=aacc"]
    command += ["file=[ds1] disk.vmdk", "--run", 'nbdinfo "$uri"']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'thumbprint "aacc" is not that of the server' in done.stderr


def test_plugin_says_why_a_disk_cannot_be_opened(plugin: str, tmp_path: Path) -> None:
    """The library's text for the error reaches nbdkit's user."""
    vmdk = tmp_path / "missing.vmdk"
    command = ["nbdkit", "-U", "-", plugin, f"libdir={disks.ENGINE}", f"file={vmdk}"]
    done = subprocess.run([*command, "--run", 'nbdinfo "$uri"'], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"VixDiskLib_Open: {vmdk}: " in done.stderr
