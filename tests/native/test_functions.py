"""A library is bound by one table: what is missing, and what that means."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING

import pytest

from asyncvddk.errors import LibraryLoadError, NotSupportedError
from asyncvddk.native import _structs
from asyncvddk.native._functions import FUNCTIONS, Thread, bind
from tests.native.fix_c import load_c

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ALL = frozenset(function.name for function in FUNCTIONS)
REQUIRED = frozenset(function.name for function in FUNCTIONS if not function.optional)
WIDE_ERROR = 0xFFFF_FFFF_0000_3E87


def stub_library(folder: Path, names: Iterable[str]) -> ctypes.CDLL:
    """Return a library whose functions take nothing, do nothing and return a 64-bit error."""
    lines = (f"unsigned long {name} (void) {{ return {WIDE_ERROR:#x}ul; }}" for name in sorted(names))
    return load_c(folder, "\n".join(lines))


def test_a_complete_library_misses_nothing(tmp_path: Path) -> None:
    """Every function of the table is found, at the address where the loader put it."""
    dll = stub_library(tmp_path, ALL)
    bound = bind(dll)
    assert bound.missing == frozenset()
    for name in ALL:
        assert name in bound
        assert bound.address(name) == ctypes.cast(dll[name], ctypes.c_void_p).value


def test_a_library_with_the_required_functions_alone_is_taken(tmp_path: Path) -> None:
    """Reading and writing of disks is enough; the rest is reported as missing."""
    assert bind(stub_library(tmp_path, REQUIRED)).missing == ALL - REQUIRED


@pytest.mark.parametrize("name", sorted(ALL - REQUIRED))
def test_using_a_missing_function_names_it_and_the_version_that_has_it(tmp_path: Path, name: str) -> None:
    """An optional function that the library lacks fails where it is used, with all that one must know."""
    bound = bind(stub_library(tmp_path, ALL - {name}))
    since = next(function.since for function in FUNCTIONS if function.name == name)
    assert name not in bound
    for use in (bound.address, bound.__getitem__):
        with pytest.raises(NotSupportedError) as caught:
            use(name)
        message = str(caught.value)
        assert name in message
        assert str(tmp_path / "libstub.so") in message
        assert f"since {since}" in message


def test_a_library_without_required_functions_is_refused_and_all_of_them_are_named(tmp_path: Path) -> None:
    """One message names the file, everything that is missing, nothing else, and what to give instead."""
    lacking = {"VixDiskLib_Close", "VixDiskLib_Open", "VixDiskLib_Read"}
    with pytest.raises(LibraryLoadError) as caught:
        bind(stub_library(tmp_path, ALL - lacking))
    message = str(caught.value)
    assert str(tmp_path / "libstub.so") in message
    assert "VixDiskLib_Open, VixDiskLib_Close and VixDiskLib_Read;" in message
    assert set(re.findall(r"VixDiskLib_\w+", message)) == lacking
    assert "VDDK 6.5 or newer" in message


def test_a_library_that_lacks_one_required_function_is_refused(tmp_path: Path) -> None:
    """The message reads well for a single name too."""
    with pytest.raises(LibraryLoadError, match=r"it lacks VixDiskLib_Flush; give"):
        bind(stub_library(tmp_path, ALL - {"VixDiskLib_Flush"}))


@pytest.mark.parametrize("name", ["InitEx", "ConnectEx"])
def test_a_simple_form_does_where_the_extended_one_is_missing(tmp_path: Path, name: str) -> None:
    """A library may have Init or InitEx, Connect or ConnectEx; one of them it needs."""
    extended, simple = f"VixDiskLib_{name}", f"VixDiskLib_{name.removesuffix('Ex')}"
    assert extended in bind(stub_library(tmp_path, ALL - {extended})).missing
    (tmp_path / "neither").mkdir()
    with pytest.raises(LibraryLoadError, match=f"it lacks {extended};"):
        bind(stub_library(tmp_path / "neither", ALL - {extended, simple}))


def test_a_name_that_no_header_has_is_a_programming_error(tmp_path: Path) -> None:
    """A typo is not taken for an old library."""
    bound = bind(stub_library(tmp_path, ALL))
    with pytest.raises(KeyError, match="VixDiskLib_Red"):
        bound["VixDiskLib_Red"]
    with pytest.raises(KeyError, match="VixDiskLib_Red"):
        bound.address("VixDiskLib_Red")


def test_an_error_keeps_all_its_64_bits(tmp_path: Path) -> None:
    """The result of a call is not cut to an int."""
    bound = bind(stub_library(tmp_path, ALL))
    assert bound["VixDiskLib_Flush"](_structs.Handle(1)) == WIDE_ERROR
    assert bound["VixDiskLib_Exit"]() is None


def test_arguments_are_checked_before_the_call(tmp_path: Path) -> None:
    """A call with an argument of another kind never reaches C."""
    bound = bind(stub_library(tmp_path, ALL))
    with pytest.raises(ctypes.ArgumentError):
        bound["VixDiskLib_Open"](_structs.Connection(1), "text", 0, ctypes.byref(_structs.Handle()))
    with pytest.raises(TypeError):
        bound["VixDiskLib_Close"]()


def test_binding_leaves_the_librarys_own_function_objects_alone(tmp_path: Path) -> None:
    """Another user of the same library in this process keeps the types that he set."""
    dll = stub_library(tmp_path, ALL)
    theirs = dll.VixDiskLib_Read
    bind(dll)
    assert dll.VixDiskLib_Read is theirs
    assert theirs.argtypes is None
    assert theirs.restype is ctypes.c_int


def test_what_opens_and_closes_is_serialised() -> None:
    """The functions that VDDK wants one at a time in a process are marked so."""
    serial = {function.name for function in FUNCTIONS if function.thread is Thread.OPEN_CLOSE}
    for verb in ("Connect", "ConnectEx", "Disconnect", "PrepareForAccess", "EndAccess", "Open", "Close"):
        assert f"VixDiskLib_{verb}" in serial


def test_only_functions_that_touch_memory_alone_may_run_anywhere() -> None:
    """What may block belongs to a thread, so none of it can end up on the event loop by its rule."""
    assert all(not f.blocking for f in FUNCTIONS if f.thread is Thread.ANY and f.name != "VixDiskLib_Exit")


def test_a_function_younger_than_the_oldest_supported_library_is_optional() -> None:
    """VDDK 6.5 can be bound: whatever came later may be missing."""
    later = [function for function in FUNCTIONS if tuple(map(int, function.since.split("."))) > (6, 5)]
    assert {function.name.removeprefix("VixDiskLib_") for function in later} == {
        "AllocateConnectParams",
        "FreeBlockList",
        "QueryAllocatedBlocks",
    }
    assert all(function.optional for function in later)
