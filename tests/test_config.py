"""The library's configuration as typed values: written for the library's start only, and removed."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import ConnectParams, CreateParams, LibraryConfig, NativeError, Secret, Vddk, VddkError
from asyncvddk._config import _KEYS

if TYPE_CHECKING:
    from tests.fix_stub import Stub

EVERYTHING: dict[str, Any] = {
    "tmp_directory": Path("/var/tmp/vddk"),  # noqa: S108  (not used)
    "log_file": Path("vddk.log"),
    "log_file_level": 3,
    "transport_log_level": 6,
    "nfc_log_level": 4,
    "nfc_accept_timeout_s": 1.5,
    "nfc_request_timeout_s": 180.0,
    "nfc_read_timeout_s": 60.0,
    "nfc_write_timeout_s": 600.0,
    "nfc_file_timeout_s": 1.0,
    "nfc_file_write_timeout_s": 0.001,
    "nfc_buffer_size": 1 << 20,
    "nfc_buffer_count": 16,
    "read_cache": True,
    "verify_certificates": False,
    "fips": True,
    "phone_home": False,
    "product_name": "our backup",
    "product_version": "1.0 # beta",
    "hotadd_without_nfc": True,
    "san_deny_list": "/dev/sd*",
    "san_allow_list": "/dev/sdz",
}


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, in which nothing may be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_every_field_has_its_key() -> None:
    """None is forgotten, in the class, in the table, and here."""
    names = {field.name for field in dataclasses.fields(LibraryConfig)} - {"extra"}
    assert names == set(_KEYS) == set(EVERYTHING)


def test_values_are_written_in_the_librarys_units() -> None:
    """Milliseconds, units of 64 KiB, 0 and 1; where sources differ in the spelling, both."""
    text = LibraryConfig(**EVERYTHING).render().decode()
    for line in (
        'tmpDirectory = "/var/tmp/vddk"',
        'vixDiskLib.nfc.AcceptTimeoutMs = "1500"',
        'vixDiskLib.nfc.ReadTimeoutMs = "60000"',
        'vixDiskLib.nfc.ReadTimeoutsMs = "60000"',
        'vixDiskLib.nfcFssrvrWrite.TimeoutMs = "1"',
        'vixDiskLib.nfcAio.Session.BufSizeIn64KB = "16"',
        'vixDiskLib.nfcAio.Session.BufCount = "16"',
        'vixDiskLib.linuxSSL.verifyCertificates = "0"',
        'vixDiskLib.disklib.EnableCache = "1"',
        'vixDiskLib.transport.san.blacklist = "/dev/sd*"',
        'vixDiskLib.transport.san.denyList = "/dev/sd*"',
        'vixDiskLib.phoneHome.ProductVersion = "1.0 # beta"',
    ):
        assert line in text.splitlines()


def test_what_is_not_set_is_not_written() -> None:
    """The library's defaults stay."""
    assert LibraryConfig().render() == b""
    assert LibraryConfig(nfc_log_level=0).render() == b'vixDiskLib.nfc.LogLevel = "0"\n'


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Known keys in any letter case become fields, others stay."""
    config = LibraryConfig(**EVERYTHING, extra={"vixMntapi.cfg.LogLevel": "2"})
    path = tmp_path / "a.conf"
    path.write_bytes(config.render().replace(b"vixDiskLib.nfc.L", b"VIXDISKLIB.nfc.l") + b"\n# a comment\n")
    assert LibraryConfig.read(path) == config


def test_an_empty_value_and_a_comment_behind_one_are_read(tmp_path: Path) -> None:
    """As the engine reads them; inside of quotation marks nothing is a comment."""
    path = tmp_path / "a.conf"
    path.write_text('a =\nb = 1 # one\nc = "2 # two" # three\n')
    assert LibraryConfig.read(path).extra == {"a": "", "b": "1", "c": "2 # two"}


@pytest.mark.parametrize("line", ["nonsense", "= 1", 'tmpDirectory = "/a', "log.fileLevel = many"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    """File and number; what stands there may be a password in the wrong place."""
    path = tmp_path / "a.conf"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(ValueError, match=rf"^{path}:2: ") as caught:
        LibraryConfig.read(path)
    assert line not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nfc_log_level": 5}, r"^nfc_log_level=5: it lies in 0..4"),
        ({"transport_log_level": -1}, r"^transport_log_level=-1: "),
        ({"nfc_read_timeout_s": -1}, r"^nfc_read_timeout_s=-1: "),
        ({"nfc_buffer_size": 100_000}, "multiple of 64 KiB"),
        ({"nfc_buffer_size": 4 << 20}, r"^nfc_buffer_size=4194304: "),
        ({"nfc_buffer_count": 0}, r"^nfc_buffer_count=0: "),
        ({"nfc_buffer_size": 2 << 20, "nfc_buffer_count": 9}, "at most 16 MiB"),
        ({"product_name": 'a "b"'}, r"^vixDiskLib.phoneHome.ProductName: .*quotation mark"),
        ({"extra": {"a": "b\nc = d"}}, r"^a: .*line break"),
        ({"extra": {"TmpDirectory": "/a"}}, r"^extra: .*'TmpDirectory': 'tmp_directory'"),
        ({"extra": {"a = b": "c"}}, r"^extra: 'a = b' cannot be the name"),
        ({"extra": {"": "c"}}, "cannot be the name"),
        ({"extra": {"openEngine.password": 'geh"eim'}}, r"^openEngine.password: "),
    ],
)
def test_a_value_that_the_library_would_misread_is_refused(fields: dict[str, Any], message: str) -> None:
    """Before a file is written; no value of a secret is shown."""
    with pytest.raises(ValueError, match=message) as caught:
        LibraryConfig(**fields)
    assert "geh" not in str(caught.value)


def test_secrets_of_a_configuration_are_not_shown() -> None:
    """Values of keys that are passwords, and what was given as a secret; the rest is."""
    config = LibraryConfig(fips=True, extra={"openEngine.password": "hunter2", "a": Secret("hunter2"), "b": 1})
    assert repr(config) == (
        "LibraryConfig(fips=True, extra={'openEngine.password': Secret('***'), 'a': Secret('***'), 'b': 1})"
    )
    assert config.render() == (
        b'vixDiskLib.ssl.enableSslFIPS = "1"\nopenEngine.password = "hunter2"\na = "hunter2"\nb = "1"\n'
    )


async def test_the_library_reads_the_file_and_it_is_gone_afterwards(temporary_folder: Path, tmp_path: Path) -> None:
    """The engine plays the server that the configuration describes."""
    datastore = tmp_path / "nfs"
    datastore.mkdir()
    extra: dict[str, Any] = {
        "openEngine.datastore.ds 1": datastore,
        "openEngine.user": "u",
        "openEngine.password": Secret("geheim"),
    }
    config = LibraryConfig(extra=extra)
    params = ConnectParams("vc", vmx_spec="moref=vm-1", user="u", password=Secret("geheim"))
    async with Vddk(config=config) as vddk, vddk.connect() as local:
        assert list(temporary_folder.iterdir()) == []
        await local.create(datastore / "a.vmdk", CreateParams(1 << 20))
        async with Vddk(config=LibraryConfig(extra=extra)), vddk.open_disk("[ds 1] a.vmdk", params=params) as disk:
            assert disk.size == 1 << 20
        with pytest.raises(VddkError, match=r"LibraryConfig\(fips=True\)"):
            await Vddk(config=LibraryConfig(fips=True)).__aenter__()


async def test_only_this_user_can_read_the_file_while_it_is_there(stub: Stub, temporary_folder: Path) -> None:
    """While InitEx runs it has mode 0600; cancelled meanwhile, it is removed as well."""
    async with asyncio.timeout(60):
        with stub.gate("InitEx") as gate:
            starting = asyncio.ensure_future(Vddk(stub.root, config=LibraryConfig(fips=True)).__aenter__())
            await gate.arrival()
            (file,) = temporary_folder.iterdir()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert file.stat().st_uid == os.getuid()
            assert file.read_text() == 'vixDiskLib.ssl.enableSslFIPS = "1"\n'
            starting.cancel()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await starting
    assert list(temporary_folder.iterdir()) == []


async def test_a_failing_start_removes_the_file(stub: Stub, temporary_folder: Path) -> None:
    """Whatever happens."""
    stub.fail("InitEx", 1)
    with pytest.raises(NativeError):
        await Vddk(stub.root, config=LibraryConfig(fips=True)).__aenter__()
    assert list(temporary_folder.iterdir()) == []


def test_a_file_that_cannot_be_written_is_not_left(temporary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error, not half a configuration."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"), LibraryConfig(fips=True).file():
        pass
    assert list(temporary_folder.iterdir()) == []


def test_a_value_that_is_out_of_range_names_the_file(tmp_path: Path) -> None:
    """Whoever reads several files knows which one."""
    path = tmp_path / "a.conf"
    path.write_text("log.fileLevel = 9\n")
    with pytest.raises(ValueError, match=rf"^{path}: log_file_level=9: "):
        LibraryConfig.read(path)


async def test_the_library_keeps_no_configuration_beyond_its_end(stub: Stub) -> None:
    """Its secrets go with the last reference of their owner."""
    config = LibraryConfig(extra={"openEngine.password": "geheim"})
    secret = config.extra["openEngine.password"]
    assert isinstance(secret, Secret)
    view = secret.view()
    async with Vddk(stub.root, config=config):
        pass
    del config, secret
    gc.collect()
    assert bytes(view) == bytes(6)
