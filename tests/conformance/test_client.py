"""A C program that knows VDDK's interface alone works with the engine; qemu-img agrees with what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance import disks

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 21 * disks.MIB + 1536
"""Not a whole number of chunks, grains or requests."""


@pytest.fixture(scope="session")
def client(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile client.c against our header, linked to no library of ours."""
    program = tmp_path_factory.mktemp("client") / "client"
    source = disks.ROOT / "tests" / "conformance" / "client.c"
    flags = ("-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
    disks.run(gcc, *flags, f"-I{disks.ENGINE / 'include'}", source, "-o", program, "-ldl")
    return program


@pytest.mark.parametrize("subformat", disks.SUBFORMATS)
def test_client_reads_what_qemu_img_wrote(client: Path, qemu_img: str, tmp_path: Path, subformat: str) -> None:
    """Eight asynchronous reads in flight, completed on the engine's threads, give the disk byte for byte."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE)
    vmdk = disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", subformat)
    assert disks.run(client, disks.ENGINE, "dump", vmdk) == raw.read_bytes()


@pytest.mark.parametrize("subformat", disks.SUBFORMATS)
def test_qemu_img_reads_what_client_wrote(client: Path, qemu_img: str, tmp_path: Path, subformat: str) -> None:
    """Eight asynchronous writes in flight, Wait, Flush and Close leave the disk as it should be."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE)
    vmdk = disks.make_empty_vmdk(qemu_img, tmp_path / "disk.vmdk", SIZE, subformat)
    disks.run(client, disks.ENGINE, "load", vmdk, stdin=raw)
    disks.assert_equal(qemu_img, vmdk, raw)


@pytest.mark.parametrize("subformat", disks.SUBFORMATS)
def test_client_is_told_the_allocated_areas(client: Path, qemu_img: str, tmp_path: Path, subformat: str) -> None:
    """The areas of QueryAllocatedBlocks ascend and leave out nothing but zeros."""
    raw = disks.make_raw(tmp_path / "disk.raw", SIZE, areas=4)
    vmdk = disks.make_vmdk(qemu_img, raw, tmp_path / "disk.vmdk", subformat)
    lines = disks.run(client, disks.ENGINE, "map", vmdk).decode().splitlines()
    areas = [(int(offset), int(length)) for offset, length in map(str.split, lines)]
    disks.assert_covers_data(areas, raw)
    if "Sparse" in subformat:
        assert sum(length for _, length in areas) < SIZE // 4


def test_client_is_told_size_links_and_transport_mode(client: Path, qemu_img: str, tmp_path: Path) -> None:
    """GetInfo and GetTransportMode describe a local disk."""
    vmdk = disks.make_empty_vmdk(qemu_img, tmp_path / "disk.vmdk", SIZE, "monolithicSparse")
    assert disks.run(client, disks.ENGINE, "info", vmdk).decode() == f"{SIZE} 1 file\n"
