"""Libraries from 6.5 to 9: layouts and functions are those of the library that is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from asyncvddk.native import _loader
from asyncvddk.native._functions import FUNCTIONS
from tests.versions.conftest import run_client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.versions.conftest import Install


class Version(NamedTuple):
    """What a version of the library can."""

    name: str
    blocks: bool = True
    sectors: bool = True
    folders: bool = True


VERSIONS = (
    Version("6.5.0", blocks=False, sectors=False, folders=False),
    Version("6.7.0", sectors=False, folders=False),
    Version("7.0.3", folders=False),
    Version("8.0.0", folders=False),
    Version("8.0.1"),
    Version("9.1.0.0"),
)


@pytest.fixture(scope="module", params=VERSIONS, ids=[version.name for version in VERSIONS])
def version(request: pytest.FixtureRequest) -> Version:
    """Return each version in turn."""
    found: Version = request.param
    return found


@pytest.fixture(scope="module")
def found(version: Version, installed: Install) -> dict[str, Any]:
    """Return what the client found with that version: it did not crash at the edge of a structure."""
    result: dict[str, Any] = run_client(installed(version.name), "use")
    return result


def test_a_library_is_told_by_its_name_and_then_by_its_own_word(version: Version, found: dict[str, Any]) -> None:
    """Through two links, as VMware's archives have them."""
    assert found["file"] == f"libvixDiskLib.so.{version.name}"
    assert (found["version by name"], found["version"]) == (version.name, version.name)
    assert found["modes"] == ["file", "san", "hotadd", "nbdssl", "nbd"]


def test_the_newest_interface_that_the_library_accepts_is_asked_for(version: Version, found: dict[str, Any]) -> None:
    """8.0, 7.0, 6.7, 6.5: an older library refuses the first ones."""
    refusals = {"6.5.0": 3, "6.7.0": 2, "7.0.3": 1}.get(version.name, 0)
    assert found["journal"].count("InitEx") == refusals + 1


def test_disks_are_read_and_written(found: dict[str, Any]) -> None:
    """At any byte, many at once, by the asynchronous functions, which every version since 6.5 has."""
    disk = found["disk"]
    assert (disk["size"], disk["equal"]) == (2 << 20, True)
    assert disk["info"] == [1, "60 00", None, "IDE"]
    assert {"ReadAsync", "WriteAsync", "Wait", "Flush"} <= set(found["journal"])


def test_sector_sizes_are_told_from_7_on(version: Version, found: dict[str, Any]) -> None:
    """An older structure ends before them."""
    assert found["disk"]["sectors"] == ([512, 4096] if version.sectors else [None, None])


def test_a_library_that_cannot_tell_has_everything_allocated(version: Version, found: dict[str, Any]) -> None:
    """From 6.7 on there is a query."""
    assert found["disk"]["blocks"] == ([[0, 65536]] if version.blocks else [[0, 2 << 20]])


def test_errors_have_the_librarys_words(version: Version, found: dict[str, Any]) -> None:
    """Also those of an old one."""
    assert found["error"] == f"text of {version.name} for 4"


def test_disks_are_created_by_the_form_that_the_library_knows(version: Version, found: dict[str, Any]) -> None:
    """24 bytes before 7.0; sector sizes that such a library would not see are refused."""
    size, rest = (32, ", 0 0") if version.sectors else (24, "")
    assert found["create"] == f"{size} bytes: 1 3 13 2048{rest}"
    if version.sectors:
        assert found["create with sectors"] == "32 bytes: 1 3 13 2048, 4096 4096"
    else:
        assert found["create with sectors"].startswith("not supported: logical_sector_size, physical_sector_size: ")
        assert found["create with sectors"].endswith(f"libvixDiskLib.so.{version.name} is {version.name}")


def test_parameters_arrive_and_come_back(found: dict[str, Any]) -> None:
    """80 bytes before 6.7, 128 from then on; a local connection has none."""
    secrets = {"password": None, "cookie": None, "key": None}
    machine = {"server": "vc.example", "vmx_spec": "moref=vm-16", "user": "u", "port": 8443, "nfc_port": 9902}
    nowhere = {"fcd": "None", "folder": "None"}
    assert found["machine"] == machine | secrets | {"password": "p"} | nowhere
    assert found["session"] == machine | secrets | {"port": 0, "nfc_port": 0, "cookie": "c", "key": "k"} | nowhere
    assert found["local"] is None


def test_where_a_library_cannot_lead_is_refused(version: Version, found: dict[str, Any]) -> None:
    """First-class disks since 6.7, folders of a datastore since 8.0.1."""
    if version.blocks:
        assert (
            found["fcd"]["fcd"] == "StorageObject(disk_id='fcd-1', datastore_moref='datastore-1', snapshot_id='snap-1')"
        )
    else:
        assert found["fcd"].startswith(
            "not supported: storage_object: first-class disks need a library of version 6.7,"
        )
    if version.folders:
        assert found["folder"]["folder"] == (
            "DatastoreFolder(datastore_moref='datastore-1', folder='backups', spec_type=2)"
        )
    else:
        assert found["folder"].startswith(
            "not supported: datastore: folders of a datastore need a library of version 8."
        )


def test_clean_up_tells_both_counts(found: dict[str, Any]) -> None:
    """What is left is no error: the library says so by failing."""
    assert found["cleanup"] == [2, 1]


@pytest.mark.parametrize(
    ("version", "sectors"), [("6.7.0", [None, None]), ("8.0.1", [512, 4096])], ids=["6.7", "8.0.1"]
)
def test_a_library_that_tells_no_version_is_judged_by_its_name(
    installed: Install, version: str, sectors: list[int | None]
) -> None:
    """The file's name is enough for the layouts."""
    found = run_client(installed(version, "QUIET"), "use")
    assert (found["version"], found["disk"]["sectors"]) == (version, sectors)


def test_a_library_of_unknown_version_is_taken_for_an_old_one(installed: Install, tmp_path: Path) -> None:
    """Neither name nor log tell: nothing is read that may not be there."""
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libvixDiskLib.so").write_bytes(
        (installed("6.7.0", "QUIET") / "lib64" / "libvixDiskLib.so").read_bytes()
    )
    found = run_client(tmp_path, "use")
    assert (found["version"], found["disk"]["sectors"]) == (None, [None, None])
    assert found["create with sectors"].endswith("libvixDiskLib.so is of unknown version")


def test_a_library_without_the_extended_functions_is_used_by_the_simple_ones(installed: Install) -> None:
    """Init and Connect; what they cannot say is refused, and reading only is seen to at each open."""
    config, snapshot, modes, reading, writing = run_client(installed("8.0.1", "PLAIN"), "refuse")
    assert config.startswith("not supported: config: ")
    assert config.endswith("lacks VixDiskLib_InitEx, which would read it")
    assert snapshot == modes
    assert snapshot.startswith("not supported: snapshot, transport_modes: they need VixDiskLib_ConnectEx")
    assert (reading, writing) == ("AccessDeniedError", "written")


REACHED_BY = {
    "InitEx": "Vddk",
    "Exit": "Vddk",
    "ListTransportModes": "Vddk",
    "GetErrorText": "NativeError.text",
    "FreeErrorText": "NativeError.text",
    "Cleanup": "Vddk.cleanup",
    "AllocateConnectParams": "Vddk.connect",
    "FreeConnectParams": "Vddk.connect",
    "GetConnectParams": "Connection.connect_params",
    "ConnectEx": "Vddk.connect",
    "Disconnect": "Vddk.connect",
    "PrepareForAccess": "Vddk.access",
    "EndAccess": "Vddk.access",
    "Open": "Connection.open",
    "Close": "Connection.open",
    "GetTransportMode": "Connection.open",
    "GetInfo": "AsyncDisk.info",
    "FreeInfo": "AsyncDisk.info",
    "QueryAllocatedBlocks": "AsyncDisk.allocated_blocks",
    "FreeBlockList": "AsyncDisk.allocated_blocks",
    "ReadAsync": "AsyncDisk.read_at",
    "WriteAsync": "AsyncDisk.write_at",
    "Wait": "AsyncDisk.flush",
    "Flush": "AsyncDisk.flush",
    "ReadMetadata": "DiskMetadata.as_dict",
    "GetMetadataKeys": "DiskMetadata.as_dict",
    "WriteMetadata": "DiskMetadata.set",
    "Create": "Connection.create",
    "CreateChild": "AsyncDisk.create_child",
    "Unlink": "Connection.unlink",
    "Grow": "Connection.grow",
    "Shrink": "AsyncDisk.shrink",
    "Defragment": "AsyncDisk.defragment",
    "Rename": "Connection.rename",
    "Clone": "Connection.clone",
    "IsAttachPossible": "AsyncDisk.attach",
    "Attach": "AsyncDisk.attach",
    "SpaceNeededForClone": "AsyncDisk.space_needed_for_clone",
    "CheckRepair": "Connection.check_repair",
}
"""Function -> a public method that calls it."""

SIMPLY_REACHED_BY = {
    "Init": "Vddk",
    "Connect": "Vddk.connect",
    "Read": "AsyncDisk.read_at",
    "Write": "AsyncDisk.write_at",
}
"""The same for the simple form of functions, in a library that has no other."""


def test_every_function_is_on_the_map_of_public_methods() -> None:
    """None of the header's functions is out of reach."""
    names = {function.name.removeprefix("VixDiskLib_") for function in FUNCTIONS}
    assert set(REACHED_BY) | set(SIMPLY_REACHED_BY) == names


@pytest.mark.parametrize("defines", [(), ("PLAIN",)], ids=["all", "simple"])
def test_every_function_is_reached_by_its_public_method(installed: Install, defines: tuple[str, ...]) -> None:
    """Each method was used, and the library saw the call."""
    journal = run_client(installed("9.1.0.0", *defines), "reach")
    wanted = SIMPLY_REACHED_BY if defines else REACHED_BY
    assert {name: method for name, method in wanted.items() if name not in journal[method]} == {}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["libvixDiskLib.so.6.5.0"], "libvixDiskLib.so.6.5.0"),
        (["libvixDiskLib.so.7"], "libvixDiskLib.so.7"),
        (["libvixDiskLib.so"], "libvixDiskLib.so"),
        (["libvixDiskLib.so", "libvixDiskLib.so.8.0.2.1"], "libvixDiskLib.so.8.0.2.1"),
        (["libvixDiskLib.so.8.0.9", "libvixDiskLib.so.8.0.10"], "libvixDiskLib.so.8.0.10"),
        (["libvixDiskLib.so.9.1.0.0", "libvixDiskLib.so.10.0.0"], "libvixDiskLib.so.10.0.0"),
        (["libvixDiskLib.so.8.0.1", "libvixDiskLib.so.9.debug", "libvixDiskLibVim.so.9"], "libvixDiskLib.so.8.0.1"),
    ],
)
def test_a_library_is_found_by_any_of_its_names(tmp_path: Path, names: list[str], chosen: str) -> None:
    """The newest version by number; no debug files, no other library."""
    (tmp_path / "lib64").mkdir()
    for name in names:
        (tmp_path / "lib64" / name).touch()
    assert _loader.find(tmp_path).name == chosen


def test_a_library_is_found_through_links_and_past_broken_ones(tmp_path: Path) -> None:
    """A container's image may have the link of 8 to 9, and one that leads nowhere."""
    folder = tmp_path / "lib64"
    folder.mkdir()
    (folder / "libvixDiskLib.so.9.1.0.0").touch()
    (folder / "libvixDiskLib.so.8").symlink_to("libvixDiskLib.so.9.1.0.0")
    (folder / "libvixDiskLib.so.99").symlink_to("/nowhere/libvixDiskLib.so.99")
    assert _loader.find(tmp_path).name == "libvixDiskLib.so.9.1.0.0"
