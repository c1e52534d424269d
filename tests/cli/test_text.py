"""Sizes, times and errors as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.cli._text import describe, format_seconds, format_size, parse_size
from asyncvddk.errors import native_error


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("64K", 65536),
        ("64k", 65536),
        ("1.5G", 3 << 29),
        ("10GiB", 10 << 30),
        ("2TB", 2 << 40),
        (" 1 M ", 1 << 20),
        ("0.25K", 256),
        ("62T", 62 << 40),
    ],
)
def test_sizes_are_binary(text: str, size: int) -> None:
    """As qemu-img and dd take them."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5", "1..5K", "10X", "1e9", "0x200", "\u0663", "1 2K"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """A fraction of a byte too."""
    with pytest.raises(ValueError, match=r"no (size|whole number)"):
        parse_size(text)


@given(st.integers(0, 1 << 66))
def test_formatted_sizes_are_short_and_close(size: int) -> None:
    """At most four digits, and within a rounding of the size."""
    text = format_size(size)
    number, unit = text.split()
    factor = 1 if unit == "B" else 1024 ** "BKMGTPE".index(unit[0])
    assert float(number) * factor == pytest.approx(size, rel=0.06)
    assert len(number) <= 4 or unit == "EiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.04 s"), (1.25, "1.2 s"), (12.4, "12 s"), (59.9, "60 s"), (185, "3:05"), (7207, "2:00:07")],
)
def test_durations_have_the_precision_one_wants(seconds: float, text: str) -> None:
    """Tenths below ten seconds, then less."""
    assert format_seconds(seconds) == text


def test_library_error_names_file_reason_code_and_way_out() -> None:
    """On one line, the library's warning included."""
    error = native_error("VixDiskLib_Open", 15, "The file is locked", "/d/a.vmdk", "locked\nby 12")
    text = describe(error)
    assert text.startswith("/d/a.vmdk: The file is locked; locked by 12 [VIX_E_FILE_ALREADY_LOCKED 15]")
    assert "\n" not in text


def test_system_error_names_file_and_reason() -> None:
    """Without Python's ``[Errno 2]``; no file's name can move the cursor."""
    assert describe(FileNotFoundError(2, "No such file", "/d/\x1b[2Ja")) == "/d/\\x1b[2Ja: No such file"


def test_error_without_text_names_its_class() -> None:
    """Better than an empty line."""
    assert describe(MemoryError()) == "MemoryError"
