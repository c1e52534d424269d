"""Errors tell what failed, where and what to do, fall into the class one expects, and travel."""

from __future__ import annotations

import copy
import pickle
import re
from typing import TYPE_CHECKING

import pytest

from asyncvddk import errors
from asyncvddk._codes import HINTS, SYMBOLS
from asyncvddk.errors import NativeError, NotSupportedError, VddkError, native_error

if TYPE_CHECKING:
    from collections.abc import Callable


def ours() -> list[type[Exception]]:
    """Return the classes of the module, by name."""
    classes = (value for value in vars(errors).values() if isinstance(value, type))
    return sorted((cls for cls in classes if issubclass(cls, VddkError)), key=lambda cls: cls.__name__)


def drawn_edges() -> set[tuple[str, str]]:
    """Return parent and child for every line of the tree in the module's docstring."""
    found: set[tuple[str, str]] = set()
    path: list[str] = []
    for indent, name in re.findall(r"^    ((?:│   |    )*(?:├── |└── )?)(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        path[depth:] = [name]
        found |= {(path[-2], name)} if depth else set()
    return found


def test_the_drawn_tree_is_the_real_one() -> None:
    """The picture in the docstring has every class below its bases of ours, and no other."""
    real = {(base.__name__, cls.__name__) for cls in ours() for base in cls.__bases__ if issubclass(base, VddkError)}
    assert drawn_edges() == real


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (2, errors.OutOfMemoryError),
        (3, errors.InvalidArgumentError),
        (4, errors.DiskNotFoundError),
        (6, errors.UnsupportedError),
        (8, errors.DiskFullError),
        (9, errors.InvalidDiskError),
        (10, errors.OperationCancelledError),
        (11, errors.AccessDeniedError),
        (12, errors.DiskExistsError),
        (13, errors.AccessDeniedError),
        (15, errors.DiskLockedError),
        (3014, errors.AuthenticationError),
        (14009, errors.ConnectionFailedError),
        (16006, errors.NeedsRepairError),
        (16007, errors.OutOfRangeError),
        (16008, errors.ChainError),
        (16014, errors.EncryptedDiskError),
        (16052, errors.MetadataKeyError),
        (16063, errors.InvalidDiskError),
        (18000, errors.ConnectionFailedError),
        (20005, errors.AccessLockedError),
        (30007, errors.ConnectionFailedError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_code_gives_its_class(code: int, cls: type[NativeError]) -> None:
    """The class is what a user would look for."""
    assert type(native_error("VixDiskLib_Open", code, "text")) is cls


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (14099, errors.ConnectionFailedError),
        (16999, errors.DiskError),
        (17999, errors.EncryptedDiskError),
        (30999, errors.ConnectionFailedError),
        (1, NativeError),
        (13000, NativeError),
        (65535, NativeError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_code_that_no_class_names_falls_to_its_family(code: int, cls: type[NativeError]) -> None:
    """Numbers of newer libraries still land near their kind."""
    assert type(native_error("VixDiskLib_Open", code, "text")) is cls


def test_the_low_16_bits_decide() -> None:
    """The upper bits carry something else; they stay available."""
    error = native_error("VixDiskLib_Read", 0xABCD_0000_0000_0000 | 16007, "text")
    assert type(error) is errors.OutOfRangeError
    assert (error.code, error.raw_code) == (16007, 0xABCD_0000_0000_0000 | 16007)


def test_a_missing_function_and_a_refusing_library_are_caught_by_one_name() -> None:
    """Whether the function is absent or answers that it cannot is the same to a caller."""
    error = native_error("VixDiskLib_Shrink", 6, "text")
    assert isinstance(error, NotSupportedError)
    assert isinstance(error, NativeError)


def test_two_classes_cannot_share_a_code() -> None:
    """The class of a code does not depend on the order of definition."""
    with pytest.raises(TypeError, match=r"Twin: another class has the codes \[15\]"):
        type("Twin", (NativeError,), {}, codes=(15, 64999))
    assert type(native_error("f", 64999, "")) is NativeError


def test_the_message_says_call_disk_code_text_warning_and_hint_in_this_order() -> None:
    """Everything one needs stands on one line."""
    error = native_error("VixDiskLib_Open", 15, "The file is locked.\n", "/vm/a.vmdk", "a.vmdk:\n held by process 7\n")
    assert str(error) == (
        "VixDiskLib_Open '/vm/a.vmdk': VIX_E_FILE_ALREADY_LOCKED (15): The file is locked; "
        f"a.vmdk: held by process 7. Hint: {HINTS[15]}"
    )


def test_the_message_leaves_out_what_is_not_known() -> None:
    """No empty brackets, no None."""
    assert str(native_error("VixDiskLib_Wait", 5005, "")) == "VixDiskLib_Wait: VIX_E_5005 (5005)"


def test_a_warning_that_comes_late_can_be_added() -> None:
    """Whoever catches the error may set the detail."""
    error = native_error("VixDiskLib_Open", 65000, "text")
    error.detail = "it was full"
    assert str(error) == "VixDiskLib_Open: VIX_E_65000 (65000): text; it was full"


def test_nothing_in_the_message_can_drive_a_terminal_or_fail_to_be_written() -> None:
    """Control characters and undecodable bytes of a disk's name or descriptor are escaped."""
    error = native_error("f", 65000, "t\x1b[2J", "/a\udcff\x1b.vmdk", "d\udc80\x07")
    assert str(error).isprintable()
    assert str(error).encode() == b"f '/a\\udcff\\x1b.vmdk': VIX_E_65000 (65000): t\\x1b[2J; d\\udc80\\x07"


def pickled(error: Exception) -> Exception:
    """Return what another process would receive."""
    twin: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301
    return twin


@pytest.mark.parametrize("cls", ours(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("duplicate", [pickled, copy.copy], ids=["pickle", "copy"])
def test_every_error_survives_a_process_border(
    cls: type[Exception], duplicate: Callable[[Exception], Exception]
) -> None:
    """Class, arguments, attributes and notes are those of the original."""
    error = cls("f", 15, "text") if issubclass(cls, NativeError) else cls("text")
    vars(error).update(path="/a", detail="d")
    error.add_note("note")
    twin = duplicate(error)
    assert type(twin) is cls
    assert (twin.args, vars(twin), str(twin)) == (error.args, vars(error), str(error))


def test_every_code_with_a_class_or_a_hint_is_one_of_the_header() -> None:
    """No class and no hint hangs on a number that no library returns."""
    assert set(NativeError._by_code) <= set(SYMBOLS)
    assert set(HINTS) <= set(SYMBOLS)


def test_success_has_no_class_and_no_hint() -> None:
    """OK and 'accepted' are no errors."""
    assert not {0, 25000} & (set(NativeError._by_code) | set(HINTS))


@pytest.mark.parametrize(
    "code", [1, 2, 3, 4, 13, 15, 3014, 14009, 14014, 16003, 16008, 16011, 16012, 16063, 18000, 20005]
)
def test_the_codes_that_users_meet_have_a_hint(code: int) -> None:
    """What users ask about most is answered in the message."""
    assert native_error("f", code, "text").hint
    assert "Hint: " in str(native_error("f", code, "text"))


@pytest.mark.parametrize("code", sorted(HINTS))
def test_a_hint_is_written_to_stand_behind_hint_colon(code: int) -> None:
    """It is one line without a full stop, and does not begin as a sentence."""
    hint = HINTS[code]
    assert hint.isprintable()
    assert not hint.endswith(".")
    assert hint[0].islower() or hint.split()[0].isupper()
