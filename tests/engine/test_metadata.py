"""The disk database."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_size_t
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import MONOLITHIC_FLAT, MONOLITHIC_SPARSE, READ_ONLY, SECTOR, EngineError, names

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

TYPES = {"inside": MONOLITHIC_SPARSE, "text": MONOLITHIC_FLAT}


@pytest.mark.parametrize("place", TYPES)
def test_what_is_written_is_read_again_also_after_reopening(
    place: str, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """New keys and existing ones, in a file of its own or inside the extent; the rest stays as it was."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[place])
    with engine.open(path) as disk:
        before = {key: disk.metadata(key) for key in disk.metadata_keys()}
        disk.set_metadata("comment", "a disk of ours: äöü = #1")
        disk.set_metadata("adapterType", "buslogic")
        disk.set_metadata("uuid", "60 00 C2 93 7b a0 3a 03-9f 22 56 c5 29 93 b7 27")
        disk.set_metadata("empty", "")
    expected = before | {
        "comment": "a disk of ours: äöü = #1",
        "adapterType": "buslogic",
        "uuid": "60 00 C2 93 7b a0 3a 03-9f 22 56 c5 29 93 b7 27",
        "empty": "",
    }
    with engine.open(path, READ_ONLY) as disk:
        assert {key: disk.metadata(key) for key in disk.metadata_keys()} == expected
        assert disk.info()["adapter_type"] == 2
        assert disk.info()["uuid"] == expected["uuid"].encode()
    qemu.check(path)
    assert names(tmp_path) == (["d.vmdk"] if place == "inside" else ["d-flat.vmdk", "d.vmdk"])


@pytest.mark.parametrize("value", ['say "x"', "a|b", "line\nline", "tab\t", "|22", "|00|7", "\x7f\x01", "ends in ="])
def test_any_text_can_be_a_value(value: str, engine: Engine, tmp_path: Path) -> None:
    """Quotes, line ends and bars are escaped on disk and not in the interface."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    with engine.open(path) as disk:
        disk.set_metadata("key", value)
        assert disk.metadata("key") == value
    with engine.open(path, READ_ONLY) as disk:
        assert disk.metadata("key") == value
        assert len(disk.metadata_keys()) == 8


@pytest.mark.parametrize("key", ["", "two words", "a=b", 'a"b', "line\nbreak", "k" * 256, "ümlaut", "#key"])
def test_a_key_that_would_break_the_descriptor_is_refused(key: str, engine: Engine, tmp_path: Path) -> None:
    """The disk stays as it was."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    before = path.read_bytes()
    with engine.open(path) as disk, pytest.raises(EngineError) as caught:
        disk.set_metadata(key, "x")
    assert caught.value.code == 3
    assert path.read_bytes() == before


def test_a_missing_key_has_its_own_code(engine: Engine, tmp_path: Path) -> None:
    """16052, as clients expect."""
    with engine.open(engine.create(tmp_path / "d.vmdk", 8192)) as disk, pytest.raises(EngineError) as caught:
        disk.metadata("nothing")
    assert caught.value.code == 16052


def test_a_short_buffer_stays_untouched_and_the_needed_length_is_told(engine: Engine, tmp_path: Path) -> None:
    """Every terminating zero is counted; a buffer of exactly that length will do."""
    with engine.open(engine.create(tmp_path / "d.vmdk", 8192)) as disk:
        disk.set_metadata("key", "value")
        required = c_size_t()
        buffer = ctypes.create_string_buffer(b"-" * 8, 8)
        arguments = ("ReadMetadata", disk.handle, b"key", buffer)
        assert engine.code(*arguments, c_size_t(5), byref(required)) == 24
        assert (required.value, buffer.raw) == (6, b"-" * 8)
        assert engine.code(*arguments, c_size_t(6), byref(required)) == 0
        assert buffer.raw == b"value\0--"
        assert engine.code("GetMetadataKeys", disk.handle, None, c_size_t(0), byref(required)) == 24
        keys = ctypes.create_string_buffer(required.value)
        assert engine.code("GetMetadataKeys", disk.handle, keys, required, None) == 0
        assert keys.raw.endswith(b"key\0\0")


def test_a_read_only_disk_refuses_metadata(engine: Engine, tmp_path: Path) -> None:
    """Code 13."""
    with engine.open(engine.create(tmp_path / "d.vmdk", 8192), READ_ONLY) as disk, pytest.raises(EngineError) as caught:
        disk.set_metadata("key", "x")
    assert caught.value.code == 13


def test_a_child_inherits_what_it_does_not_have(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The uppermost link that has a key gives it; writing touches the top link alone."""
    with engine.open(engine.create(tmp_path / "base.vmdk", 8192)) as disk:
        disk.set_metadata("only.base", "1")
        disk.set_metadata("both", "base")
    before = (tmp_path / "base.vmdk").read_bytes()
    path = qemu.create(tmp_path / "top.vmdk", 8192 * SECTOR, backing="base.vmdk")
    with engine.open(path) as disk:
        assert disk.metadata("both") == "base"
        disk.set_metadata("both", "top")
        assert (disk.metadata("both"), disk.metadata("only.base")) == ("top", "1")
        assert disk.metadata_keys().count("both") == 1
        assert "only.base" in disk.metadata_keys()
    assert (tmp_path / "base.vmdk").read_bytes() == before


def test_a_descriptor_that_is_full_says_so_and_stays(engine: Engine, tmp_path: Path) -> None:
    """The area inside a sparse extent has 10 KiB; what does not fit changes nothing, also not in memory."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    before = path.read_bytes()
    with engine.open(path) as disk:
        with pytest.raises(EngineError) as caught:
            disk.set_metadata("key", "x" * 10240)
        assert caught.value.code == 44
        assert "key" not in disk.metadata_keys()
        assert path.read_bytes() == before
        disk.set_metadata("key", "y")
        assert disk.metadata("key") == "y"


def content_ids(path: Path) -> tuple[str, str]:
    """Return CID and longContentID."""
    text = path.read_bytes().decode(errors="replace")
    cid, long = re.search(r"^CID=(\w+)", text, re.MULTILINE), re.search(r'longContentID = "(\w+)"', text)
    assert cid
    assert long
    return cid[1], long[1]


@pytest.mark.parametrize("place", TYPES)
def test_the_content_id_changes_with_the_first_write_of_a_session(place: str, engine: Engine, tmp_path: Path) -> None:
    """Before the data, once; the end of longContentID is always the CID; metadata and opening change neither."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[place])
    first = content_ids(path)
    with engine.open(path) as disk:
        disk.set_metadata("key", "x")
        disk.flush()
    assert content_ids(path) == first
    with engine.open(path) as disk:
        disk.write(0, bytes(SECTOR))
        second = content_ids(path)
        disk.write(0, bytes(SECTOR))
        disk.set_metadata("key", "y")
    assert content_ids(path) == second
    for cid, long in (first, second):
        assert long.endswith(cid)
        assert len(long) == 32
    assert first[0] != second[0]
    assert first[1][:24] == second[1][:24]


def test_a_change_tracking_file_is_let_go_when_the_content_changes(engine: Engine, tmp_path: Path) -> None:
    """We do not keep it up to date: with the reference gone nobody trusts it. Comments and unknown keys stay."""
    text = descriptor('RW 8192 SPARSE "d.vmdk"').replace(
        "#DDB", 'changeTrackPath="d-ctk.vmdk"\n# ours\nfoo="bar"\n#DDB'
    )
    path = Sparse(text=text).save(tmp_path / "d.vmdk")
    with engine.open(path) as disk:
        disk.set_metadata("key", "x")
        assert b"changeTrackPath" in path.read_bytes()
        disk.write(0, bytes(SECTOR))
    image = path.read_bytes()
    assert b"changeTrackPath" not in image
    assert b'# ours\nfoo="bar"\n#DDB' in image


def test_permissions_of_a_text_descriptor_are_kept(engine: Engine, tmp_path: Path) -> None:
    """It is replaced by a new file, which looks the same."""
    path = engine.create(tmp_path / "d.vmdk", 8192, MONOLITHIC_FLAT)
    path.chmod(0o640)
    with engine.open(path) as disk:
        disk.set_metadata("key", "x")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("place", TYPES)
def test_keys_keep_their_order_and_their_spelling(place: str, engine: Engine, tmp_path: Path) -> None:
    """New ones come last; a key is found whatever its letter case and stands in the list once."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[place])
    with engine.open(path) as disk:
        before = disk.metadata_keys()
        for key, value in (("zeta", "1"), ("Alpha", "2"), ("ALPHA", "3"), ("UUID", "4"), ("zeta", "")):
            disk.set_metadata(key, value)
        assert disk.metadata_keys() == [*before, "zeta", "Alpha"]
        assert [disk.metadata(key) for key in ("alpha", "uuid", "Zeta")] == ["3", "4", ""]
    with engine.open(path, READ_ONLY) as disk:
        assert disk.metadata_keys() == [*before, "zeta", "Alpha"]
        assert disk.info()["uuid"] == b"4"


def test_bytes_that_are_no_utf8_come_back_as_they_are(engine: Engine, tmp_path: Path) -> None:
    """The interface has strings without an encoding."""
    value = bytes(range(1, 256))
    with engine.open(engine.create(tmp_path / "d.vmdk", 8192)) as disk:
        assert engine.code("WriteMetadata", disk.handle, b"key", value) == 0
    with engine.open(tmp_path / "d.vmdk", READ_ONLY) as disk:
        assert disk._text("ReadMetadata", b"key") == value + b"\0"


def test_a_text_descriptor_grows_to_a_megabyte_and_no_further(engine: Engine, tmp_path: Path) -> None:
    """What could not be read again is not written."""
    path = engine.create(tmp_path / "d.vmdk", 8192, MONOLITHIC_FLAT)
    with engine.open(path) as disk:
        disk.set_metadata("key", "x" * 1_000_000)
        before = path.read_bytes()
        with pytest.raises(EngineError) as caught:
            disk.set_metadata("more", "x" * 100_000)
        assert caught.value.code == 44
        assert path.read_bytes() == before
        disk.write(0, bytes(SECTOR))
    with engine.open(path, READ_ONLY) as disk:
        assert len(disk.metadata("key")) == 1_000_000
        assert "more" not in disk.metadata_keys()
