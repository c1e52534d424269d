"""Models become C structures and come back without loss."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from asyncvddk.errors import NotSupportedError
from asyncvddk.models import AdapterType, CreateParams, DiskInfo, DiskType, Geometry
from asyncvddk.native import _log, _structs
from asyncvddk.native._functions import Bound
from asyncvddk.native._loader import Library
from asyncvddk.native._marshal import (
    block_list,
    block_pairs,
    c_path,
    c_text,
    create_params,
    disk_info,
    metadata_keys,
)

ALL_ONES = 0xFFFF_FFFF


def test_text_is_utf8_and_path_is_the_file_systems() -> None:
    """A path that is no valid UTF-8 reaches C byte for byte."""
    name = b"/vm/\xff.vmdk"
    assert c_text("ä", "identity") == b"\xc3\xa4"
    assert c_path(os.fsdecode(name)) == name
    assert c_path(Path("/vm/ä.vmdk")) == os.fsencode("/vm/ä.vmdk")
    assert c_path("[ds 1] vm/vm.vmdk") == b"[ds 1] vm/vm.vmdk"


@pytest.mark.parametrize("path", ["", "/vm/a\0b.vmdk"], ids=["empty", "nul"])
def test_a_path_that_c_would_misread_is_refused(path: str) -> None:
    """An empty path and one that C would cut are wrong arguments."""
    with pytest.raises(ValueError, match=r"^path: "):
        c_path(path)


def library(*version: int) -> Library:
    """Return a library of that version, by its file's name."""
    return Library(Path("/lib64/libvixDiskLib.so"), Path("/"), Bound("libvixDiskLib.so", {}), version)


@pytest.fixture(autouse=True)
def nobody_told_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a library said in an earlier test."""
    monkeypatch.setattr(_log, "library_version", None)


def test_create_params_count_sectors_and_keep_sector_sizes_at_the_default() -> None:
    """Bytes become sectors; the fields that older libraries do not know are zero."""
    params = CreateParams(3 << 40, DiskType.VMFS_FLAT, AdapterType.IDE, hw_version=10)
    struct = create_params(params, library(6, 5))
    assert (struct.diskType, struct.adapterType, struct.hwVersion) == (5, 1, 10)
    assert struct.capacity == (3 << 40) // 512
    assert (struct.logicalSectorSize, struct.physicalSectorSize) == (0, 0)


@pytest.mark.parametrize(
    ("logical", "physical", "expected"),
    [(4096, None, (4096, 4096)), (None, 4096, (0, 4096)), (512, 512, (512, 512))],
    ids=["logical", "physical", "small"],
)
def test_sector_sizes_reach_libraries_that_know_them(
    logical: int | None, physical: int | None, expected: tuple[int, int]
) -> None:
    """From 7.0 on; a disk that shows large sectors never says that its storage has smaller ones."""
    params = CreateParams(4096, logical_sector_size=logical, physical_sector_size=physical)
    struct = create_params(params, library(7, 0))
    assert (struct.logicalSectorSize, struct.physicalSectorSize) == expected


@pytest.mark.parametrize("version", [(6, 7), ()], ids=["old", "unknown"])
def test_sector_sizes_that_a_library_would_not_see_are_refused(version: tuple[int, ...]) -> None:
    """An older one would make a disk of another kind; 512 is what it makes anyway."""
    create_params(CreateParams(4096, logical_sector_size=512), library(*version))
    with pytest.raises(NotSupportedError, match=r"need a library of version 7\.0"):
        create_params(CreateParams(4096, physical_sector_size=4096), library(*version))


def native_info(**fields: object) -> _structs.Info:
    """Return an info structure as a library fills it."""
    return _structs.Info(
        biosGeo=_structs.Geometry(1, 2, 3),
        physGeo=_structs.Geometry(4, 5, 6),
        capacity=1 << 33,
        adapterType=3,
        numLinks=2,
        **fields,
    )


def test_disk_info_is_copied_in_bytes() -> None:
    """Everything that the library tells arrives; the size is bytes, above 32 bits too."""
    info = native_info(parentFileNameHint=b"base.vmdk", uuid=b"60 00", logicalSectorSize=512, physicalSectorSize=4096)
    assert disk_info(ctypes.addressof(info), 7) == DiskInfo(
        size=1 << 42,
        adapter=AdapterType.SCSI_LSILOGIC,
        links=2,
        bios_geometry=Geometry(1, 2, 3),
        physical_geometry=Geometry(4, 5, 6),
        parent_hint="base.vmdk",
        uuid="60 00",
        logical_sector_size=512,
        physical_sector_size=4096,
    )


@pytest.mark.parametrize("major", [6, None], ids=["old", "unknown"])
def test_sector_sizes_of_a_library_that_may_be_older_than_7_are_not_read(major: int | None) -> None:
    """Its structure ends before them: what is there is somebody else's memory."""
    info = native_info(logicalSectorSize=ALL_ONES, physicalSectorSize=ALL_ONES)
    found = disk_info(ctypes.addressof(info), major)
    assert (found.logical_sector_size, found.physical_sector_size) == (None, None)


def test_what_a_library_leaves_out_of_disk_info_is_none() -> None:
    """NULL and empty texts and sector sizes of 0 mean that nothing was told."""
    info = native_info(uuid=b"")
    found = disk_info(ctypes.addressof(info), 8)
    assert (found.parent_hint, found.uuid) == (None, None)
    assert (found.logical_sector_size, found.physical_sector_size) == (None, None)


def test_an_adapter_that_no_header_names_is_unknown() -> None:
    """A number of a newer library does not fail the call."""
    info = native_info()
    info.adapterType = 4711
    assert disk_info(ctypes.addressof(info), 8).adapter is AdapterType.UNKNOWN


@pytest.mark.parametrize("count", [0, 1, 3, 524_288], ids=["none", "one", "some", "most"])
def test_a_block_list_is_copied_whole(count: int) -> None:
    """As many pairs as the list says, in 64 bits, none read when there is none, and the copy is ours."""
    memory = (ctypes.c_uint64 * (1 + 2 * count))(count, *range(1 << 40, (1 << 40) + 2 * count))
    found = block_list(ctypes.addressof(memory))
    ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))
    assert found.tolist() == list(range(1 << 40, (1 << 40) + 2 * count))


def test_block_pairs_count_bytes_and_outlive_the_list() -> None:
    """The library's list may be freed before the first pair is taken."""
    memory = (ctypes.c_uint64 * 5)(2, 128, 256, 1 << 40, 1)
    pairs = block_pairs(ctypes.addressof(memory))
    ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))
    assert list(pairs) == [(128 * 512, 256 * 512), (512 << 40, 512)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\0", [], id="one-nul"),
        pytest.param(b"\0\0", [], id="two-nuls"),
        pytest.param(b"adapterType\0uuid\0\0", ["adapterType", "uuid"], id="two"),
        pytest.param(b"uuid\0", ["uuid"], id="end-missing"),
        pytest.param(b"uuid\0\0rubbish\0\0", ["uuid"], id="memory-behind"),
    ],
)
def test_metadata_keys_end_at_the_first_empty_name(data: bytes, keys: list[str]) -> None:
    """An empty list has one NUL or two, and what stands behind the end is not read."""
    assert metadata_keys(data) == keys
