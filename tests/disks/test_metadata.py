"""The disk database as an async mapping, on the engine and on a library that changes its mind between two calls."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    AccessDeniedError,
    AsyncDisk,
    ClosedError,
    Connection,
    DiskMetadata,
    MetadataKeyError,
    NativeError,
    OpenFlags,
)
from asyncvddk.errors import native_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_entries_are_read_written_and_kept(connection: Connection, disk: AsyncDisk) -> None:
    """One by one and several at once, empty and long ones, also in the next session."""
    await disk.metadata.set("backup.note", "x" * 500)
    await disk.metadata.update({"backup.empty": "", "backup.name": "Grüße", "backup.note": "y" * 900})
    assert await disk.metadata["backup.note"] == "y" * 900
    await disk.aclose()
    async with connection.open(disk.path, OpenFlags.READ_ONLY) as again:
        facts = await again.metadata.as_dict()
        assert facts["adapterType"] == "lsilogic"
        assert (facts["backup.note"], facts["backup.empty"], facts["backup.name"]) == ("y" * 900, "", "Grüße")
        assert list(facts) == await again.metadata.keys() == [key async for key in again.metadata]
        assert list(facts.items()) == await again.metadata.items()


async def test_a_missing_key_is_an_error_a_default_or_false(disk: AsyncDisk) -> None:
    """The error is a KeyError and names the disk; an empty value is no missing one."""
    await disk.metadata.set("empty", "")
    with pytest.raises(MetadataKeyError, match=r"disk\.vmdk"):
        await disk.metadata["no.such"]
    with pytest.raises(KeyError):
        await disk.metadata["no.such"]
    assert await disk.metadata.get("no.such") is None
    assert await disk.metadata.get("no.such", 7) == 7
    assert await disk.metadata.get("empty", "default") == ""
    assert await disk.metadata.contains("empty")
    assert not await disk.metadata.contains("no.such")


async def test_bytes_that_are_no_utf8_go_back_as_they_came(connection: Connection, disk: AsyncDisk) -> None:
    """The interface knows no encoding: a copy of all entries is exact."""
    value = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    await disk.metadata.set("old", value)
    await disk.metadata.set("new", await disk.metadata["old"])
    await disk.aclose()
    async with connection.open(disk.path) as again:
        assert await again.metadata["new"] == value


@pytest.mark.parametrize(
    ("entries", "reason"),
    [({"": "x"}, "key: it is empty"), ({"a\0b": "x"}, "key: .*NUL"), ({"a": "x\0y"}, "value: .*NUL")],
)
async def test_entries_that_c_cannot_hold_are_refused_before_any_is_written(
    disk: AsyncDisk, entries: dict[str, str], reason: str
) -> None:
    """The good ones of the same update neither."""
    before = await disk.metadata.as_dict()
    with pytest.raises(ValueError, match=reason):
        await disk.metadata.update({"good": "1", **entries})
    assert await disk.metadata.as_dict() == before


async def test_a_name_that_the_library_refuses_has_its_reason(disk: AsyncDisk) -> None:
    """Names are the library's to judge."""
    with pytest.raises(NativeError, match="printable ASCII"):
        await disk.metadata.set("with blank", "x")


async def test_a_disk_that_is_read_only_or_closed_says_so(connection: Connection, disk: AsyncDisk) -> None:
    """Asking for the object is no error, using it is."""
    await disk.aclose()
    with pytest.raises(ClosedError, match=r"disk\.vmdk is closed"):
        await disk.metadata["uuid"]
    async with connection.open(disk.path, OpenFlags.READ_ONLY) as frozen:
        with pytest.raises(AccessDeniedError):
            await frozen.metadata.set("a", "b")


class Library:
    """Plays ReadMetadata and GetMetadataKeys; ``texts`` are what it holds at each call, the last one from then on."""

    def __init__(self, *texts: bytes, says_so: bool = True) -> None:
        """Remember the texts; ``says_so``: a call without a buffer answers "too small", else that all is well."""
        self.texts = list(texts)
        self.says_so = says_so
        self.calls = 0

    def __call__(self, name: str, *args: int, keep: object = None) -> Awaitable[None]:
        """Answer as the C interface says."""
        buffer, room, needed = args[-3:]
        return self._answer(name, buffer, room, needed, keep)

    async def _answer(self, name: str, buffer: int, room: int, needed: int, keep: object) -> None:
        assert keep is not None
        text = self.texts[min(self.calls, len(self.texts) - 1)]
        self.calls += 1
        assert self.calls < 10, "asks for ever"
        ctypes.c_size_t.from_address(needed).value = len(text)
        if room >= len(text):
            ctypes.memmove(buffer, text, len(text))
        elif buffer or self.says_so:
            raise native_error(name, 24, "the buffer is too small")


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("texts", [(b"value\0",), (b"old\0", b"value\0"), (b"a longer one\0", b"value\0")])
async def test_a_value_that_changes_between_asking_and_reading_comes_whole(
    texts: tuple[bytes, ...],
    says_so: bool,  # noqa: FBT001
) -> None:
    """It grew or shrank; libraries answer the question for the length in two ways."""
    assert await DiskMetadata(Library(*texts, says_so=says_so))["key"] == "value"


@pytest.mark.parametrize("text", [b"", b"\0", b"\0\0"])
async def test_an_empty_database_has_no_keys(text: bytes) -> None:
    """However the library writes an empty list."""
    assert await DiskMetadata(Library(text)).keys() == []


async def test_a_library_that_never_has_enough_room_is_not_asked_for_ever() -> None:
    """It says too small, and wants no more than it got."""
    library = Library(b"value\0")

    async def stubborn(name: str, *args: int, keep: object = None) -> None:
        *_, buffer, _, needed = args
        await library(name, buffer, 0, needed, keep=keep)

    with pytest.raises(NativeError, match="too small"):
        await DiskMetadata(stubborn)["key"]


METHODS: dict[str, Callable[[DiskMetadata], Awaitable[object]]] = {
    "[]": lambda metadata: metadata["key"],
    "get": lambda metadata: metadata.get("key", "default"),
    "contains": lambda metadata: metadata.contains("key"),
    "keys": lambda metadata: metadata.keys(),
    "as_dict": lambda metadata: metadata.as_dict(),
}


@pytest.mark.parametrize("method", METHODS)
async def test_other_errors_are_not_taken_for_a_missing_key(method: str) -> None:
    """A lost connection is no empty database."""

    async def broken(name: str, *_: int, keep: object = None) -> None:
        assert keep or name == "GetMetadataKeys"
        raise native_error(name, 14009, "the host is gone")

    with pytest.raises(NativeError, match="14009"):
        await METHODS[method](DiskMetadata(broken))
