"""Parameters are refused where they are written, with what is wrong and what to give."""

from __future__ import annotations

from typing import Any

import pytest

from asyncvddk import ConnectParams, CreateParams, DatastoreFolder, HardwareVersion, Secret, StorageObject

SHA1 = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
SHA256 = ":".join(f"{byte:02X}" for byte in range(200, 232))
MACHINE: dict[str, Any] = {"server": "vc", "vmx_spec": "moref=2", "user": "u", "password": "p"}


@pytest.mark.parametrize("given", [SHA1, SHA1.lower(), SHA1.replace(":", ""), f" {SHA1}\n"])
def test_a_thumbprint_is_kept_in_one_form(given: str) -> None:
    """However the tool prints it that it comes from."""
    assert ConnectParams(**MACHINE, thumbprint=given).thumbprint == SHA1


def test_a_sha_256_thumbprint_is_taken() -> None:
    """Whether the library knows it is the library's to say."""
    assert ConnectParams(**MACHINE, thumbprint=SHA256.lower()).thumbprint == SHA256


@pytest.mark.parametrize(
    "given", ["", "AA:BB", SHA1 + ":00", SHA1[:-1] + "X", SHA1.replace("A9", "A9 ", 1), SHA256[3:]]
)
def test_what_is_no_thumbprint_is_refused(given: str) -> None:
    """VMware's library would say 'unknown error' when the disk is opened."""
    with pytest.raises(ValueError, match=r"^thumbprint=.*20 hexadecimal pairs"):
        ConnectParams(**MACHINE, thumbprint=given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server": ""}, r"^server: "),
        ({"password": None}, r"^credentials: "),
        ({"password": ""}, r"^credentials: "),
        ({"key": "k"}, r"^key: .*cookie"),
        ({"vmx_spec": None}, "exactly one of vmx_spec"),
        ({"datastore": DatastoreFolder("datastore-1", "a")}, "exactly one of vmx_spec"),
        ({"storage_object": StorageObject("id", "datastore-1")}, "exactly one of vmx_spec"),
        ({"nfc_port": 65536}, r"^nfc_port=65536: "),
    ],
)
def test_parameters_that_would_crash_a_library_are_refused(changes: dict[str, Any], message: str) -> None:
    """VMware's library reads NULL where it expects a user or a password."""
    with pytest.raises(ValueError, match=message):
        ConnectParams(**(MACHINE | changes))


def test_plain_strings_become_secrets() -> None:
    """Whoever writes one is protected as well."""
    params = ConnectParams("vc", vmx_spec="moref=2", cookie="hunter2", key="hunter3")  # type: ignore[arg-type]
    assert isinstance(params.cookie, Secret)
    assert isinstance(params.key, Secret)
    assert "hunter" not in repr(params)


@pytest.mark.parametrize("number", [0, 1, 1 << 32, -1])
def test_the_number_of_a_datastore_folder_is_no_other_kinds(number: int) -> None:
    """0 is a machine, 1 a first-class disk."""
    with pytest.raises(ValueError, match=r"^spec_type="):
        DatastoreFolder("datastore-1", "a", number)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logical_sector_size": 1024}, r"^logical_sector_size=1024: "),
        ({"physical_sector_size": 0}, r"^physical_sector_size=0: "),
        ({"logical_sector_size": 4096, "physical_sector_size": 512}, r"^physical_sector_size=512: it is below"),
        ({"hw_version": 0}, r"^hw_version=0: "),
    ],
)
def test_a_new_disk_that_no_library_makes_is_refused(changes: dict[str, Any], message: str) -> None:
    """Sector sizes are 512 and 4096."""
    with pytest.raises(ValueError, match=message):
        CreateParams(4096, **changes)


def test_hardware_versions_have_names_and_newer_ones_are_numbers() -> None:
    """Two products may share one."""
    assert CreateParams(512).hw_version == int(HardwareVersion.ESX65) == 13
    assert HardwareVersion(4).name == "WORKSTATION_5"
    assert HardwareVersion.__members__["ESX30"] is HardwareVersion(4)
    assert CreateParams(512, hw_version=21).hw_version == 21
